"""Differences are paired, their intervals cover, and noise is called noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from arabic_llm.analysis import aggregate
from arabic_llm.analysis.aggregate import Benchmark
from arabic_llm.analysis.scores import Evaluation, Item, Score
from arabic_llm.analysis.statistics import (
    compare,
    compare_each,
    holm,
    sign_flips,
    sign_test,
    standard_error,
)
from arabic_llm.errors import ConfigError
from arabic_llm.reports import tables

MODEL = {
    "name": "m",
    "revision": "r",
    "template": "t",
    "quantization": "none",
    "dtype": "float32",
    "trained": None,
}
JUDGED = {"tasks": {"a": {"chat": True, "num_fewshot": 0}}, "limit": None}


def evaluation(values, *, trained=None, model=None, judged=None):
    items = [Item("a", str(i), "س", "ج", "ج", {"acc": float(v)}, "", 4, 0, 0) for i, v in enumerate(values)]
    mean = float(np.mean(values))
    score = Score("a", "acc", len(items), mean, 0.0, 0.25, 0.3, ("a",), "1")
    return Evaluation(MODEL | {"trained": trained} | (model or {}), judged or JUDGED, [score], items)


def one(base, tuned):
    (row,) = compare(evaluation(base), evaluation(tuned, trained="x"), seed=1)
    return row


def test_the_interval_is_that_of_the_paired_difference():
    draw = np.random.default_rng(0)
    base = (draw.random(400) < 0.4).astype(float)
    tuned = np.where(draw.random(400) < 0.2, 1.0, base)
    row = one(base, tuned)
    paired = tuned - base
    assert row.difference == pytest.approx(paired.mean())
    normal = 1.96 * paired.std(ddof=1) / np.sqrt(400)
    assert row.low == pytest.approx(paired.mean() - normal, abs=0.01)
    assert row.high == pytest.approx(paired.mean() + normal, abs=0.01)
    unpaired = 1.96 * np.sqrt(base.var() / 400 + tuned.var() / 400)
    assert row.high - row.low < unpaired * 1.5  # pairing is what makes it narrow
    assert row.verdict == "better"


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    draw = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        base, tuned = (draw.random(120) < 0.5).astype(float), (draw.random(120) < 0.6).astype(float)
        row = one(base, tuned)
        covered += row.low <= 0.1 <= row.high
    assert covered >= 52  # of 60; 57 expected, fewer than 52 has probability 0.01


def test_noise_is_called_noise_and_loss_is_called_worse():
    assert one([1, 0] * 50, [0, 1] * 50).verdict == "within noise"
    assert one([1] * 60 + [0] * 40, [0] * 60 + [0] * 40).verdict == "worse"
    assert one([1, 0], [1, 0]).verdict == "within noise"


def test_an_evaluation_that_left_benchmarks_out_is_not_held_against_a_full_one():
    partly = evaluation([0, 1], judged=JUDGED | {"left_out": ["mmlu"]})
    assert partly.fingerprint != evaluation([0, 1]).fingerprint
    with pytest.raises(ConfigError, match="one was asked without mmlu, the other without nothing"):
        compare(partly, evaluation([1, 1], trained="x"), seed=1)
    (row,) = compare(partly, evaluation([1, 1], trained="x", judged=partly.judged), seed=1)
    assert row.difference == 0.5


def test_too_few_items_show_nothing():
    assert one([0, 0, 0], [1, 1, 1]).verdict == "within noise"  # three of three: p = 0.25
    assert one([0], [1]).verdict == "within noise"
    assert one([0] * 8, [1] * 8).verdict == "better"  # eight of eight: p = 0.008
    assert one([0.1] * 3, [0.2] * 3).verdict == "within noise"


def test_mcnemar_is_the_binomial_of_the_items_that_changed():
    base, tuned = np.array([0.0] * 8 + [1.0] * 2), np.array([1.0] * 8 + [0.0] * 2)
    assert sign_test(base, tuned) == pytest.approx(stats.binomtest(8, 10, 0.5).pvalue)
    assert sign_test(base, base) == 1


def test_graded_scores_have_no_mcnemar():
    assert one([0.5, 0.2, 0.1], [0.6, 0.2, 0.4]).mcnemar_p is None


def several(by_task, *, weights=(), trained=None):
    items = [
        Item(task, str(i), "", "", "", {"acc": float(v)}, "", 4, 0, 0)
        for task, values in by_task.items()
        for i, v in enumerate(values)
    ]
    means = {task: float(np.mean(values)) for task, values in by_task.items()}
    scores = [
        Score(t, "acc", len(by_task[t]), mean, 0.0, 0.25, 0.3, (t,), "1") for t, mean in means.items()
    ]
    if weights:
        whole = sum(w * m for w, m in zip(weights, means.values(), strict=True))
        tasks = tuple(by_task)
        scores.insert(0, Score("g", "acc", len(items), whole, 0.0, 0.25, 0.3, tasks, "1", weights))
    return Evaluation(MODEL | {"trained": trained}, JUDGED, scores, items)


def test_holm_is_holms():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_one_task_shows_many_do_not():
    gained = {"one": ([0] * 6, [1] * 6)}  # six of six: p = 0.031
    others = {str(i): ([1, 0] * 3, [1, 0] * 3) for i in range(4)}
    rows = {}
    for tasks in (gained, gained | others):
        base, tuned = ({t: pair[side] for t, pair in tasks.items()} for side in (0, 1))
        rows[len(tasks)] = compare(several(base), several(tuned, trained="x"), seed=1)
    assert rows[1][0].verdict == "better"
    assert rows[5][0].verdict == "within noise"
    assert rows[5][0].holm_p == pytest.approx(5 * 2 / 2**6)


def test_parts_of_a_group_do_not_weaken_what_is_said_of_it():
    base = {str(i): [0] * 6 for i in range(6)}
    tuned = {**base, "0": [1] * 6}
    whole, first, *_ = compare(
        several(base, weights=(1 / 6,) * 6), several(tuned, weights=(1 / 6,) * 6, trained="x"), seed=1
    )
    assert whole.holm_p == whole.sign_p == pytest.approx(first.sign_p, abs=0.005)  # of drawn signs
    assert first.holm_p == pytest.approx(6 * first.sign_p)


def test_several_comparisons_are_corrected_for_each_other():
    sides = [
        evaluation(values, trained=str(sum(values))) for values in ([0] * 8, [1] * 6 + [0] * 2, [1] * 8)
    ]
    pairs = [(sides[0], sides[1]), (sides[0], sides[2]), (sides[1], sides[2])]
    rows = [row for (row,) in compare_each([(*pair, ()) for pair in pairs], seed=1)]
    alone = [compare(*pair, seed=1)[0] for pair in pairs]
    assert [row.holm_p for row in rows] == holm([row.holm_p for row in alone])
    assert [row.verdict for row in alone] == ["better", "better", "within noise"]
    assert [row.verdict for row in rows] == ["within noise", "better", "within noise"]  # 2^-5, twice


def test_a_weighted_mean_is_compared_as_one():
    draw = np.random.default_rng(2)
    base = {"a": (draw.random(400) < 0.5).astype(float), "b": (draw.random(40) < 0.5).astype(float)}
    tuned = {"a": base["a"], "b": np.ones(40)}
    whole, *_ = compare(
        several(base, weights=(0.5, 0.5)), several(tuned, weights=(0.5, 0.5), trained="x"), seed=1
    )
    paired = tuned["b"] - base["b"]
    assert whole.difference == pytest.approx(paired.mean() / 2)
    normal = 1.96 * paired.std(ddof=1) / np.sqrt(40) / 2
    assert whole.low == pytest.approx(paired.mean() / 2 - normal, abs=0.01)
    assert whole.high == pytest.approx(paired.mean() / 2 + normal, abs=0.01)


def test_a_large_task_that_gained_does_not_hide_what_a_small_one_lost():
    base = {"large": [0.0] * 40 + [0.5] * 360, "small": [1.0] * 30}
    tuned = {"large": [1.0] * 40 + [0.5] * 360, "small": [0.0] * 30}
    both = [several(base, weights=(0.5, 0.5)), several(tuned, weights=(0.5, 0.5), trained="x")]
    whole, *_ = compare(*both, seed=1)
    assert whole.difference == pytest.approx((0.1 - 1) / 2)
    assert sign_test(np.concatenate([*base.values()]), np.concatenate([*tuned.values()])) > 0.2
    assert whole.verdict == "worse"
    assert whole.mcnemar_p is None


def test_drawn_signs_of_one_task_find_what_the_sign_test_finds():
    draw = np.random.default_rng(5)
    changes = draw.choice([-1.0, 0.0, 1.0], 200, p=[0.1, 0.7, 0.2])
    exact = sign_test(np.zeros(200), changes)
    assert sign_flips([changes], [1.0], seed=1) == pytest.approx(exact, abs=0.005)


def test_a_difference_of_nothing_is_not_certain():
    row = one([1, 0] * 50, [1, 0] * 50)
    assert (row.low, row.high) == pytest.approx((-0.0370, 0.0370), abs=1e-4)
    assert row.note == "no item changed"
    assert tables.cells(row)[4] == "+0.0 (-3.7 to +3.7; no item changed)"
    graded = one([0.5, 0.2] * 10, [0.5, 0.2] * 10)
    assert tables.cells(graded)[4] == "+0.0 (-16.1 to +16.1; no item changed: the bootstrap cannot tell)"
    moved = one([0.5] * 20, [0.9] * 20)
    assert moved.note == "every item changed alike: the bootstrap cannot tell"
    assert (moved.low, moved.high) == pytest.approx((0.174, 0.497), abs=1e-3)
    assert one([1, 0, 0, 0], [1, 0, 0, 1]).note == ""
    assert one([0] * 8, [1] * 8).low < 0.5  # eight of eight


def test_a_mean_of_tasks_that_did_not_change_is_not_certain():
    base = {"a": [1.0, 0.0] * 20, "b": [0.5] * 20}
    whole, *_ = compare(
        several(base, weights=(0.5, 0.5)), several(base, weights=(0.5, 0.5), trained="x"), seed=1
    )
    assert whole.low == -whole.high < -0.03
    assert whole.note == "no item changed: the bootstrap cannot tell"
    partly = {"a": [1.0] * 40, "b": [0.5] * 20}
    whole, *_ = compare(
        several(base, weights=(0.5, 0.5)), several(partly, weights=(0.5, 0.5), trained="x"), seed=1
    )
    alone = one(base["a"], partly["a"])
    assert whole.high - whole.low > (alone.high - alone.low) / 2  # what b does not tell is added
    assert whole.verdict == "better"


def test_one_difference_has_one_p_value_under_every_name():
    """A mean over tasks by their items is the group itself, though it is written as a weighted mean."""
    draw = np.random.default_rng(6)
    base = {"a": (draw.random(30) < 0.4) * 1.0, "b": (draw.random(10) < 0.4) * 1.0}
    tuned = {name: np.where(draw.random(len(own)) < 0.4, 1.0, own) for name, own in base.items()}
    sides = [several(base, weights=(0.75, 0.25)), several(tuned, weights=(0.75, 0.25), trained="x")]
    micro = [replace(side.scores[0], name="micro", weights=()) for side in sides]
    weighted, *_ = compare(*sides, seed=1)
    sides = [replace(side, scores=[m, *side.scores]) for side, m in zip(sides, micro, strict=True)]
    whole, mean, *parts = compare(*sides, seed=1)
    assert (mean.low, mean.high, mean.sign_p, mean.holm_p) == (
        *(whole.low, whole.high, whole.sign_p, whole.sign_p),
    )
    assert (mean.base.name, whole.base.name) == ("g", "micro")
    assert weighted.sign_p != mean.sign_p  # of drawn signs
    assert {row.base.name for row in parts} == {"a", "b"}


def test_balanced_accuracy_and_macro_f1_are_sklearns():
    from sklearn.metrics import balanced_accuracy_score, f1_score

    draw = np.random.default_rng(4)
    wanted, said = draw.integers(0, 4, 200).tolist(), draw.integers(0, 4, 200).tolist()
    items = [
        Item("a", str(i), "", "", "", {"acc": float(w == s)}, "", 4, w, s)
        for i, (w, s) in enumerate(zip(wanted, said, strict=True))
    ]
    (score,) = aggregate.scores(Benchmark({"a": "1"}, {}, ["acc"]), items)
    assert score.balanced == balanced_accuracy_score(wanted, said)
    assert score.macro_f1 == f1_score(wanted, said, average="macro")


def test_a_position_that_is_only_answered_counts_in_macro_f1_as_in_sklearn():
    from sklearn.metrics import f1_score

    wanted, said = [0, 0, 1, 1], [0, 2, 1, 3]
    items = [
        Item("a", str(i), "", "", "", {"acc": float(w == s)}, "", 4, w, s)
        for i, (w, s) in enumerate(zip(wanted, said, strict=True))
    ]
    (score,) = aggregate.scores(Benchmark({"a": "1"}, {}, ["acc"]), items)
    assert score.macro_f1 == f1_score(wanted, said, average="macro", zero_division=0)
    assert score.macro_f1 == pytest.approx(1 / 3)
    assert score.balanced == 0.5


def test_the_same_seed_gives_the_same_interval():
    assert one([1, 0, 0, 1], [1, 1, 0, 1]) == one([1, 0, 0, 1], [1, 1, 0, 1])


def test_standard_error_is_lm_evals():
    from lm_eval.api.metrics import mean_stderr

    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert standard_error(np.array(values)) == pytest.approx(mean_stderr(values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"template": "other"}}, "template is t and other"),
        ({"model": {"revision": "s"}}, "revision is r and s"),
        ({"model": {"quantization": "nf4"}}, "quantization is none and nf4"),
        (
            {"judged": {"tasks": {"a": {"chat": False, "num_fewshot": 0}}, "limit": None}},
            "tasks.a.chat is True and False",
        ),
        (
            {"judged": {"tasks": {"a": {"chat": True, "num_fewshot": 3}}, "limit": None}},
            "num_fewshot is 0 and 3",
        ),
    ],
)
def test_what_was_not_judged_alike_is_not_compared(change, said):
    with pytest.raises(ConfigError, match=f"not comparable: .*{said}"):
        compare(evaluation([1, 0]), evaluation([1, 0], **change), seed=1)


@pytest.mark.parametrize("is_base_marked", [False, True])
def test_what_either_side_has_learned_from_is_compared_and_marked(is_base_marked):
    plain, marked = (
        evaluation(
            [1, 0], judged={**JUDGED, "tasks": {"a": {**JUDGED["tasks"]["a"], "seen_in_training": seen}}}
        )
        for seen in (False, True)
    )
    marked = replace(marked, scores=[replace(marked.scores[0], seen_in_training=True)])
    sides = (marked, plain) if is_base_marked else (plain, marked)
    (row,) = compare(*sides, seed=1)
    assert row.base.seen_in_training
    assert row.tuned.seen_in_training


def test_other_items_are_not_compared():
    with pytest.raises(ConfigError, match="do not have the same items"):
        compare(evaluation([1, 0]), evaluation([1, 0, 1]), seed=1)
