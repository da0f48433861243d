"""task=robustness, from the command to its files: the same bytes twice, and never taken for clean."""

import csv
import functools
import io
import json

import pytest
from conftest import finished, run_in
from judge_server import serving

SMALL = (
    *("task=robustness", "suite.limit=12", "hw=cpu", "task.rates=[0.5,1.0]"),
    *("task.perturbations=[tatweel,digits,dialect_gulf]", "~suite.tasks.sample_short"),
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Return what a run said, and its directory."""
    return finished(tmp_path_factory.mktemp("robustness"), *SMALL)


@pytest.fixture
def beside(asked):
    """Return the program, to be run where the run was."""
    return functools.partial(run_in, asked[1].parent)


def rows(directory):
    text = (directory / "robustness.csv").read_text(encoding="utf-8")
    return {
        (row["task"], row["perturbation"], float(row["rate"])): row
        for row in csv.DictReader(io.StringIO(text))
    }


def test_every_perturbation_at_every_rate_has_its_row(asked):
    said, directory = asked
    found = rows(directory)
    tasks = ("sample_choice", "sample_dialect", "sample_known")
    expected = {(t, p, r) for t in tasks for p in ("tatweel", "digits", "dialect_gulf") for r in (0.5, 1.0)}
    assert found.keys() == {key for key in expected if key[:2] != ("sample_dialect", "dialect_gulf")}
    assert "left out: sample_dialect with dialect_gulf: the dialect is what it asks for" in said
    for (_, name, rate), row in found.items():
        assert int(row["n"]) == 12
        assert float(row["drop"]) == pytest.approx(float(row["clean"]) - float(row["perturbed"]))
        assert float(row["low"]) <= float(row["drop"]) <= float(row["high"])
        if int(row["num_changed"]):
            scale = int(row["n"]) / int(row["num_changed"])
            assert float(row["changed_drop"]) == pytest.approx(scale * float(row["drop"]))
        if name == "tatweel" and rate == 1:
            assert float(row["token_ratio"]) > 1.5
            assert int(row["num_changed"]) > 6
    assert said.partition("\n\nnext:\n")[0].strip().endswith("mine/report.html")


def test_tatweel_costs_a_model_that_never_saw_it_what_it_knew(asked):
    known = rows(asked[1])["sample_known", "tatweel", 1.0]
    assert float(known["clean"]) > 0.9
    assert float(known["low"]) > 0.1


def test_the_page_has_its_heat_maps_and_answers_and_reads_right_to_left(asked):
    page = (asked[1] / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert 1 <= page.count('<div class="card">') <= 10
    assert page.count('<div class="row" dir="auto">') == 2 * page.count('<div class="card">')
    assert "<mark>" in page
    assert "python -m arabic_llm.run task=robustness" in page


def test_the_same_command_again_makes_the_same_bytes_and_asks_nothing_again(asked, beside):
    _, directory = asked
    before = {name: (directory / name).read_bytes() for name in ("robustness.md", "robustness.csv")}
    status, said = beside(*SMALL, "hydra.run.dir=mine", "resume=false")
    assert status == 0
    assert said.count("evaluated before") == 7
    assert "evaluated on" not in said
    assert before == {name: (directory / name).read_bytes() for name in before}


def test_a_killed_run_asks_only_the_rest(asked, beside, tmp_path):
    _, directory = asked
    cache = directory.parent / "outputs" / "cache"
    fresh = tmp_path / "cache"
    (fresh / "answers").mkdir(parents=True)
    for file in (cache / "answers").iterdir():  # as if killed half-way through writing them
        (fresh / "answers" / file.name).write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    status, said = beside(*SMALL, "hydra.run.dir=again", f"cache_dir={fresh}")
    assert status == 0, said
    for name in ("robustness.md", "robustness.csv"):
        assert (directory / name).read_bytes() == (directory.parent / "again" / name).read_bytes()


def test_a_perturbed_score_is_never_compared_with_a_clean_one(asked, beside):
    status, said = beside(
        *("task=compare", "task.base=mine/evaluation/clean", "task.tuned=mine/evaluation/tatweel-1"),
    )
    assert status == 2
    assert "error: not comparable: " in said
    assert "perturbation is None and {" in said
    judged = json.loads((asked[1] / "evaluation" / "tatweel-1" / "result.json").read_text())["judged"]
    assert judged["perturbation"] == {"perturbation": "tatweel", "rate": 1.0, "seed": 17}
    same = "mine/evaluation/tatweel-1"
    status, said = beside("task=compare", f"task.base={same}", f"task.tuned={same}", "hydra.run.dir=both")
    assert status == 0, said
    assert "within noise" in said


def test_the_clean_questions_are_those_of_task_evaluate(asked, beside):
    status, said = beside("task=evaluate", "suite.limit=12", "hw=cpu", "~suite.tasks.sample_short")
    assert status == 0
    assert "base model: evaluated before" in said


def test_the_judge_is_asked_about_the_clean_questions_alone(asked, beside):
    folder = asked[1].parent / "judged" / "evaluation"
    with serving() as server:
        judge = (f"judge.endpoint={server.url}", "judge.model=reader")
        status, said = beside(*SMALL, *judge, "hydra.run.dir=judged")
    assert status == 0, said
    judged = {path.parent.name: path.read_text().count(",reader,") for path in folder.rglob("mistakes.csv")}
    assert len(judged) == 7
    assert judged.pop("clean") == len(server.asked) > 0
    assert set(judged.values()) == {0}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.perturbations=[tatwil]", "no perturbation 'tatwil'; did you mean 'tatweel'?"),
        ("task.perturbations=[]", "task.perturbations is empty; there are: diacritics_added, diac"),
        ("task.rates=[]", "task.rates is empty"),
        ("task.rates=[0]", "task.rates must be above 0 and at most 1, not 0"),
        ("task.rates=[0.1,2]", "task.rates must be above 0 and at most 1, not 2"),
        (
            "task.perturbations=[diacritics_added]",
            "no diacritised text at data_raw/tashkeela/val.txt; set task.diacritised_text",
        ),
        ("task.diacritised_text=plain.txt", "plain.txt shows the diacritics of 0 words only"),
    ],
)
def test_mistakes_are_one_line(program, tmp_path, override, said):
    (tmp_path / "plain.txt").write_text("نص بلا حركات\n", encoding="utf-8")
    status, told = program("task=robustness", "suite.limit=2", "hw=cpu", override)
    assert status == 2
    assert told.strip().splitlines()[-1].startswith("error: ")
    assert said in told


def test_a_dry_run_says_what_would_be_asked_and_writes_nothing(program, tmp_path):
    status, said = program("task=robustness", "suite.limit=5", "hw=cpu", "dry_run=true")
    assert status == 0, said
    assert "plan: the same again with 17 perturbations at 0.1, 0.3, 1: diacritics_stripped, hamza" in said
    assert "left out: diacritics_added: no diacritised text at data_raw/tashkeela/val.txt" in said
    assert not any(path for path in tmp_path.rglob("*") if path.is_file())
