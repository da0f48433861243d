"""task=classify from end to end: what it leaves, what it says, and what it refuses in one line."""

import csv
import functools
import json
import re
import shutil

import pytest
import torch
from conftest import finished, run_in
from transformers import AutoModelForSequenceClassification

SMALL = ("task=classify", "hw=cpu", "task.max_steps=3", "task.effective_batch_size=8", "task.save_steps=1")


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """Return what a classification of the sample's dialects said, and its directory."""
    return finished(tmp_path_factory.mktemp("classify"), *SMALL)


@pytest.fixture
def beside(classified):
    """Return the program, to be run where the classification was."""
    return functools.partial(run_in, classified[1].parent)


def test_it_ends_with_its_table_and_the_path_of_its_report(classified):
    said, _ = classified
    lines = said.partition("\n\nnext:\n")[0].strip().splitlines()
    assert lines[-1].endswith("mine/report.html")
    at = next(n for n, line in enumerate(lines) if line.startswith("system "))
    assert lines[at].split("  ")[0] == "system"
    assert [line[:9].strip() for line in lines[at + 1 : at + 4]] == ["tiny lora", "TF-IDF", "majority"]
    assert "train: 413 rows: egyptian 24.7%, gulf 25.2%, levantine 24.5%, msa 25.7%" in lines
    assert any(line.startswith("classes are not weighted") for line in lines)


