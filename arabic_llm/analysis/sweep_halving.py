"""Which jobs of a rung go on: the best share of them, and whoever may yet be better than those.

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
WORSE, NO_BETTER, GOES_ON = "worse", "no better", "goes on"  # fates


@dataclass(frozen=True)
class Verdict:
    """What becomes of a job at a rung: its loss, and how far it lies behind the best one, row by row."""

    name: str
    loss: float  # on dev, nats a token
    behind: float  # nats a token, above 0
    low: float  # ends of the 95% interval of that
    high: float
    worse_p: float  # of being no worse than the best; both are corrected for the number of jobs
    margin: float  # one standard error of the best one's own loss, nats a token
    better_p: float  # of being better than the best by more than the margin
    fate: str
    why: str


@dataclass(frozen=True)
class Mean:
    """Nats a token of some rows, with the standard error that the choice of rows gives it."""

    value: float
    error: float  # infinite for a single row, which has no spread
    num_rows: int

    @classmethod
    def of(cls, nats: Nats, tokens: NDArray[np.float64]) -> Mean:
        """Return a ratio of two sums (Cochran 1977, Sampling Techniques, section 2.11)."""
        whole, n = tokens.sum(), len(nats)
        value = float(nats.sum() / whole)
        if n < 2:  # noqa: PLR2004
            return cls(value, math.inf, n)
        spread = np.square(nats - value * tokens).sum()
        return cls(value, float(np.sqrt(n / (n - 1) * spread) / whole), n)

    @property
    def half(self) -> float:
        """Return half of the 95% interval."""
        if math.isinf(self.error):
            return math.inf
        return self.error * float(stdtrit(self.num_rows - 1, 1 - ALPHA / 2))

    def p_below(self, bound: float) -> float:
        """Return the one-sided p (Student's t) of a true mean of at most this bound."""
        if math.isinf(self.error):
            return 1.0
        if self.error == 0:  # every token alike
            return 0.0 if self.value > bound else 1.0
        return float(stdtr(self.num_rows - 1, (bound - self.value) / self.error))


def decide(nats: Mapping[str, Nats], num_tokens: Sequence[int], eta: int) -> list[Verdict]:
    """Return a verdict for each job, the best first, by the nats of each row.

    One in `eta` goes on. Of the others those stop that are not better than the best one by more than one
    standard error of its own loss (Breiman et al. 1984, section 3.4.3), beyond chance: paired, by Holm's
    method. Some of them are worse beyond chance; between the rest and the best, nothing was found out.
    """
    tokens = np.array(num_tokens, dtype=np.float64)
    order = sorted(nats, key=lambda name: float(nats[name].sum()))
    best, kept = nats[order[0]], math.ceil(len(order) / eta)
    own = Mean.of(best, tokens)
    margin = own.error if math.isfinite(own.error) else 0.0
    behind = [Mean.of(nats[name] - best, tokens) for name in order]
    worse = [1.0, *holm([min(1.0, 2 * one.p_below(0.0)) for one in behind[1:]])]
    better = [1.0, *holm([one.p_below(-margin) for one in behind[1:]])]
    verdicts = []
    for at, (name, one) in enumerate(zip(order, behind, strict=True)):
        fate, why = GOES_ON, f"among the best {kept} of {len(order)}"
        if at >= kept:
            fate, why = _fate(worse[at], better[at], margin)
        figures = (one.value, one.value - one.half, one.value + one.half, worse[at], margin, better[at])
        verdicts.append(Verdict(name, own.value + one.value, *figures, fate, why))
    return verdicts


def _fate(worse_p: float, better_p: float, margin: float) -> tuple[str, str]:
    """Return what becomes of a job that is not among the best share, and why."""
    if better_p >= ALPHA:
        return GOES_ON, f"may be better than the best by more than {margin:.4f} (p {better_p:.2g})"
    if worse_p < ALPHA:
        return WORSE, f"behind the best beyond chance (p {worse_p:.2g})"
    return NO_BETTER, f"not told apart from the best; better by {margin:.4f} at most (p {better_p:.2g})"
