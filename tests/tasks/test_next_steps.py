"""What a task says at its end can be copied: each command composes and runs, on what was just made."""

import json
import re
import shlex

import pytest
from conftest import FEW_ROWS, run_in

QUICK = ("task.max_steps=2", "task.effective_batch_size=4", "hw=cpu", "task.held_out.num_bytes=0")
JUDGED = ("suite.limit=2", "suite.overall=null")


def next_of(said):
    """Return what for -> command, of the lines after `next:`."""
    lines = said.rpartition("\nnext:\n")[2].splitlines()
    assert all(
        re.match(r"  [^:]+(\(.*\))?: (python|accelerate launch|ollama create)", line) for line in lines
    ), said
    return {line.strip().partition(": ")[0]: line.partition("arabic_llm.run ")[2] for line in lines}


def words(command):
    """Return what a shell makes of a command's settings; tracking=none is added by the program here."""
    return [word for word in shlex.split(command) if word != "tracking=none"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with a file of forty questions."""
    home = tmp_path_factory.mktemp("next")
    rows = [{"السؤال": f"ما عاصمة البلد رقم {n}؟", "الجواب": f"المدينة رقم {n}."} for n in range(40)]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (home / "أسئلة الصف.jsonl").write_text(text, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def typed(home):
    """Return the program in that folder, which must end well, and say what comes next."""

    def run(*overrides):
        status, said = run_in(home, *overrides)
        assert status == 0, said
        return next_of(said)

    return run


@pytest.fixture(scope="module")
def trained(typed):
    """Return what a training on the file says at its end."""
    return typed("data.path=أسئلة الصف.jsonl", "adapter.rank=4", "seed=3", *QUICK)


def dry(home, command):
    status, said = run_in(home, *words(command), "dry_run=true")
    assert status == 0, f"{command}\n{said}"
    return said


def test_after_training_one_talks_judges_trains_on_and_hands_on(home, trained):
    assert [what.partition(",")[0] for what in trained] == [
        "talk to it",
        "judge it",
        "judge it on your own rows that it has not seen",
        "train it on",
        "hand it on",
    ]
    for command in trained.values():
        dry(home, command)
    (further,) = (command for what, command in trained.items() if what.startswith("train it on"))
    assert "adapter.path=outputs/sft/tiny-أسئلة_الصف-lora-" in further
    assert "rank" not in further  # the adapter has one
    assert "'data.path=أسئلة الصف.jsonl'" in further  # quoted once, for the shell


def test_the_rows_that_were_kept_from_it_are_asked_by_the_copied_command(home, typed, trained):
    own = words(trained["judge it on your own rows that it has not seen"])
    assert own[:2] == ["task=evaluate", "suite=own"]
    assert "seed=3" in own  # which decides what is test
    judged = typed(*own)
    base = words(judged["judge its base in the same way"])
    assert base[:2] == ["task=evaluate", "suite=own"]
    dry(home, " ".join(map(shlex.quote, base)))
    (result,) = home.glob("outputs/evaluate/*/evaluation/items.jsonl")
    items = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]
    assert {item["task"] for item in items} == {"own_rows"}
    assert len({item["id"] for item in items}) == 2  # a twentieth of forty


def test_a_plan_and_a_dry_run_say_how_long_it_takes_by_an_earlier_run(home, trained):
    run = r"by the steps of outputs/sft/tiny-أسئلة_الصف-lora-\w{8} on this machine"
    said = dry(home, "task=plan adapter.rank=4 hw=cpu task.max_steps=50 seed=3")
    assert re.search(rf"\ntime: about [\d.]+ (s|min|h) for 50 steps, with rows .*, {run}", said), said
    again = "'data.path=أسئلة الصف.jsonl' adapter.rank=4 hw=cpu task.max_steps=70"
    assert re.search(rf"\ntime: about [\d.]+ (s|min|h) for 70 steps, {run}", dry(home, again))
    assert "time: about" not in dry(home, "task=plan adapter.rank=8 hw=cpu task.max_steps=50")


def test_a_run_that_was_done_before_says_the_same(typed, trained):
    assert typed("data.path=أسئلة الصف.jsonl", "adapter.rank=4", "seed=3", *QUICK) == trained


def test_from_judging_to_the_comparison_by_copied_commands_alone(home, typed, trained):
    judged = typed("adapter=lora", *words(trained["judge it"]), *JUDGED)
    base = typed(*words(judged["judge its base in the same way"]))
    compared = typed(*words(base["compare it with what was trained"]))
    assert list(home.glob("outputs/compare/*/report.html"))
    table = typed(*words(compared["all results in one table"]))
    assert {what: words(command) for what, command in table.items()} == {
        "in Arabic": ["task=report", "lang=ar"]
    }
    again = typed(*words(trained["judge it"]), *JUDGED)
    assert words(again["compare it with its base"]) == words(base["compare it with what was trained"])


def test_rows_are_looked_at_planned_prepared_and_trained_on(home, typed):
    seen = typed("task=inspect", "data.path=أسئلة الصف.jsonl", "task.rows=1", "data.max_rows=9")
    assert "on 9 rows: " in dry(home, seen["train on these rows"])
    planned = next_of(dry(home, f"{seen['will it fit']} hw=4gb task.max_steps=2"))
    assert planned.keys() == {"train it", "judge, train, judge again"}
    for command in planned.values():
        assert ": 2 steps of " in dry(home, command)
    prepared = typed("task=prepare", "data.path=أسئلة الصف.jsonl", "data.dedup=false")
    assert "on 36 rows: " in dry(home, prepared["train on them"])


@pytest.mark.parametrize(("form", "task"), [("pairs", "dpo"), ("ratings", "kto")])
def test_rows_that_were_looked_at_as_a_task_sees_them_lead_to_that_task(home, typed, form, task):
    pairs = [{"prompt": f"ما عاصمة البلد {n}؟", "chosen": f"مدينة {n}", "rejected": "لا"} for n in range(9)]
    text = "".join(f"{json.dumps(pair, ensure_ascii=False)}\n" for pair in pairs)
    (home / "pairs.jsonl").write_text(text, encoding="utf-8")
    seen = typed("task=inspect", f"task.form={form}", "data.path=pairs.jsonl", "task.rows=1")
    assert words(seen["train on these rows"])[:2] == [f"task={task}", "data.path=pairs.jsonl"]
    assert words(seen["will it fit"])[:2] == ["task=plan", f"task.of={task}"]
    dry(home, f"{seen['will it fit']} hw=4gb")


def test_a_plan_of_judging_or_of_classes_leads_to_that_task(home):
    status, said = run_in(home, "task=plan", "task.of=evaluate", "hw=4gb", "model=qwen2_0_5b")
    assert status == 0, said
    (command,) = next_of(said).values()
    assert words(command) == ["task=evaluate", "hw=4gb", "model=qwen2_0_5b"]


def test_after_an_export_one_talks_and_serves(home, typed, trained):
    exported = typed(*words(trained["hand it on"]), "task.formats=[adapter]")
    assert exported.keys() == {"talk to it", "serve it"}
    for command in exported.values():
        dry(home, command)
    assert [made.is_dir() for made in home.glob("outputs/export/tiny-أسئلة_الصف-lora-*/adapter")] == [True]
    served = typed(*words(exported["serve it"]))
    assert served.keys() == {"talk to it here", "judge it"}
    for command in served.values():
        dry(home, command)


def test_after_a_talk_one_judges_learns_from_what_was_liked_and_hands_on(home, typed, trained, capsys):
    talk = [*words(trained["talk to it"]), "hydra.run.dir=talked"]
    status, answer = run_in(home, *talk, "task.prompt=ما عاصمة البلد رقم 3؟", "task.max_new_tokens=2")
    assert (status, "next:" in answer) == (0, False)  # the answer alone is on stdout
    steps = next_of(capsys.readouterr().err)
    assert list(steps) == ["on a page, beside its base", "judge it", "hand it on"]
    for command in steps.values():
        dry(home, command)
    (talked := home / "talked").mkdir()
    liked = {"prompt": "ما هذا؟", "chosen": "كتاب.", "rejected": "قلم."}
    (talked / "pairs.jsonl").write_text(f"{json.dumps(liked, ensure_ascii=False)}\n", encoding="utf-8")
    assert run_in(home, *talk, "task.prompt=ما عاصمة البلد رقم 3؟", "task.max_new_tokens=2")[0] == 0
    learnt = next_of(capsys.readouterr().err)["learn which answers were better"]
    assert "pairs: 1" in dry(home, learnt)


def test_rows_that_would_end_a_training_are_passed_over_by_the_next_commands(home, typed):
    row = {"السؤال": "سؤال بلا جواب؟", "الجواب": ""}
    good = (home / "أسئلة الصف.jsonl").read_text(encoding="utf-8")
    bad = json.dumps(row, ensure_ascii=False)
    (home / "bad.jsonl").write_text(f"{good}\n{bad}\n", encoding="utf-8")
    seen = typed("task=inspect", "data.path=bad.jsonl", "task.rows=1")
    assert "36 rows: " in dry(home, seen["train on these rows"])
    for command in seen.values():
        assert "data.on_bad_row=drop" in words(command)
    (page,) = home.glob("outputs/inspect/tiny-bad-lora-*/inspection.html")
    assert "<h1>bad as tiny sees it</h1>" in page.read_text(encoding="utf-8")


def test_nothing_comes_after_rows_that_cannot_be_trained_on_and_like_lines_are_folded(home):
    (home / "win.csv").write_bytes("سؤال,جواب\n".encode() + "من؟,زيد\n".encode("cp1256") * 9)
    status, said = run_in(home, "task=inspect", "data.path=win.csv")
    assert (status, "next:" in said) == (0, False), said
    assert said.count("iconv -f WINDOWS-1256 -t UTF-8") == 5
    assert "and 4 more rows: not UTF-8; see the page" in said


def test_after_a_download_it_is_planned_and_studied(home, typed):
    steps = typed("task=download", "data.path=أسئلة الصف.jsonl")
    assert list(steps) == ["will it fit", "judge, train, judge again"]
    for command in steps.values():
        assert "'data.path=أسئلة الصف.jsonl'" in command
        dry(home, command)


def test_whole_weights_are_judged_as_a_model_of_their_own(home, typed):
    steps = typed("adapter=full", *FEW_ROWS, "task.max_steps=1", *QUICK[1:])
    on_its_own = "judge it on your own rows that it has not seen"
    assert steps.keys() == {"talk to it", "judge it", on_its_own, "hand it on"}
    for command in steps.values():
        dry(home, command)
