"""Differences are paired, their intervals cover, and noise is called noise."""

import numpy as np
import pytest
from scipy import stats

from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.scores import Evaluation, Item, Score
from arabic_llm.evaluation.statistics import compare, sign_test, standard_error

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


def test_other_items_are_not_compared():
    with pytest.raises(ConfigError, match="do not have the same items"):
        compare(evaluation([1, 0]), evaluation([1, 0, 1]), seed=1)
