"""Honest differences: paired, item by item, with an interval, and "within noise" where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Self

import numpy as np
import numpy.typing as npt

from arabic_llm.analysis import intervals
from arabic_llm.analysis.intervals import ALPHA, AT_ONCE, RESAMPLES
from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.config.fingerprint import differences
from arabic_llm.config.suite import KAPPA
from arabic_llm.errors import ConfigError

NOTHING = "no item changed"
_MAX_NAMED = 4  # differences named when two evaluations are refused
_TRAINED_ON = ".seen_in_training"  # of a task: what training changed, and marked in every row
_SAME = 12  # decimals of an item's weight
Means = Sequence[tuple[Score, Score]]  # of several tasks: before and after


@dataclass(frozen=True)
class Difference:
    """One score of a base and a tuned model over the same items.

    `low` and `high` bound the 95% interval of tuned - base (intervals.paired), and `note` says what they
    cannot. `sign_p` is the exact two-sided sign test of the items that changed; where items are right or
    wrong (`is_binary`), that is McNemar's test. Of a weighted mean, whose items do not count alike, it is
    that of sign_flips. `holm_p` is corrected for all that was compared beside it (Holm 1979).
    """

    base: Score
    tuned: Score
    difference: float
    low: float
    high: float
    sign_p: float
    is_binary: bool
    holm_p: float
    note: str = ""

    @property
    def mcnemar_p(self) -> float | None:
        """Return McNemar's p, or None where items are not right or wrong, or do not count alike."""
        return self.sign_p if self.is_binary and not self.base.weights else None

    @property
    def verdict(self) -> str:
        """Return better or worse where the interval leaves out 0 and the sign test agrees; else noise."""
        return verdict(self.low, self.high, self.holm_p)


def verdict(low: float, high: float, holm_p: float) -> str:
    """Return better or worse where the interval leaves out 0 and the test agrees; else noise.

    The bootstrap alone sees no noise in three items of three that changed the same way.
    """
    if holm_p < ALPHA and low > 0:
        return "better"
    return "worse" if holm_p < ALPHA and high < 0 else "within noise"


def compare(base: Evaluation, tuned: Evaluation, seed: int, means: Means = ()) -> list[Difference]:
    """Return the difference of every score, and then of every mean of them, corrected for each other.

    All that stands by itself is one family of tests, with the means; the parts of groups are another, and
    do not weaken what is said of the wholes. The same items that count alike are one test, whatever they
    are called. Raises ConfigError when the two were not judged alike: other prompts, templates, scoring,
    items, quantisation or base model.
    """
    return compare_each([(base, tuned, means)], seed)[0]


def compare_each(
    comparisons: Sequence[tuple[Evaluation, Evaluation, Means]], seed: int
) -> list[list[Difference]]:
    """Return what `compare` returns of each comparison, corrected for all that stands in any of them."""
    pairs: list[list[tuple[Score, Score]]] = []
    cases: list[list[_Case]] = []
    is_part: list[bool] = []
    for base, tuned, means in comparisons:
        _refuse_unlike(base, tuned)
        own = _pairs(base, tuned)
        pairs.append([*own, *means])
        cases.append([_Case.of(base, tuned, *pair) for pair in pairs[-1]])
        is_part += [*(not base.is_whole(score) for score, _ in own), *(False for _ in means)]
    tests: dict[_Case, Difference] = {}
    for parts in (False, True):
        family = [case for case, part in zip(chain(*cases), is_part, strict=True) if part == parts]
        rows = {case: _difference(case, seed) for case in dict.fromkeys(family) if case not in tests}
        corrected = holm([row.sign_p for row in rows.values()])
        for (case, row), p in zip(rows.items(), corrected, strict=True):
            tests[case] = replace(row, holm_p=p)
    return [
        [
            replace(tests[case], base=_marked(before, after), tuned=_marked(after, before))
            for case, (before, after) in zip(own_cases, own_pairs, strict=True)
        ]
        for own_cases, own_pairs in zip(cases, pairs, strict=True)
    ]


def _marked(score: Score, other: Score) -> Score:
    """Return a score with the mark of either: what one side has learned from, no comparison is free of."""
    return replace(score, seen_in_training=score.seen_in_training or other.seen_in_training)


def paired(base: Evaluation, tuned: Evaluation, seed: int) -> list[Difference]:
    """Return the difference of every score, however the two were judged, with p-values of each alone."""
    return [_difference(_Case.of(base, tuned, *pair), seed) for pair in _pairs(base, tuned)]


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Return the standard error of a mean: sample deviation / sqrt(n), as lm-eval has it."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected for their number (Holm 1979), in their order."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def sign_test(base: npt.NDArray[np.float64], tuned: npt.NDArray[np.float64]) -> float:
    """Return the exact two-sided p of the sign test; on items scored 0 or 1 it is McNemar's.

    Under no difference, an item that changed is as likely to have become better as worse: binomial.
    """
    from scipy.stats import binomtest  # imports a second's worth, which only a comparison needs

    gained, lost = int((tuned > base).sum()), int((tuned < base).sum())
    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost, 0.5).pvalue)


