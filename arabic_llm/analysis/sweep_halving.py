"""Which jobs of a rung go on: the best share of them, and whoever chance may have put behind those.

N rows of dev, the same for every job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from arabic_llm.analysis.intervals import ALPHA
from arabic_llm.analysis.statistics import holm

Nats = NDArray[np.float64]  # [N]


@dataclass(frozen=True)
class Verdict:
    """What becomes of a job at a rung: its loss, and how far it lies behind the best one, row by row."""

    name: str
    loss: float  # on dev, nats a token
    behind: float  # nats a token, above 0
    low: float  # ends of the 95% interval of that
    high: float
    holm_p: float  # corrected for the number of jobs
    goes_on: bool
    why: str


def decide(nats: Mapping[str, Nats], num_tokens: Sequence[int], eta: int) -> list[Verdict]:
    """Return a verdict for each job, the best first, by the nats of each row.

    One in `eta` goes on; of the others, those that are not worse than the best one beyond chance
    (paired t, corrected by Holm's method): a job is never stopped for noise alone.
    """
    tokens = np.array(num_tokens, dtype=np.float64)
    order = sorted(nats, key=lambda name: float(nats[name].sum()))
    best, kept = nats[order[0]], math.ceil(len(order) / eta)
    told = [behind(best, nats[name], tokens) for name in order]
    p_values = [1.0, *holm([p for _, _, p in told[1:]])]
    verdicts = []
    for rank, (name, (value, half, _), p) in enumerate(zip(order, told, p_values, strict=True), 1):
        if rank <= kept:
            goes_on, why = True, f"among the best {kept} of {len(order)}"
        elif p >= ALPHA:
            goes_on, why = True, f"not behind the best beyond chance (p {p:.2g})"
        else:
            goes_on, why = False, f"behind the best beyond chance (p {p:.2g})"
        loss = float(nats[name].sum() / tokens.sum())
        verdicts.append(Verdict(name, loss, value, value - half, value + half, p, goes_on, why))
    return verdicts


def behind(best: Nats, other: Nats, tokens: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return how far a job lies behind, in nats a token: (value, half of its 95% interval, two-sided p).

    Paired, row by row: a ratio of two sums (Cochran 1977, Sampling Techniques, section 2.11).
    """
    rises, whole, n = other - best, tokens.sum(), len(best)
    value = float(rises.sum() / whole)
    if n < 2 or not rises.any():  # noqa: PLR2004 (one row has no spread)
        return value, math.inf if rises.any() else 0.0, 1.0
    error = float(np.sqrt(n / (n - 1) * np.square(rises - value * tokens).sum()) / whole)
    if error == 0:  # every token alike
        return value, 0.0, 0.0
    return value, error * float(stdtrit(n - 1, 1 - ALPHA / 2)), float(2 * stdtr(n - 1, -abs(value) / error))
