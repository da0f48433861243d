"""Means by language and by skill: of tasks, not of items; what got worse is named, noise is not."""

from dataclasses import replace

import numpy as np
import pytest

from arabic_llm.analysis import forgetting, scores
from arabic_llm.analysis.scores import Evaluation, Item, Score

MODEL = {
    "name": "m",
    "revision": "r",
    "template": "t",
    "quantization": "none",
    "dtype": "f",
    "trained": None,
}
TRAITS = {
    "exams": {"language": "ar", "skill": "knowledge"},
    "short": {"language": "ar", "skill": "generation"},
    "gsm": {"language": "en", "skill": "mathematics"},
    "tweets": {"language": None, "skill": None},
}
METRIC = {"exams": "acc", "short": "token_f1", "gsm": "exact_match", "tweets": "acc"}


def evaluation(values, traits=TRAITS, trained=None):
    items = [
        Item(task, str(i), "", "", "", {METRIC[task]: float(value), "more": 0.0})
        for task, own in values.items()
        for i, value in enumerate(own)
    ]
    means = {task: float(np.mean(own)) for task, own in values.items()}
    found = [
        Score(
            t, METRIC[t], len(values[t]), means[t], 0.01, 0.25, 0.3, (t,), "1", seen_in_training=t == "gsm"
        )
        for t in values
    ]
    found += [replace(score, metric="more", value=0.0) for score in found]
    judged = {"tasks": {task: {"metrics": [METRIC[task], "more"]} for task in values}}
    return Evaluation(MODEL | {"trained": trained}, judged, found, items, traits=traits)


BASE = {"exams": [1, 0] * 50, "short": [0.5] * 20, "gsm": [1] * 30 + [0] * 10, "tweets": [0, 1] * 10}
TUNED = {"exams": [1, 0] * 50, "short": [0.9] * 20, "gsm": [1] * 5 + [0] * 35, "tweets": [1, 0] * 10}


def found(base=BASE, tuned=TUNED, traits=TRAITS):
    before, after = evaluation(base, traits), evaluation(tuned, traits, trained="x")
    return forgetting.find(before, after, seed=1)


def test_a_mean_is_over_tasks_each_in_its_first_metric():
    arabic, english = found().by_trait["language"]
    assert (arabic.base.name, english.base.name) == ("ar", "en")
    assert arabic.base.value == pytest.approx((0.5 + 0.5) / 2)  # 100 items do not outweigh 20
    assert arabic.tuned.value == pytest.approx((0.5 + 0.9) / 2)
    assert arabic.difference == pytest.approx(0.2)
    assert (arabic.low, arabic.high) == pytest.approx((0.135, 0.244), abs=1e-3)  # none varies, none is sure
    assert arabic.base.n == 120
    assert english.difference == pytest.approx(-25 / 40)
    assert english.base.seen_in_training
    assert [row.base.name for row in found().by_trait["skill"]] == [
        "knowledge",
        "generation",
        "mathematics",
    ]


def test_what_got_worse_is_named_and_noise_is_not():
    assert [(kind, row.base.name) for kind, row in found().worse()] == [
        ("task", "gsm"),
        ("language", "en"),
        ("skill", "mathematics"),
    ]
    assert found(tuned=BASE).worse() == []
    assert found(tuned=BASE | {"gsm": [1] * 28 + [0] * 12}).worse() == []  # two of forty


def test_one_of_many_must_lose_more_to_be_named():
    """Seven items lost of seven: p = 0.016 alone, too much beside four other tests of the same page."""
    base = {"exams": [1] * 7, "short": [0.5] * 20}
    tuned = {"exams": [0] * 7, "short": [0.5] * 20}
    alone = found({"exams": base["exams"]}, {"exams": tuned["exams"]})
    assert [kind for kind, _ in alone.worse()] == ["task", "language", "skill"]
    assert found(base, tuned).worse() == []


def test_the_same_items_have_one_verdict_as_a_task_a_language_and_a_skill():
    """Of 40 items 9 gained and 1 lost: p = 0.02, noise beside other tasks, under any of its names."""
    base = {"exams": [0] * 9 + [1] * 31, "gsm": [1, 0] * 20, "short": [0.5, 0.4] * 10, "tweets": [1, 0] * 5}
    tuned = base | {"exams": [1] * 39 + [0], "gsm": [0, 1] * 20}
    result = found(base, tuned)
    (task,) = [row for row in result.tasks if (row.base.name, row.base.metric) == ("exams", "acc")]
    (skill,) = [row for row in result.by_trait["skill"] if row.base.name == "knowledge"]
    assert task.sign_p == pytest.approx(0.0215, abs=1e-4)
    assert (skill.difference, skill.low, skill.high, skill.holm_p, skill.verdict) == (
        *(task.difference, task.low, task.high, task.holm_p, "within noise"),
    )
    alone = found({"exams": base["exams"]}, {"exams": tuned["exams"]})
    verdicts = {row.verdict for rows in (alone.tasks[:1], *alone.by_trait.values()) for row in rows}
    assert verdicts == {"better"}


def test_descriptions_make_no_evaluation_another(tmp_path):
    """An evaluation from before they were kept is read, compared and described by the other one."""
    old, new = evaluation(BASE, traits={}), evaluation(TUNED, trained="x")
    assert old.fingerprint == evaluation(BASE).fingerprint
    scores.write(new, tmp_path)
    assert scores.read(tmp_path).traits == TRAITS
    assert len(forgetting.find(old, new, seed=1).by_trait["language"]) == 2
    assert found(traits={}).by_trait == {"language": [], "skill": []}
