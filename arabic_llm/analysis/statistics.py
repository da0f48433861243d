"""Honest differences: paired, item by item, with an interval, and "within noise" where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.config.fingerprint import differences
from arabic_llm.errors import ConfigError

_RESAMPLES = 10_000
_LEVEL = 0.95
_ALPHA = 1 - _LEVEL
_AT_ONCE = 500  # resamples
_Z, _POWER_Z = float(ndtri(1 - _ALPHA / 2)), float(ndtri(0.8))  # of the normal distribution
_MAX_NAMED = 4  # differences named when two evaluations are refused


@dataclass(frozen=True)
class Difference:
    """One score of a base and a tuned model over the same items.

    `low` and `high` bound the 95% interval of tuned - base (paired bootstrap over items, percentile; of a
    weighted mean, over the items of each task). `sign_p` is the exact two-sided sign test of the items that
    changed; where items are right or wrong (`is_binary`), that is McNemar's test. Of a weighted mean, whose
    items do not count alike, it is that of sign_flips. `holm_p` is corrected for all that was compared
    beside it (Holm 1979): the suite's own rows, or the parts of its groups.
    """

    base: Score
    tuned: Score
    difference: float
    low: float
    high: float
    sign_p: float
    is_binary: bool
    holm_p: float

    @property
    def mcnemar_p(self) -> float | None:
        """Return McNemar's p, or None where items are not right or wrong, or do not count alike."""
        return self.sign_p if self.is_binary and not self.base.weights else None

    @property
    def verdict(self) -> str:
        """Return better or worse where the interval leaves out 0 and the sign test agrees; else noise.

        The bootstrap alone sees no noise in three items of three that changed the same way.
        """
        return verdict(self.low, self.high, self.holm_p)


def verdict(low: float, high: float, holm_p: float) -> str:
    """Return better or worse where the interval leaves out 0 and the sign test agrees; else noise."""
    if holm_p < _ALPHA and low > 0:
        return "better"
    return "worse" if holm_p < _ALPHA and high < 0 else "within noise"


def compare(base: Evaluation, tuned: Evaluation, seed: int) -> list[Difference]:
    """Return the difference of every score.

    Raises ConfigError when the two were not judged alike: other prompts, templates, scoring, items,
    quantisation or base model.
    """
    _refuse_unlike(base, tuned)
    rows = paired(base, tuned, seed)
    is_whole = [base.is_whole(row.base) for row in rows]
    corrected = list(rows)
    for kind in (True, False):  # parts do not weaken what is said of the wholes
        own = [index for index, whole in enumerate(is_whole) if whole == kind]
        for index, p in zip(own, holm([rows[i].sign_p for i in own]), strict=True):
            corrected[index] = replace(rows[index], holm_p=p)
    return corrected


def paired(base: Evaluation, tuned: Evaluation, seed: int) -> list[Difference]:
    """Return the difference of every score, however the two were judged, with p-values of each alone."""
    return [_difference(base, tuned, *pair, seed=seed) for pair in _pairs(base, tuned)]


def mean_interval(values: npt.NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the 95% interval of a mean: bootstrap, percentile."""
    return _bootstrap([values], (1.0,), seed)


def paired_interval(
    base: npt.NDArray[np.float64], tuned: npt.NDArray[np.float64], seed: int
) -> tuple[float, float]:
    """Return the 95% interval of the mean of tuned - base, item by item (paired bootstrap, percentile)."""
    return mean_interval(tuned - base, seed)


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Return the standard error of a mean: sample deviation / sqrt(n), as lm-eval has it."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def interval(score: Score) -> tuple[float, float]:
    """Return the 95% interval of a score: Wilson's where items are right or wrong, else the normal one."""
    z, n, p = _Z, score.n, score.value
    as_share = float(np.sqrt(p * (1 - p) / (n - 1))) if n > 1 and 0 <= p <= 1 else float("nan")
    if score.weights or not np.isclose(score.stderr, as_share, rtol=1e-6, atol=1e-12):
        return p - z * score.stderr, p + z * score.stderr
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return float(middle - half), float(middle + half)


def smallest_difference(score: Score) -> float:
    """Return the least difference of two such scores that is found 4 times of 5, at the 5% level.

    Of two models that answer independently; items in common make it smaller.
    """
    low, high = interval(score)
    return float((_Z + _POWER_Z) * np.sqrt(2) * (high - low) / (2 * _Z))


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
    means = np.zeros(_RESAMPLES)
    for part, weight in zip(parts, weights, strict=True):
        sizes, counts = np.unique(np.abs(part), return_counts=True)
        for start in range(0, _RESAMPLES, _AT_ONCE):
            signs = 2 * draw.binomial(counts, 0.5, size=(_AT_ONCE, len(counts))) - counts
            means[start : start + _AT_ONCE] += weight * (signs @ sizes) / len(part)
    seen = abs(sum(weight * part.mean() for weight, part in zip(weights, parts, strict=True)))
    as_large = np.abs(means) >= seen - 1e-12  # equal ones differ in the order they were added up
    return float((1 + np.count_nonzero(as_large)) / (1 + _RESAMPLES))


def _pairs(base: Evaluation, tuned: Evaluation) -> list[tuple[Score, Score]]:
    by_name = {(s.name, s.metric): s for s in tuned.scores}
    return [(score, by_name[score.name, score.metric]) for score in base.scores]


def _difference(
    base: Evaluation, tuned: Evaluation, base_score: Score, tuned_score: Score, *, seed: int
) -> Difference:
    before, after = base.values(base_score), tuned.values(tuned_score)
    if before.keys() != after.keys():
        raise ConfigError(f"{base_score.name}: the two evaluations do not have the same items")
    keys = sorted(before)
    a, b = (np.array([values[key] for key in keys]) for values in (before, after))
    parts = [b - a]
    if base_score.weights:
        of_task = np.array([task for task, _ in keys])
        parts = [(b - a)[of_task == task] for task in base_score.tasks]
    weights = base_score.weights or (1.0,)
    low, high = _bootstrap(parts, weights, seed)
    p = sign_flips(parts, weights, seed) if base_score.weights else sign_test(a, b)
    return Difference(
        base_score,
        tuned_score,
        float(sum(weight * part.mean() for weight, part in zip(weights, parts, strict=True))),
        low,
        high,
        sign_p=p,
        is_binary=bool(np.isin(np.concatenate([a, b]), (0.0, 1.0)).all()),
        holm_p=p,
    )


def _bootstrap(
    parts: Sequence[npt.NDArray[np.float64]], weights: Sequence[float], seed: int
) -> tuple[float, float]:
    """Return the percentile interval of a weighted mean of means, each part resampled by itself.

    How often each distinct value is drawn is multinomial: no need to draw the items one by one.
    """
    draw = np.random.default_rng(seed)
    means = np.zeros(_RESAMPLES)
    for part, weight in zip(parts, weights, strict=True):
        values, counts = np.unique(part, return_counts=True)
        for start in range(0, _RESAMPLES, _AT_ONCE):
            drawn = draw.multinomial(len(part), counts / len(part), size=_AT_ONCE)
            means[start : start + _AT_ONCE] += weight * (drawn @ values) / len(part)
    tail = 100 * _ALPHA / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


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
    ]
    if unlike:
        more = f" and {len(unlike) - _MAX_NAMED} more" if len(unlike) > _MAX_NAMED else ""
        raise ConfigError(f"not comparable: {'; '.join(unlike[:_MAX_NAMED])}{more}")
