"""Intervals cover with few items and where none varies; the smallest difference is found 4 times of 5."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from arabic_llm.analysis import aggregate, intervals, scores
from arabic_llm.analysis.aggregate import Benchmark
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.analysis.statistics import sign_flips, verdict
from arabic_llm.config.suite import Aggregate
from arabic_llm.reports import tables


def scored(*parts, metric="acc", macro=False):
    """Return the score of tasks whose items have these values."""
    items = [
        Item(str(task), f"{task}-{i}", "", "", "", {metric: float(v)}, "", 4, 0, 0)
        for task, values in enumerate(parts)
        for i, v in enumerate(values)
    ]
    names = tuple(str(task) for task in range(len(parts)))
    groups = {"g": names} if len(parts) > 1 else {}
    how = Aggregate.macro if macro else Aggregate.micro
    return next(iter(aggregate.scores(Benchmark(dict.fromkeys(names, "1"), groups, [metric], how), items)))


def test_intervals_of_shares_are_wilsons_and_never_leave_the_scale():
    share = scored([1] * 54 + [0] * 36)
    assert (share.low, share.high) == pytest.approx(stats.binomtest(54, 90).proportion_ci(method="wilson"))
    none = scored([0] * 50)
    assert (none.low, none.high) == pytest.approx((0.0, 0.0714), abs=1e-3)
    assert none.low >= 0
    one_item = scored([1])
    assert (one_item.low, one_item.high) == pytest.approx((0.2065, 1.0), abs=1e-4)


def test_graded_scores_have_students_interval_whatever_their_number():
    graded = scored([0.2, 0.5, 0.6, 0.7], metric="token_f1")
    expected = stats.t.interval(0.95, 3, loc=0.5, scale=stats.sem([0.2, 0.5, 0.6, 0.7]))
    assert (graded.low, graded.high) == pytest.approx(expected)


def test_the_interval_of_a_mean_of_tasks_is_tangos_of_as_many_items():
    """Alike tasks are one; of one small task that counts as much as a large one its own items decide."""
    draw = np.random.default_rng(7)

    def pair(n, share):
        before = (draw.random(n) < 0.5) * 1.0
        return before, np.where(draw.random(n) < share, 1.0, before)

    nothing = [(np.ones(5), np.ones(5))] * 58
    assert intervals.paired(nothing, (1 / 58,) * 58, seed=1) == pytest.approx(intervals.tango(0, 0, 290))
    large, small = pair(4000, 0.0), pair(40, 0.4)
    low, high = intervals.paired([large, small], (0.5, 0.5), seed=1)
    alone = intervals.paired([small], seed=1)
    assert (low, high) == pytest.approx((alone[0] / 2, alone[1] / 2), abs=0.015)
    one_of_many = np.zeros(40), np.array([1.0] + [0.0] * 39)
    low, _ = intervals.paired([one_of_many, (np.ones(40), np.ones(40))], (0.5, 0.5), seed=1)
    assert low < -0.01  # a bootstrap is sure that it did not fall


def test_no_interval_leaves_the_scale():
    nearly = scored([1.0] * 9 + [0.9], metric="token_f1")
    assert nearly.high == 1.0
    lost = np.array([1.0] * 5), np.array([0.0] * 5)
    nearly_all = np.array([1.0, 1.0, 0.9]), np.array([0.0, 0.1, 0.1])
    low, high = intervals.paired([lost, nearly_all], (0.5, 0.5), seed=1)
    assert -1 <= low < high < 0


def test_what_does_not_vary_is_not_certain():
    """Four of four, one score for all, means of nothing else: each leaves room for what was not seen."""
    right = scored([1] * 4)
    assert (right.low, right.high) == pytest.approx((0.5101, 1.0), abs=1e-4)
    alike = scored([0.5] * 4, metric="token_f1")
    assert (alike.low, alike.high) == pytest.approx((0.2551, 0.7449), abs=1e-4)
    assert alike.is_alike
    assert not right.is_alike
    macro = scored([1] * 5, [1] * 5, macro=True)
    assert (macro.low, macro.high) == pytest.approx((scored([1] * 10).low, 1.0))
    mixed = scored([1] * 5, [0] * 5, macro=True)
    assert mixed.stderr == 0
    assert (mixed.low, mixed.high) == pytest.approx((0.361, 0.639), abs=1e-3)


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(0, 0, 4), (0, 0, 400), (4, 0, 4), (1, 0, 20), (54, 21, 100)]
)
def test_the_interval_of_a_paired_difference_is_tangos(gained, lost, n):
    """Held against the roots of a polynomial that has the same solutions (Yang, Sun and Hardin 2013)."""
    g, d = stats.chi2.ppf(0.95, 1), gained - lost
    coefficients = (
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * ((gained + lost) / g + 1),
        n * d * (2 * (gained + lost) / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - (gained + lost)) / g,
    )
    roots = np.roots(coefficients)
    real = roots.real[np.abs(roots.imag) < 1e-6]
    low, high = intervals.tango(gained, lost, n)
    assert low == pytest.approx(max(-1.0, real.min()), abs=1e-6)
    assert high == pytest.approx(1.0 if gained == n else real.max(), abs=1e-6)


def test_the_interval_of_a_paired_difference_is_the_published_one():
    """Airway reactivity of 21 children, in Fagerland, Lydersen and Laake 2014 (Stat. Med. 33:2850)."""
    assert intervals.tango(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert intervals.tango(7, 1, 21) == pytest.approx((0.026, 0.517), abs=5e-4)


@pytest.mark.parametrize(("right", "n"), [(10, 40), (60, 100), (90, 100), (98, 100), (30, 30), (0, 100)])
def test_the_smallest_difference_is_found_four_times_of_five(right, n):
    """Of two models that answer independently, by the verdict that a comparison gives."""
    least = scored([1] * right + [0] * (n - right)).smallest_difference
    draw = np.random.default_rng(3)
    base = draw.random((4000, n)) < right / n
    other = draw.random((4000, n)) < right / n + least
    gained, lost = (other & ~base).sum(1), (base & ~other).sum(1)
    kinds, counts = np.unique(np.stack([gained, lost]), axis=1, return_counts=True)
    wanted = "better" if least > 0 else "worse"
    found = [
        verdict(*intervals.tango(b, c, n), stats.binomtest(b, b + c).pvalue if b + c else 1.0) == wanted
        for b, c in kinds.T.tolist()
    ]
    assert counts @ found / 4000 == pytest.approx(0.8, abs=0.02)  # 3 standard errors


def test_the_smallest_difference_of_graded_scores_and_of_means_is_found_too():
    draw = np.random.default_rng(4)
    values = stats.norm.ppf((np.arange(60) + 0.5) / 60) * 0.15 + 0.4
    least = scored(values, metric="token_f1").smallest_difference
    spread = values.std(ddof=1)
    pairs = draw.normal((0.4, 0.4 + least), spread, size=(3000, 60, 2))
    changed = pairs[..., 1] - pairs[..., 0]
    gained = (changed > 0).sum(1)
    assert np.mean(stats.binom.sf(gained - 1, 60, 0.5) < 0.025) == pytest.approx(0.8, abs=0.025)
    tasks = [[1] * 10 + [0] * 30, [1] * 20 + [0] * 20]
    least = scored(*tasks, macro=True).smallest_difference
    found = 0
    for seed in range(100):
        parts = [
            (draw.random(40) < np.mean(own) + least) - 1.0 * (draw.random(40) < np.mean(own))
            for own in tasks
        ]
        found += sign_flips(parts, (0.5, 0.5), seed) < 0.05
    assert found / 100 == pytest.approx(0.82, abs=0.11)  # a little more: items that count alike are counted


def test_few_items_show_no_difference_and_tables_say_so():
    score = scored([1, 0, 1, 1])
    assert score.smallest_difference is None
    assert tables.score_cells(score)[3:5] == ("30.1 to 95.4", "out of reach")
    assert tables.score_cells(scored([1] * 30))[4] == "-25.1"  # no gain can be: a loss
    assert (
        "(every item scored alike: the bootstrap cannot tell)"
        in tables.score_cells(scored([0.5] * 4, metric="token_f1"))[3]
    )


def test_an_evaluation_from_before_intervals_were_kept_has_them_when_it_is_read(tmp_path):
    def reread(score, items):
        unknown = replace(score, low=None, high=None, smallest_difference=None)
        judged = {"tasks": {"g": {"metrics": ["acc"]}}}
        scores.write(Evaluation({"name": "m"}, judged, [unknown], items), tmp_path)
        return scores.read(tmp_path).scores[0]

    parts = [1.0] * 30 + [0.0] * 10, [1.0, 0.0] * 5
    items = [
        Item(str(task), str(i), "", "", "", {"acc": v}, "", 4, 0, 0)
        for task, own in enumerate(parts)
        for i, v in enumerate(own)
    ]
    for macro in (False, True):
        score = scored(*parts, macro=macro)
        assert reread(score, items) == score
