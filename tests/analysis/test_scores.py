"""An evaluation on the disk is the one that was written, or one line says which line of it is not."""

import json
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
from damages import DAMAGES

from arabic_llm import files
from arabic_llm.analysis import scores
from arabic_llm.analysis.scores import Evaluation, Item, Score
from arabic_llm.errors import CheckpointError, DamagedError

ITEMS = [Item("t", f"{n}", "س", "ج", "ج", {"acc": n % 2}, num_choices=2) for n in range(4)]
SCORE = Score("t", "acc", 4, 0.5, 0.1, 0.5, 0.5, ("t",), "1")
EVALUATION = Evaluation({"name": "m", "trained": None}, {"tasks": {"t": {}}}, [SCORE], ITEMS)


@pytest.fixture
def folder(tmp_path):
    scores.write(EVALUATION, tmp_path / "e")
    return tmp_path / "e"


def complaint(folder, **how) -> str:
    with pytest.raises((DamagedError, CheckpointError)) as refused:
        scores.read(folder, **how)
    (line,) = str(refused.value).splitlines()
    return line


@pytest.mark.parametrize("file", ["items.jsonl", "result.json"])
def test_any_changed_byte_of_an_evaluation_is_noticed(folder, file):
    whole, draw = (folder / file).read_bytes(), random.Random(17)
    noticed = 0
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
        (folder / file).write_bytes(changed)
        try:
            assert scores.read(folder) == EVALUATION  # another kind of space between two signs of JSON
        except (DamagedError, CheckpointError) as error:
            assert str(folder) in str(error)
            noticed += 1
    assert noticed > 0.95 * len(whole)


@pytest.mark.parametrize("name", sorted(DAMAGES.keys() - {"gone", "unreadable"}))
@pytest.mark.parametrize("file", ["items.jsonl", "result.json"])
def test_a_damaged_evaluation_is_one_line(folder, file, name):
    DAMAGES[name](random.Random(name), folder / file)
    assert str(folder) in complaint(folder)


def rewritten(folder, change, item=None):
    """Write an evaluation as another program would, which knows no hash."""
    result = json.loads((folder / "result.json").read_text())
    items = [asdict(item) for item in ITEMS]
    change(result, items)
    for key in (files.HASH, "items_sha256"):
        del result[key]
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r, i: r["scores"][0].update(n=0), "result.json: t acc: n is 0, and it has 4 items"),
        (lambda r, i: r["scores"][0].update(n=None), "result.json: t acc: n is None, and it has 4 items"),
        (
            lambda r, i: r["scores"][0].update(value=7),
            "t acc: its value is 7, and that of its items",
        ),
        (lambda r, i: r["scores"][0].update(value=float("nan")), "t acc: its value is nan, and that of"),
        (lambda r, i: r["scores"][0].update(value="0.5"), "t acc: its value is '0.5', and that of its"),
        (lambda r, i: r["scores"].clear(), "result.json: it holds no score"),
        (lambda r, i: i.append(i[0]), "items.jsonl:5: item '0' of t is that of line 1 again"),
        (
            lambda r, i: i[1]["scores"].update(acc=7),
            "items.jsonl:2: acc of item '1' is 7, and no share",
        ),
        (
            lambda r, i: i[1]["scores"].update(acc=-0.5),
            "items.jsonl:2: acc of item '1' is -0.5, and no",
        ),
        (
            lambda r, i: i[2]["scores"].update(acc=float("nan")),
            "items.jsonl:3: acc of item '2' is nan, and no number",
        ),
        (lambda r, i: i[2].update(scores={}), "items.jsonl:3: item '2' has no scores"),
        (lambda r, i: i[2].update(scores={"f1": 1}), "result.json: t acc: not every item of it has this"),
        (lambda r, i: i.clear(), "result.json: t acc: n is 4, and t has no item"),
        (lambda r, i: i[1]["scores"].update(acc=10**400), "items.jsonl:2: acc of item '1' is 1000"),
        (lambda r, i: r["scores"][0].update(weights=["t"]), "t acc: its weights are ['t'], and no numbers"),
        (lambda r, i: r["scores"][0].update(weights=[0.5, 0.5]), "and no numbers of its 1 tasks"),
        (lambda r, i: r["scores"][0].update(stderr=None), "t acc: stderr is None, and no float"),
        (lambda r, i: r["scores"][0].update(low="0"), "t acc: low is '0', and no float | None"),
        (lambda r, i: i[2].update(answer=7), "items.jsonl:3: answer is 7, and no str (item '2')"),
        (lambda r, i: i[2].update(num_choices="2"), "items.jsonl:3: num_choices is '2', and no int"),
    ],
)
def test_what_no_evaluation_gives_is_named_with_its_file_and_line_and_the_cure(folder, change, said):
    rewritten(folder, change)
    line = complaint(folder, are_shares=True)
    assert said in line
    assert line.endswith("take the file of the evaluation again, or ask again (task=evaluate)")


def test_an_evaluation_of_an_earlier_version_is_read_without_its_hashes(folder):
    rewritten(folder, lambda result, items: None)
    (read,) = scores.read(folder, are_shares=True).scores
    assert read == replace(SCORE, **scores.certainty([np.array([0.0, 1.0, 0.0, 1.0])], (1.0,)))


def test_a_mean_of_tasks_is_checked_by_its_weights(folder):
    items = [*ITEMS, replace(ITEMS[1], task="u")]
    mean = replace(SCORE, name="g", n=5, value=0.75, tasks=("t", "u"), weights=(0.5, 0.5))
    scores.write(replace(EVALUATION, scores=[mean], items=items), folder)
    (read,) = scores.read(folder).scores
    assert (read.value, read.weights, read.low is None) == (0.75, (0.5, 0.5), False)
    scores.write(replace(EVALUATION, scores=[replace(mean, value=0.6)], items=items), folder)
    assert "its value is 0.6, and that of its items is 0.75" in complaint(folder)


def test_a_damaged_name_is_said_on_one_printable_line(folder):
    path = folder / "items.jsonl"
    path.write_text(path.read_text().replace('"options"', r'"opt\u001bions"', 1), encoding="utf-8")
    assert "opt\\x1bions" in complaint(folder)
    assert complaint(folder).isprintable()