def test_scores_items_and_the_matrix_tell_the_same(classified):
    _, directory = classified
    items = [json.loads(line) for line in (directory / "items.jsonl").read_text().splitlines()]
    with (directory / "scores.csv").open() as file:
        rows = {(row["system"], row["metric"]): row for row in csv.DictReader(file)}
    for system, key in (("tiny lora", "answer"), ("TF-IDF", "tfidf")):
        right = sum(item[key] == item["label"] for item in items) / len(items)
        assert float(rows[system, "accuracy"]["value"]) == pytest.approx(right)
    assert len(items) == int(rows["TF-IDF", "accuracy"]["n"]) == 273
    gained = float(rows["tiny lora", "accuracy"]["value"]) - float(rows["TF-IDF", "accuracy"]["value"])
    assert float(rows["TF-IDF", "accuracy"]["gain_over_it"]) == pytest.approx(gained)
    assert rows["TF-IDF", "macro F1"]["verdict"] in ("better", "worse", "within noise")
    assert rows["tiny lora", "accuracy"]["verdict"] == ""
    for item in items:
        assert max(item["probabilities"], key=item["probabilities"].get) == item["answer"]
        assert sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert "| tiny lora | " in (directory / "scores.md").read_text(encoding="utf-8")
    assert (directory / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_is_one_file_with_mistakes_to_read_right_to_left(classified):
    _, directory = classified
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert '<p class="result">Macro F1 ' in page
    assert page.count("<svg") == 3  # the confusion matrix, the training curve, the memory of a step
    assert "<img" not in page
    assert "<script" not in page
    mistakes = re.findall(r'<td dir="auto" class="ar">([^<]+)</td>', page)
    assert len(mistakes) == 10
    wrong = {
        item["text"]
        for item in map(json.loads, (directory / "items.jsonl").read_text().splitlines())
        if item["answer"] != item["label"]
    }
    assert set(mistakes) <= wrong
    assert "nats a text" in page
    assert "python -m arabic_llm.run task=classify" in page


def test_what_was_done_is_not_done_again_and_gives_the_same_bytes(classified, beside):
    _, directory = classified
    status, said = beside(*SMALL, "hydra.run.dir=mine")
    assert status == 0
    assert "done before, not run again" in said
    before = {
        name: (directory / name).read_bytes() for name in ("items.jsonl", "scores.csv", "report.html")
    }
    (directory / "result.json").unlink()  # as if it had been killed after training
    status, said = beside(*SMALL, "hydra.run.dir=mine")
    assert status == 0, said
    assert "already trained" in said
    assert "baseline: " not in said  # counted once for all runs on these rows
    after = {name: (directory / name).read_bytes() for name in before}
    assert after["items.jsonl"] == before["items.jsonl"]
    assert after["scores.csv"] == before["scores.csv"]


def test_its_card_says_how_a_classifier_is_loaded(classified):
    text = (classified[1] / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-classification\n" in text
    assert "AutoPeftModelForSequenceClassification" in text
    assert "More Information" not in text


def test_a_report_has_a_table_of_classifiers_and_names_what_it_cannot_read(classified, beside):
    _, directory = classified
    runs = directory.parent / "runs"
    shutil.copytree(directory, runs / "whole")
    for name, damaged in (("torn", "manifest.json"), ("empty", "scores.csv"), ("odd", "items.jsonl")):
        shutil.copytree(directory, runs / name)
        (runs / name / damaged).write_text("system,metric,n,value,low,high,\n{", encoding="utf-8")
    (runs / "torn" / "scores.csv").write_bytes((directory / "scores.csv").read_bytes())
    status, said = beside("task=report", "task.folders=[runs,nowhere]")
    assert status == 0, said
    assert sorted(re.findall("left out: runs/([a-z]+)/", said)) == ["empty", "odd", "torn"]
    folder = directory.parent / "outputs" / "report" / "runs+nowhere"
    with (directory / "scores.csv").open() as file:
        f1 = {
            row["system"]: float(row["value"])
            for row in csv.DictReader(file)
            if row["metric"] == "macro F1"
        }
    (row,) = [
        line for line in (folder / "results.md").read_text().splitlines() if line.startswith("| sample ")
    ]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["sample", "tiny", "lora", "273"]
    assert cells[5].startswith(f"{100 * f1['tiny lora']:.1f} (")
    assert cells[7:] == [f"{100 * f1['TF-IDF']:.1f}", f"{100 * f1['majority']:.1f}", "A"]
    assert "Classifications" in (folder / "results.html").read_text(encoding="utf-8")
    with (folder / "classifications.csv").open() as file:
        table = {(r["system"], r["metric"]): float(r["value"]) for r in csv.DictReader(file)}
    assert table["classifier", "macro F1"] == f1["tiny lora"]
    status, said = beside("task=report", "task.folders=[runs/torn,nowhere]")
    assert status == 2
    assert "no evaluation in runs/torn, nowhere (no folder: nowhere)" in said


def test_a_dry_run_says_rows_classes_and_steps_and_writes_nothing(program, tmp_path):
    status, said = program(*SMALL, "dry_run=true")
    assert status == 0
    assert "plan: tiny (3.4 M parameters), a head of 4 classes with adapter=lora (" in said
    assert ": 3 steps of 8 sequences (1 micro-batch of 8), up to 128 tokens; weights 0.01 GiB; CPU" in said
    assert not any(path for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("usable", "said"),
    [
        ("3.6", "(1 micro-batch of 8), up to 128 tokens; needs 0."),
        ("0.035", "(4 micro-batches of 2), up to 128 tokens; needs 0."),
    ],
)
def test_a_budget_decides_how_a_classifier_is_trained(program, usable, said):
    budget = ("hw=4gb", "hw.device=cpu", f"hw.usable_gib={usable}")
    status, found = program(*SMALL[:1], *SMALL[2:], *budget, "dry_run=true")
    assert status == 0, found
    assert said in found
    assert f"GiB of {usable} that hw leaves" in found


def test_what_a_step_took_is_said_beside_what_was_predicted(classified):
    said, directory = classified
    took = re.search(r"a step of \d+ x \d+ tokens took ([\d.]+) MiB, ([\d.]+) predicted", said)
    assert float(took[2]) == pytest.approx(float(took[1]), rel=0.05)
    outcome = json.loads((directory / "adapter" / "outcome.json").read_text())
    assert outcome["predicted_mib"] == pytest.approx(outcome["measured_mib"], rel=0.05)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("adapter.path=x",), "adapter.path has no meaning with task=classify"),
        (("adapter=none",), "adapter=none trains nothing"),
        (("data=local", "data.path=rows.jsonl"), "its rows have no label; set data.columns.text=<column>"),
        (
            ("data=local", "data.path=rows.jsonl", "data.columns.label=output"),
            "rows.jsonl:1: a conversation, no text; set data.columns.text=<column>",
        ),
    ],
)
def test_what_cannot_be_classified_is_one_line(program, tmp_path, overrides, said):
    rows = ({"instruction": f"سؤال {n}", "input": "", "output": f"جواب {n}"} for n in range(40))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    status, output = program(*SMALL, *overrides)
    assert status == 2, output
    last = output.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last


