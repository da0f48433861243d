"""Whole tasks on the built-in model: what they leave behind, and what they do not do twice."""

import csv
import functools
import json
import re
import shlex
import shutil
import traceback
from collections import Counter

import pytest
import torch
from conftest import FEW_ROWS, compose_config, finished, run_in
from huggingface_hub import ModelCard
from judge_server import serving
from torch.nn.modules.module import register_module_forward_hook

from arabic_llm import files, terminal
from arabic_llm.config import complaints
from arabic_llm.data.tokens import chat_template

SMALL = (
    "task.max_steps=12",
    "task.effective_batch_size=8",
    "suite.limit=40",
    "hw=cpu",
    "task.learning_rate=2e-3",
)

BRIEF = ("task.max_steps=1", "task.held_out.num_bytes=0", *FEW_ROWS)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return what a study said, and its directory."""
    return finished(tmp_path_factory.mktemp("study"), "task=study", *SMALL)


@pytest.fixture
def beside(study):
    """Return the program, to be run where the study was."""
    return functools.partial(run_in, study[1].parent)


def test_a_study_ends_with_its_table_and_the_path_of_its_report(study):
    said, directory = study
    lines = said.partition("\n\nnext:\n")[0].strip().splitlines()
    assert lines[-1].endswith("mine/report.html")
    header = next(line for line in lines if line.startswith("task "))
    assert header.split() == ["task", "n", "base", "tuned", "difference", "(95%", "interval)", "verdict"]
    table = said.partition(header)[2].partition("\n\n")[0].split("\n")[1:]
    assert {line.split()[0] for line in table} == {
        *("sample_choice", "sample_short", "sample_dialect", "sample_known"),
    }
    assert "\n\ntuned model: " in said  # after so few steps a blind answer scores as much
    with (directory / "comparison.csv").open() as file:
        rows = {(row["task"], row["metric"]): row for row in csv.DictReader(file)}
    choice = rows["sample_choice", "acc"]
    assert "| sample_choice | " in (directory / "evaluation" / "tuned" / "scores.md").read_text()
    assert float(choice["difference"]) == pytest.approx(float(choice["tuned"]) - float(choice["base"]))
    assert float(choice["low"]) <= float(choice["difference"]) <= float(choice["high"])
    assert choice["verdict"] in ("better", "worse", "within noise")


def test_each_judgement_of_a_study_is_planned_and_measured(study):
    said, directory = study
    plans = [line for line in said.splitlines() if line.startswith("plan: judging tiny (float32")]
    assert [", with its adapter" in line for line in plans] == [False, True]
    assert said.count("memory of evaluating, ") == 2
    page = (directory / "report.html").read_text(encoding="utf-8")
    for side in ("base", "tuned"):
        found = json.loads((directory / "evaluation" / side / "memory.json").read_text())
        assert found["predicted"] == pytest.approx(found["measured"], rel=0.05)
        assert f"the {side} model, CPU: {found['measured'] / 2**20:,.1f} MiB measured" in page


def test_what_was_trained_has_a_card_of_ours_from_the_start(study):
    _, directory = study
    text = (directory / "adapter" / "README.md").read_text(encoding="utf-8")
    card = ModelCard.load(directory / "adapter" / "README.md")
    assert card.data.library_name == "peft"
    assert "# tiny, trained on sample\n" in text
    outcome = files.read_json(directory / "adapter" / "outcome.json")
    assert f"dev loss {outcome['dev_loss']:.4g}." in text
    assert "| effective_batch_size | " in text
    assert "More Information" not in text
    assert not re.search(
        r"(?<![\w.>])/\w", text.replace("path/to/this/folder", "")
    )  # no path of this machine
    assert [path.parent.name for path in directory.rglob("README.md")] == ["adapter"]


def test_the_report_is_one_file_and_reads_right_to_left(study):
    _, directory = study
    page = (directory / "report.html").read_text(encoding="utf-8")
    # bars, radars by task and subject (of three skills none), bars of means, loss drift, training curve,
    # memory, mistakes; each to take along, with its numbers
    assert page.count("<svg") == 8
    assert page.count('href="data:image/svg+xml;base64,') == page.count('href="data:text/csv;base64,') == 8
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "<img" not in page
    assert "<script" not in page
    assert 'dir="auto" class="ar"' in page
    assert "python -m arabic_llm.run task=study" in page
    assert "questions found in the suite" in page


def test_a_study_says_what_was_forgotten(study):
    said, directory = study
    (line,) = [line for line in said.splitlines() if line.startswith("held-out loss: ar ")]
    assert [part.split()[0] for part in line.removeprefix("held-out loss: ").split(", ")] == [
        *("ar", "arz", "en", "zh")
    ]
    assert "tokens of ar, arz, en, zh, measured 2 times in" in said
    with (directory / "forgetting.csv").open() as file:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(file)}
    assert [name for kind, name in rows if kind == "language"] == ["ar", "dialects"]
    assert [name for kind, name in rows if kind == "skill"] == ["knowledge", "generation", "dialect"]
    with (directory / "comparison.csv").open() as file:
        tasks = {
            row["task"]: float(row["difference"]) for row in csv.DictReader(file) if row["metric"] == "acc"
        }
    known = float(rows["skill", "knowledge"]["difference"])
    assert known == pytest.approx((tasks["sample_choice"] + tasks["sample_known"]) / 2)
    metrics = files.read_json_lines(directory / "training" / "metrics.jsonl")
    last = [line for line in metrics if "held_out_loss/en" in line][-1]
    assert float(rows["held-out loss", "en"]["tuned"]) == last["held_out_loss/en"]


def test_every_wrong_item_stands_in_the_mistakes_of_its_model(study):
    _, directory = study
    folder = directory / "evaluation" / "tuned"
    items = map(json.loads, (folder / "items.jsonl").read_text().splitlines())
    wrong = [(item["task"], item["id"]) for item in items if next(iter(item["scores"].values())) < 1]
    with (folder / "mistakes.csv").open() as file:
        assert [(row["task"], row["id"]) for row in csv.DictReader(file)] == wrong
    said = (folder / "mistakes.md").read_text()
    assert f"160 items = {160 - len(wrong)} right + {len(wrong)} wrong" in said
    with (directory / "mistakes.csv").open() as file:
        shares = [float(row["tuned"]) for row in csv.DictReader(file)]
    assert sum(shares) == pytest.approx(len(wrong) / 160)
    assert "Mistakes by kind" in (directory / "report.html").read_text()


def test_a_judge_is_named_wherever_its_kinds_are_counted(study, beside):
    _, directory = study
    sides = [f"task.{name}=mine/evaluation/{name}" for name in ("base", "tuned")]
    with serving() as server:
        judge = (f"judge.endpoint={server.url}", "judge.model=reader")
        status, _ = beside("task=compare", *sides, *judge, "hydra.run.dir=judged")
        assert (status, len(server.asked) > 0) == (0, True)
    judged = directory.parent / "judged"
    assert "near miss (judged by reader)" in (judged / "report.html").read_text()
    with (judged / "mistakes.csv").open() as file:
        kinds = [row["kind"] for row in csv.DictReader(file)]
    assert "near miss (judged by reader)" in kinds
    assert "other" not in kinds  # it was asked of all of them
    status, said = beside("task=compare", *sides, "judge.endpoint=http://here/v1")
    assert status == 2
    assert "error: judge.endpoint and judge.model are needed together" in said


def test_a_study_sorts_its_mistakes_once(beside, study):
    with serving() as server:
        server.after = 1  # the judge answers once, and then fails
        judge = (f"judge.endpoint={server.url}", "judge.model=tired")
        status, said = beside("task=study", *SMALL, *BRIEF, *judge, "hydra.run.dir=tired")
    assert status == 0, said
    # It is asked for the base model and the tuned one, and not again for the comparison.
    assert said.count("mistakes stay 'other'") == 2
    directory = study[1].parent / "tired"
    with (directory / "mistakes.csv").open() as file:
        shares = {row["kind"]: row for row in csv.DictReader(file)}
    for side in ("base", "tuned"):
        with (directory / "evaluation" / side / "mistakes.csv").open() as file:
            kinds = Counter((row["kind"], row["judged_by"]) for row in csv.DictReader(file))
        other, judged = (
            160 * float(shares[label][side]) for label in ("other", "near miss (judged by tired)")
        )
        assert (other, judged) == pytest.approx((kinds["other", ""], kinds["near miss", "tired"]))


def test_evaluations_and_token_rows_are_shared_between_runs(beside):
    status, said = beside("task=study", *SMALL, *BRIEF[:2], "adapter.rank=4", "hydra.run.dir=other")
    assert status == 0
    assert "base model: evaluated before" in said
    assert "tuned model: evaluated on" in said
    assert said.count("plan: judging") == said.count("memory of evaluating") == 1  # nothing of the base's


def test_a_benchmark_that_is_not_here_ends_the_run_unless_it_may_be_missing(program, tmp_path, offline):
    typed = ("task=evaluate", "suite=generation", "~suite.tasks.cidar", "suite.limit=3", "hw=cpu")
    status, said = program(*typed, "hydra.run.dir=mine")
    last = said.strip().splitlines()[-1]
    assert status == 2
    assert last.startswith("error: suite=generation: 1 of 2 benchmarks are not here: arcd; ")
    assert "task=download suite=generation" in last
    assert not (tmp_path / "mine" / "result.json").exists()
    typed = (*typed, "suite.allow_missing=true")
    said, directory = finished(tmp_path, *typed)
    assert "arcd: left out: not to be had" in said
    assert "arcd: left out" in (directory / "evaluation" / "scores.md").read_text()
    assert json.loads((directory / "evaluation" / "result.json").read_text())["judged"]["left_out"] == [
        "arcd"
    ]
    assert "done before" in finished(tmp_path, *typed)[0]
    manifest = files.read_state(directory / "manifest.json")
    manifest["inputs"]["left_out"] = "nothing"  # as if it had been here
    files.write_state(directory / "manifest.json", manifest)
    status, said = program(*typed, "hydra.run.dir=mine")
    assert status == 2
    assert "on other input: left_out has changed since (hash nothing, now arcd)" in said


def test_evaluate_and_compare_say_what_the_study_said(study, beside):
    _, directory = study
    beside("task=evaluate", "suite.limit=40", "hw=cpu", "hydra.run.dir=base")
    status, said = beside(
        *("task=evaluate", "suite.limit=40", "hw=cpu", "hydra.run.dir=tuned", "adapter.path=mine/adapter")
    )
    assert status == 0
    assert "evaluated before" in said  # the study judged the same adapter on the same items
    status, said = beside(
        *("task=compare", "task.base=base", "task.tuned=tuned/evaluation", "hydra.run.dir=both")
    )
    assert status == 0
    assert (directory.parent / "both" / "comparison.csv").read_text() == (
        directory / "comparison.csv"
    ).read_text()


def test_what_an_adapter_has_seen_in_training_is_marked_wherever_it_is_judged(study, beside):
    folder = study[1].parent
    note = shutil.copytree(study[1] / "adapter", folder / "seen") / "arabic_llm.json"
    (note.parent / "SEALED.json").unlink()
    about = files.read_json(note)
    assert about["seen_in_training"] == []
    files.write_json(note, {**about, "seen_in_training": ["sample_short"]})
    small = ("suite.limit=40", "hw=cpu")
    beside("task=evaluate", *small, "adapter.path=seen", "hydra.run.dir=judged_seen")
    table = (folder / "judged_seen" / "evaluation" / "scores.md").read_text(encoding="utf-8").splitlines()
    marked = {line.split()[1] for line in table if "(seen in training)" in line}
    assert marked == {"sample_short"}
    sides = ("task.base=mine/evaluation/base", "task.tuned=judged_seen")
    status, said = beside("task=compare", *sides, "lang=ar", "hydra.run.dir=marked")
    assert status == 0, said
    with (folder / "marked" / "comparison.csv").open() as file:
        marks = {row["task"]: row["seen_in_training"] for row in csv.DictReader(file)}
    assert [name for name, mark in marks.items() if mark == "True"] == ["sample_short"]
    for name in ("comparison.md", "report.html"):
        assert "(وردت في التدريب)" in (folder / "marked" / name).read_text(encoding="utf-8")


def test_a_comparison_says_what_each_side_had_learned(study, beside):
    judged, small = ("task=evaluate", "suite.limit=5", "hw=cpu"), study[1].name
    beside(*judged, "hydra.run.dir=untrained")
    beside(*judged, f"adapter.path={small}/adapter", "hydra.run.dir=trained")
    sides = ("task.base=untrained", "task.tuned=trained")
    assert beside("task=compare", *sides, "hydra.run.dir=learned")[0] == 0
    page = (study[1].parent / "learned" / "report.html").read_text(encoding="utf-8")
    assert "<h1>tiny, lora on sample</h1>" in page
    assert "Two evaluations of tiny, the second after it learned from sample with lora." in page
    beside("task=compare", "task.base=trained", "task.tuned=trained", "lang=ar", "hydra.run.dir=twice")
    assert "الأول بعد أن تعلّم من البيانات" in (study[1].parent / "twice" / "report.html").read_text("utf-8")


def test_a_report_has_a_row_for_each_model_and_task_beside_what_was_published(study, beside):
    _, directory = study
    status, said = beside("task=report", "task.folders=[mine]")
    assert status == 0, said
    folder = directory.parent / "outputs" / "report" / "mine"  # and not the report of all of outputs
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["data_set"] == "sample_choice"]
    assert [row["learned_from"] for row in table] == ["", "lora on sample"]
    assert {row["judged"] for row in table} == {"A"}
    comparison = (directory / "comparison.csv").read_text()
    assert all(f",{row['accuracy']}," in comparison for row in table)
    assert "published, not run here" in (folder / "results.md").read_text(encoding="utf-8")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {"results.md", "results.csv", "results.html", "leaderboard.html"}
    assert "../../../mine/report.html" in before["leaderboard.html"].decode()
    assert '"suite": "sample"' in before["leaderboard.html"].decode()
    assert beside("task=report", "task.folders=[mine]")[0] == 0  # again, with the same bytes
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_on_nothing_says_so(program, tmp_path):
    status, said = program("task=report")
    assert status == 2
    assert "error: task.folders: no evaluation in outputs; task=evaluate makes one" in said
    assert not list(tmp_path.iterdir())


def test_unlike_evaluations_are_refused(beside):
    beside("task=evaluate", "suite.limit=30", "hw=cpu", "hydra.run.dir=few")
    status, said = beside(
        *(
            "task=compare",
            "task.base=few/evaluation",
            "task.tuned=mine/evaluation/tuned",
            "hydra.run.dir=unlike",
        )
    )
    assert status == 2
    assert "error: not comparable: limit is 30 and 40" in said


def test_a_folder_without_an_evaluation_is_refused(beside):
    status, said = beside("task=compare", "task.base=nowhere", "task.tuned=nowhere")
    assert status == 2
    assert "error: nowhere is no folder of a run, nor of an evaluation; task=evaluate" in said
    status, said = beside("task=compare", "task.base=mine", "task.tuned=mine")
    assert status == 2
    choose = "choose mine/evaluation/base or mine/evaluation/tuned"
    assert f"error: mine holds two evaluations; {choose}" in said


def test_an_export_never_replaces_what_is_not_ours(program, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("years of work")
    status, said = program("task=pretrain", "task.export_to=models")
    assert status == 2
    assert "error: task.export_to: models is there already" in said
    assert (tmp_path / "models" / "thesis.txt").exists()


def test_inspect_colours_what_is_learned_in_the_terminal_and_on_a_page(program, tmp_path, monkeypatch):
    status, said = program("task=inspect", "task.rows=3", "hydra.run.dir=mine")
    assert status == 0
    assert said.count("supervised: in ⟦ ⟧") == 3
    assert said.count("⟦") - 3 == 6  # in each row the answer, and its stop token
    assert "\x1b" not in said
    monkeypatch.setattr(terminal, "has_colours", lambda: True)
    status, coloured = program("task=inspect", "task.rows=3", "hydra.run.dir=mine", "resume=false")
    assert status == 0
    assert (coloured.count("\x1b[30;42m"), "⟦" in coloured) == (6, False)
    assert "supervised" in said
    page = (tmp_path / "mine" / "inspection.html").read_text(encoding="utf-8")
    assert page.count("<mark>") >= 3
    assert page.count('<div class="card">') == 3
    assert '<div class="row" dir="auto">' in page
    assert (
        '<mark><bdi dir="ltr" class="control">&lt;|im_end|&gt;</bdi></mark>' in page
    )  # the stop token is learned


def test_inspect_shows_both_answers_of_a_pair_as_training_sees_them(program, tmp_path):
    pair = {"prompt": "ما عاصمة مصر؟", "chosen": "القاهرة", "rejected": "لا أستطيع الإجابة"}
    rows = _rows(tmp_path / "pairs.jsonl", json.dumps(pair))
    typed = ("task=inspect", *rows)
    status, said = program(*typed, "task.rows=1", "task.form=pairs")
    assert status == 0, said
    assert "pairs.jsonl:1: the better answer, then the worse" in said
    assert said.count("ما عاصمة مصر؟") == 2
    assert said.index("القاهرة") < said.index("لا أستطيع")
    assert said.count("⟦") - 1 == 4  # of each answer the words, and the stop token
    assert "; 1 of the worse ones refuse to answer" in said
    status, said = program(*typed, "task.ids=[pairs.jsonl:1]", "task.form=ratings", "resume=false")
    assert status == 0, said
    assert "pairs.jsonl:1: up" in said
    assert "pairs.jsonl:1: down" in said


def test_inspect_says_what_the_profile_changed_in_answers_and_where(program, tmp_path):
    (tmp_path / "my.jsonl").write_text(
        '{"instruction": "اكتب", "output": "كت\u0640اب"}\n', encoding="utf-8"
    )
    data = ("data=local", "data.path=my.jsonl", "data.dev_share=0", "data.test_share=0")
    status, said = program("task=inspect", *data, "hydra.run.dir=mine")
    assert status == 0
    assert "local: 1 answer changed by tatweel, e.g. my.jsonl:1" in said
    assert "answer changed by tatweel" in (tmp_path / "mine" / "inspection.html").read_text(
        encoding="utf-8"
    )


def _rows(path, *lines):
    path.write_text("\n".join(lines), encoding="utf-8")
    return (
        "data=local",
        f"data.path={path.name}",
        "hydra.run.dir=mine",
        "data.dev_share=0",
        "data.test_share=0",
    )


_GOOD = [f'{{"prompt": "ما عاصمة البلد رقم {n}؟", "response": "المدينة رقم {n}."}}' for n in range(6)]


def test_inspect_shows_bad_rows_with_place_and_reason_and_goes_on(program, tmp_path):
    bad = '{"prompt": "سؤال بلا جواب؟", "response": ""}'
    overrides = _rows(tmp_path / "my.jsonl", *_GOOD[:3], bad, '{"prompt": "نصف', *_GOOD[3:])
    status, said = program("task=inspect", *overrides, "hydra.run.dir=mine")
    assert status == 0, said
    page = (tmp_path / "mine" / "inspection.html").read_text(encoding="utf-8")
    for text in (said, page.replace("<bdi>", "").replace('</bdi></td><td class="worse">', ": ")):
        assert "my.jsonl:4: 'response' is empty" in text.replace("&#39;", "'")
        assert "my.jsonl:5: " in text
    assert page.count('<div class="card">') == 6
    status, said = program("task=inspect", *_rows(tmp_path / "bad.jsonl", bad), "hydra.run.dir=other")
    assert status == 0, said
    assert "bad.jsonl:1: 'response' is empty\nnothing is left to train on: " in said


def test_inspect_shows_what_cleaning_drops_the_first_few_of_each_reason(program, tmp_path):
    long = f'{{"prompt": "س", "response": "{"ج " * 200}"}}'
    rows = _rows(tmp_path / "my.jsonl", *_GOOD, *[_GOOD[0]] * 7, long)
    status, said = program("task=inspect", *rows, "data.cleaning.max_chars=300", "hydra.run.dir=mine")
    assert status == 0, said
    page = (tmp_path / "mine" / "inspection.html").read_text(encoding="utf-8")
    for text in (said, page.replace("<bdi>", "").replace('</bdi></td><td class="worse">', ": ")):
        assert text.count(": exact copy") == 5
        assert "my.jsonl:7: exact copy" in text
        assert "my.jsonl:14: longer than 300 characters" in text


def test_inspect_shows_the_rows_that_an_error_names(program, tmp_path):
    overrides = _rows(tmp_path / "my.jsonl", *_GOOD, _GOOD[0], '{"prompt": "لا جواب", "response": ""}')
    status, said = program("task=inspect", *overrides, "task.ids=[my.jsonl:2,my.jsonl:5,my.jsonl:7]")
    assert status == 0, said
    assert said.count(" supervised: in ⟦ ⟧)\n") == 2
    assert "my.jsonl:2 (" in said and "my.jsonl:5 (" in said
    assert "my.jsonl:7: left out as a copy" in said
    assert "my.jsonl:8" not in said  # bad, but not asked for
    status, said = program("task=inspect", *overrides[:2], "task.ids=[my.jsonl:99]")
    assert status == 2
    assert "error: task.ids: no row 'my.jsonl:99' in data=local; its rows are named like my.jsonl:" in said


def test_what_an_error_says_to_type_names_the_same_rows():
    names = ["my.jsonl:12", "بيانات/ملف.jsonl:3", 'it\'s "a" b.csv:4', "sample/cat/msa"]
    typed = shlex.split(complaints.typed_list("task.ids", names))
    assert len(typed) == 1
    assert compose_config("task=inspect", *typed).task.ids == names


def test_full_fine_tuning_in_another_template_is_studied_too_and_says_so(program, tmp_path):
    text = "{{- 'تحية' }}" + chat_template.template_text("chatml")
    (tmp_path / "my.jinja").write_text(text, encoding="utf-8")
    how = (*SMALL[:4], "task.learning_rate=1e-3", "model.chat_template=my.jinja", "hydra.run.dir=mine")
    status, said = program("task=study", "adapter=full", *how)
    assert status == 0, said
    trained = tmp_path / "mine" / "model"
    assert (trained / "model.safetensors").exists()
    assert (trained / "chat_template.jinja").read_text(encoding="utf-8") == text
    note = "model.chat_template=my.jinja differs from the tokenizer's own: for a question that one has"
    assert (
        sum(line.startswith(note) for line in said.splitlines()) == 2
    )  # before the training, and the base
    assert note.replace("'", "&#39;") in (tmp_path / "mine" / "report.html").read_text(encoding="utf-8")


def test_qlora_is_studied_with_the_same_quantisation_before_and_after(program, tmp_path):
    status, said = program(
        "task=study", "adapter=qlora", *SMALL[1:4], "suite.limit=4", *BRIEF, "hydra.run.dir=mine"
    )
    assert status == 0, said
    for name in ("base", "tuned"):
        result = json.loads((tmp_path / "mine" / "evaluation" / name / "result.json").read_text())
        assert result["model"]["quantization"] == "nf4"


def test_pretraining_makes_a_model_that_loads(program, tmp_path):
    status, said = program(
        *(
            "task=pretrain",
            "task.num_documents=300",
            "task.max_steps=3",
            "task.eval_steps=3",
            "task.save_steps=3",
        ),
        *("task.effective_batch_size=2", "hw=cpu", "hydra.run.dir=mine"),
    )
    assert status == 0, said
    assert "\n  judge it: python -m arabic_llm.run task=evaluate model.path=mine/model\n" in said
    status, said = program("task=evaluate", "model.path=mine/model", "suite.limit=2", "hw=cpu")
    assert status == 0, said


def test_raw_text_is_packed_and_trained_on(program, tmp_path):
    rows = [{"text": f"ذهب الطالب رقم {i} إلى المدرسة وقرأ الكتاب."} for i in range(60)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    status, said = program(
        *("data=local", "data.path=texts.jsonl", "data.columns.text=text", "task.max_steps=3", "hw=cpu"),
        *("task.max_length=64", "task.effective_batch_size=2", "task.held_out.num_bytes=0"),
        "hydra.run.dir=mine",
    )
    assert status == 0, said
    assert "100.0% of them supervised" in said


def test_memory_that_runs_out_in_an_answer_is_no_fault_of_the_benchmark(program):
    def absurd(module, *_):
        is_answer = "generate_until" in {
            frame.name for frame in traceback.extract_stack()
        }  # lm-eval calls it
        return torch.empty(2**47) if type(module).__name__ == "Qwen2Model" and is_answer else None

    hook = register_module_forward_hook(absurd)
    try:
        status, said = program("task=evaluate", "suite.limit=3", "hw=cpu", "hydra.run.dir=mine")
    finally:
        hook.remove()
    assert status == 2
    assert (
        said.strip().splitlines()[-1].startswith("error: evaluating tiny: out of memory: 536,870,912 MiB")
    )