def sign_flips(parts: Sequence[npt.NDArray[np.float64]], weights: Sequence[float], seed: int) -> float:
    """Return the two-sided p of a weighted mean of mean differences, their signs drawn anew.

    Under no difference an item is as likely to have become better as worse, by as much (Fisher 1935,
    The Design of Experiments, section 21). The sign test would let a large task hide what a small one lost.
    """
    draw = np.random.default_rng(seed)
    means = np.zeros(RESAMPLES)
    for part, weight in zip(parts, weights, strict=True):
        sizes, counts = np.unique(np.abs(part), return_counts=True)
        for start in range(0, RESAMPLES, AT_ONCE):
            signs = 2 * draw.binomial(counts, 0.5, size=(AT_ONCE, len(counts))) - counts
            means[start : start + AT_ONCE] += weight * (signs @ sizes) / len(part)
    seen = abs(sum(weight * part.mean() for weight, part in zip(weights, parts, strict=True)))
    as_large = np.abs(means) >= seen - 1e-12  # equal ones differ in the order they were added up
    return float((1 + np.count_nonzero(as_large)) / (1 + RESAMPLES))


def _pairs(base: Evaluation, tuned: Evaluation) -> list[tuple[Score, Score]]:
    by_name = {(s.name, s.metric): s for s in tuned.scores}
    return [(score, by_name[score.name, score.metric]) for score in base.scores]


@dataclass(frozen=True)
class _Case:
    """One test: items with their values before and after, and how much each counts.

    Two that are equal are one test, under whatever names; the scores are those of the first.
    """

    base: Score = field(compare=False)
    tuned: Score = field(compare=False)
    items: tuple[tuple[str, str], ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    counts: tuple[float, ...]
    levels: tuple[tuple[tuple[int, int, int], ...], ...] = ()  # of a kappa: before and after

    @classmethod
    def of(cls, base: Evaluation, tuned: Evaluation, base_score: Score, tuned_score: Score) -> Self:
        """Return the test of a score. Raises ConfigError when the two have not the same items."""
        before, after = base.values(base_score), tuned.values(tuned_score)
        if before.keys() != after.keys():
            raise ConfigError(f"{base_score.name}: the two evaluations do not have the same items")
        items = tuple(sorted(before))
        sizes = Counter(task for task, _ in items)
        weights = dict(zip(base_score.tasks, base_score.weights, strict=False))
        counts = (weights[task] / sizes[task] if weights else 1 / len(items) for task, _ in items)
        return cls(
            *(base_score, tuned_score),
            items=items,
            before=tuple(before[key] for key in items),
            after=tuple(after[key] for key in items),
            counts=tuple(round(one, _SAME) for one in counts),
            levels=_levels(base, tuned, base_score, items) if base_score.metric == KAPPA else (),
        )

    @property
    def parts(self) -> list[intervals.Pair]:
        """Return (before, after) of each task of a weighted mean, or of all items."""
        a, b = np.array(self.before), np.array(self.after)
        if not self.base.weights:
            return [(a, b)]
        of_task = np.array([task for task, _ in self.items])
        return [(a[of_task == task], b[of_task == task]) for task in self.base.tasks]


def _levels(
    base: Evaluation, tuned: Evaluation, score: Score, items: Sequence[tuple[str, str]]
) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """Return the levels wanted and said of each item, before and after."""
    sides = (base.levels(score), tuned.levels(score))
    return tuple(tuple(levels[key] for key in items) for levels in sides)


def _difference(case: _Case, seed: int) -> Difference:
    if case.levels:
        return _difference_of_kappas(case, seed)
    pairs, weights = case.parts, case.base.weights or (1.0,)
    changes = [after - before for before, after in pairs]
    low, high = intervals.paired(pairs, weights, seed=seed)
    p = sign_flips(changes, weights, seed) if case.base.weights else sign_test(*pairs[0])
    is_binary = all(intervals.is_binary(*pair) for pair in pairs)
    return Difference(
        case.base,
        case.tuned,
        float(sum(weight * part.mean() for weight, part in zip(weights, changes, strict=True))),
        low,
        high,
        sign_p=p,
        is_binary=is_binary,
        holm_p=p,
        note=_note(changes, is_binary=is_binary),
    )


def _difference_of_kappas(case: _Case, seed: int) -> Difference:
    """Return the difference of two kappas: its interval is a bootstrap's over the items, drawn for both."""
    from arabic_llm.analysis import kappa  # which reads this module

    before, after = case.levels
    gain = kappa.gain(before, after, seed)
    note = NOTHING if before == after else ""
    sides = (case.base, case.tuned)
    ends = (gain.low, gain.high)
    return Difference(*sides, gain.difference, *ends, gain.p, is_binary=False, holm_p=gain.p, note=note)


def _note(changes: Sequence[npt.NDArray[np.float64]], *, is_binary: bool) -> str:
    """Return what an interval cannot say: that nothing changed, or that it is no bootstrap's."""
    said = NOTHING if not any(part.any() for part in changes) else ""
    if is_binary or not all(map(intervals.is_alike, changes)):
        return said
    return f"{said or 'every item changed alike'}: the bootstrap cannot tell"


def _refuse_unlike(base: Evaluation, tuned: Evaluation) -> None:
    """Refuse two evaluations that differ in more than what training changed."""
    without = [", ".join(e.judged.get("left_out", ())) or "nothing" for e in (base, tuned)]
    if without[0] != without[1]:
        raise ConfigError(
            f"not comparable: one was asked without {without[0]}, the other without {without[1]}; evaluate"
            " both where the same benchmarks are"
        )
    models = [{k: v for k, v in e.model.items() if k != "trained"} for e in (base, tuned)]
    unlike = [
        f"{key} is {a} and {b}"
        for pair in ((base.judged, tuned.judged), models)
        for key, a, b in differences(*pair)
        if not key.endswith(_TRAINED_ON)
    ]
    if unlike:
        more = f" and {len(unlike) - _MAX_NAMED} more" if len(unlike) > _MAX_NAMED else ""
        raise ConfigError(f"not comparable: {'; '.join(unlike[:_MAX_NAMED])}{more}")
