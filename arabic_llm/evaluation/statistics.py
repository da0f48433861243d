"""Honest differences: paired, item by item, with an interval, and "within noise" where it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from arabic_llm.config.fingerprint import differences
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.scores import Evaluation, Score

_RESAMPLES = 10_000
_LEVEL = 0.95
_ALPHA = 1 - _LEVEL
_MAX_NAMED = 4  # differences named when two evaluations are refused


@dataclass(frozen=True)
class Difference:
    """One score of a base and a tuned model over the same items.

    `low` and `high` bound the 95% interval of tuned - base (paired bootstrap over items, percentile).
    `sign_p` is the exact two-sided sign test of the items that changed; where items are right or wrong
    (`is_binary`), that is McNemar's test.
    """

    base: Score
    tuned: Score
    difference: float
    low: float
    high: float
    sign_p: float
    is_binary: bool

    @property
    def mcnemar_p(self) -> float | None:
        """Return McNemar's p, or None where items are not right or wrong."""
        return self.sign_p if self.is_binary else None

    @property
    def verdict(self) -> str:
        """Return better or worse where the interval leaves out 0 and the sign test agrees; else noise.

        The bootstrap alone sees no noise in three items of three that changed the same way.
        """
        if self.sign_p < _ALPHA and self.low > 0:
            return "better"
        return "worse" if self.sign_p < _ALPHA and self.high < 0 else "within noise"


def compare(base: Evaluation, tuned: Evaluation, seed: int) -> list[Difference]:
    """Return the difference of every score.

    Raises ConfigError when the two were not judged alike: other prompts, templates, scoring, items,
    quantisation or base model.
    """
    _refuse_unlike(base, tuned)
    return [_difference(base, tuned, *pair, seed=seed) for pair in _pairs(base, tuned)]


def standard_error(values: npt.NDArray[np.float64]) -> float:
    """Return the standard error of a mean: sample deviation / sqrt(n), as lm-eval has it."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def sign_test(base: npt.NDArray[np.float64], tuned: npt.NDArray[np.float64]) -> float:
    """Return the exact two-sided p of the sign test; on items scored 0 or 1 it is McNemar's.

    Under no difference, an item that changed is as likely to have become better as worse: binomial.
    """
    gained, lost = int((tuned > base).sum()), int((tuned < base).sum())
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue)


def _pairs(base: Evaluation, tuned: Evaluation) -> list[tuple[Score, Score]]:
    by_name = {(s.name, s.metric): s for s in tuned.scores}
    return [(score, by_name[score.name, score.metric]) for score in base.scores]


def _difference(
    base: Evaluation, tuned: Evaluation, base_score: Score, tuned_score: Score, *, seed: int
) -> Difference:
    before, after = base.values(base_score), tuned.values(tuned_score)
    if before.keys() != after.keys():
        raise ConfigError(f"{base_score.name}: the two evaluations do not have the same items")
    a, b = (np.array([values[key] for key in sorted(before)]) for values in (before, after))
    low, high = _bootstrap(b - a, seed)
    is_binary = bool(np.isin(np.concatenate([a, b]), (0.0, 1.0)).all())
    return Difference(base_score, tuned_score, float((b - a).mean()), low, high, sign_test(a, b), is_binary)


def _bootstrap(paired: npt.NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the percentile interval of the mean of paired differences."""
    if len(paired) < 2 or np.ptp(paired) == 0:  # noqa: PLR2004 (nothing to resample)
        return float(paired.mean()), float(paired.mean())
    result = stats.bootstrap(
        (paired,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=1000,
        confidence_level=_LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _refuse_unlike(base: Evaluation, tuned: Evaluation) -> None:
    """Refuse two evaluations that differ in more than what training changed."""
    models = [{k: v for k, v in e.model.items() if k != "trained"} for e in (base, tuned)]
    unlike = [
        f"{key} is {a} and {b}"
        for pair in ((base.judged, tuned.judged), models)
        for key, a, b in differences(*pair)
    ]
    if unlike:
        more = f" and {len(unlike) - _MAX_NAMED} more" if len(unlike) > _MAX_NAMED else ""
        raise ConfigError(f"not comparable: {'; '.join(unlike[:_MAX_NAMED])}{more}")
