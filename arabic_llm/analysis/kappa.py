"""Quadratic weighted kappa of chosen levels, of one evaluation and of two on the same items.

It is no mean over items: all of them decide it together (classification.quadratic_kappa).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arabic_llm.analysis import classification
from arabic_llm.analysis.classification import Gain, Measure
from arabic_llm.analysis.intervals import Z

_METRIC = "quadratic kappa"  # as classification.scorers calls it
_SEED = 0  # of the resamples of a score alone
Level = tuple[int, int, int]  # wanted, said, of how many


def closeness(wanted: int, said: int, num_levels: int) -> float:
    """Return what one item gives: 1 where it is right, less by the square of the levels it is off."""
    return 1 - ((wanted - said) / max(1, num_levels - 1)) ** 2


def score(levels: Sequence[Level]) -> dict[str, Any]:
    """Return value, stderr and the ends of the 95% interval; no ends where no resample varies."""
    measured, _ = _measure(levels, {"one": [said for _, said, _ in levels]}, _SEED)
    (one,) = measured
    if np.isnan(one.low):
        return {"value": one.value, "stderr": 0.0, "low": None, "high": None}
    return {
        "value": one.value,
        "stderr": (one.high - one.low) / (2 * Z),
        "low": one.low,
        "high": one.high,
    }


def gain(before: Sequence[Level], after: Sequence[Level], seed: int) -> Gain:
    """Return how much more the second scores than the first on the same items, paired."""
    answers = {"after": [said for _, said, _ in after], "before": [said for _, said, _ in before]}
    _, (found,) = _measure(before, answers, seed)
    return found


def _measure(
    levels: Sequence[Level], answers: Mapping[str, Sequence[int]], seed: int
) -> tuple[list[Measure], list[Gain]]:
    wanted, num_levels = [level for level, _, _ in levels], max(count for _, _, count in levels)
    measures, gains = classification.measure(wanted, answers, num_levels, ordered=True, seed=seed)
    return [m for m in measures if m.metric == _METRIC], [g for g in gains if g.metric == _METRIC]