def test_ordered_grades_are_judged_by_their_distance(program, tmp_path):
    words = {"G1": "قطة كلب", "G2": "كتاب قلم", "G3": "ذرة خلية"}
    rows = ({"text": f"{words[g]} {n}", "label": g} for n in range(20) for g in words)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "grades.jsonl").write_text(lines, encoding="utf-8")
    status, said = program(
        *(*SMALL, "adapter=full", "data=local", "data.path=grades.jsonl", "data.test_share=0.3"),
        *("data.labels=[G1,G2,G3]", "data.labels_are_ordered=true", "hydra.run.dir=mine"),
    )
    assert status == 0, said
    assert "quadratic kappa" in (tmp_path / "mine" / "scores.csv").read_text()
    assert (tmp_path / "mine" / "model" / "model.safetensors").exists()


def test_what_was_planned_stands_beside_what_was_measured(program, tmp_path):
    budget = ("hw=4gb", "hw.device=cpu", "task.max_steps=2", "hydra.run.dir=mine")
    status, said = program(*SMALL[:1], *SMALL[3:], *budget)
    assert status == 0, said
    memory = json.loads((tmp_path / "mine" / "training" / "memory.json").read_text())
    assert memory["planned"]["tokens"] == 128
    assert memory["planned"]["allocated"] > memory["measured"]


def test_memory_that_runs_out_while_classifying_is_one_line_and_what_is_trained_stays(
    program, tmp_path, monkeypatch
):
    from arabic_llm.training import class_loss

    def full(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total")

    with monkeypatch.context() as patch:
        patch.setattr(class_loss.torch, "inference_mode", full)
        status, said = program(*SMALL, "hydra.run.dir=mine")
    assert status == 2, said
    assert "error: classifying texts: out of memory: 1,536 MiB was asked for" in said
    assert "set hw.eval_batch_size=16, or take a smaller model; what was trained is kept" in said
    status, said = program(*SMALL, "hydra.run.dir=mine")
    assert status == 0, said
    assert "already trained: " in said


def test_what_a_step_took_stands_beside_its_plan(tmp_path):
    budget = ("hw=4gb", "hw.device=cpu", "hw.usable_gib=3.6")
    said, directory = finished(tmp_path, *SMALL[:1], *SMALL[2:], *budget)
    planned = json.loads((directory / "training" / "memory.json").read_text())["planned"]
    assert (planned["size"], planned["tokens"]) == (8, 128)
    assert 0 < planned["allocated"] < planned["total"] < 3.6 * 2**30
    assert " MiB for 8 x 128 tokens, is of the card that hw names, not of this CPU" in said
    assert "planned: at most, on the card of hw" in (directory / "report.html").read_text(encoding="utf-8")


def test_weights_that_find_no_memory_are_one_line(program, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0")

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", full)
    status, said = program(*SMALL)
    assert status == 2
    line = said.strip().splitlines()[-1]
    assert line.startswith("error: reading the weights of tiny: out of memory: 1,536 MiB was asked for, ")
    assert line.endswith("; take a smaller model")
