"""What the jobs of a sweep may say of each other: each comparison is a contrast, with noise to beat.

J jobs, C cells (settings that differ in more than the seed), n items of a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import fdtrc, stdtr, stdtrit
from scipy.stats import binomtest

from arabic_llm.analysis.intervals import ALPHA
from arabic_llm.analysis.statistics import holm
from arabic_llm.analysis.sweep_jobs import SEED, Job, Value

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
_CLOSE = 1e-9
_FEWEST = 4  # degrees of freedom, below which a simpler model is the surer measure
_SEEDS = "replicates: the same settings with other seeds"
_OTHERS = "what the factors, each by itself, leave unexplained: there are no replicates"
_PAIRS = "what the factors, two by two, leave unexplained: there are no replicates"
_ITEMS = "the items of the benchmarks, paired: the same items were asked of every job"


@dataclass(frozen=True)
class Estimate:
    """A difference and its noise; `stderr` and `half` nan: how large chance is cannot be told."""

    value: float
    stderr: float
    half: float  # of the 95% interval, Student's
    p: float  # two-sided, of this alone

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the interval."""
        return self.value - self.half, self.value + self.half


@dataclass(frozen=True)
class Noise:
    """Jobs that may be compared, their values, and how far chance moves what is said of them.

    Replicates (seeds) are the measure where they are; without them what the factors leave unexplained, two
    by two where there are three, else each by itself; of scores also their items. Where two of them know,
    the wider interval counts.
    """

    jobs: list[Job]
    values: Vector  # (J,)
    is_loss: bool
    factors: dict[str, list[Value]]  # what differs but for the seed: its levels in order
    cells: list[tuple[Value, ...]]  # a level of each factor
    items: list[tuple[float, Matrix]]  # of each task: its weight, and (J, n)

    @classmethod
    def of(cls, jobs: Sequence[Job], keys: Sequence[str]) -> Self:
        """Return what is known of finished jobs that may be compared, told apart by these keys."""
        found = [job.found for job in jobs if job.found is not None]
        levels = {key: _ordered([job.levels[key] for job in jobs]) for key in keys}
        factors = {key: own for key, own in levels.items() if key != SEED and len(own) > 1}
        return cls(
            list(jobs),
            np.array([one.value for one in found]),
            found[0].is_loss,
            factors,
            list(dict.fromkeys(tuple(job.levels[key] for key in factors) for job in jobs)),
            [
                (weight, np.array([one.parts[at][1] for one in found]))
                for at, (weight, _) in enumerate(found[0].parts)
            ],
        )

    @cached_property
    def _of_job(self) -> list[int]:
        return [self.cells.index(self._cell(job)) for job in self.jobs]

    @cached_property
    def _seeds(self) -> Matrix:
        """Return a column a seed where each cell ran with all of them: what a seed moves is then no chance.

        Else one column of ones, as of a single seed.
        """
        ran = {(self._cell(job), job.levels.get(SEED)) for job in self.jobs}
        seeds = [job.levels.get(SEED) for job in self.jobs]
        is_complete = len(ran) == len(self.cells) * len({*seeds})
        return _dummies(seeds if is_complete else [None] * len(seeds))

    def _cell(self, job: Job) -> tuple[Value, ...]:
        return tuple(job.levels[key] for key in self.factors)

    @cached_property
    def _by_cell(self) -> Matrix:
        """Return the design of a mean for each cell, the seeds beside them (J, C + seeds - 1)."""
        cells = np.eye(len(self.cells))[self._of_job]
        return np.hstack([cells, self._seeds[:, 1:]])

    @cached_property
    def _by_factor(self) -> Matrix:
        """Return the design in which every factor adds its part, whatever the others are."""
        parts = [_dummies([job.levels[key] for job in self.jobs])[:, 1:] for key in self.factors]
        return np.hstack([np.ones((len(self.jobs), 1)), *parts, self._seeds[:, 1:]])

    @cached_property
    def _by_pair(self) -> Matrix:
        """Return the design in which every pair of factors has its own means."""
        levels = {key: _dummies([job.levels[key] for job in self.jobs]) for key in self.factors}
        pairs = [
            (levels[one][:, :, None] * levels[other][:, None, :]).reshape(len(self.jobs), -1)
            for one, other in combinations(levels, 2)
        ]
        return np.hstack([*pairs, self._seeds[:, 1:]])

    @cached_property
    def _chance(self) -> tuple[float, int, str]:
        """Return the standard deviation of one job by chance, its degrees of freedom, and where from."""
        if len(self.cells) < len(self.jobs):
            rest, freedom = _residual(self._by_cell, self.values)
            if freedom > 0 and rest > _CLOSE**2:  # seeds that change nothing are no measure of chance
                return (rest / freedom) ** 0.5, freedom, _SEEDS
        models = [(self._by_factor, 1, _OTHERS)] if len(self.factors) > 1 else []
        if len(self.factors) > 2:  # noqa: PLR2004 (of two, nothing would be left)
            models.insert(0, (self._by_pair, _FEWEST, _PAIRS))
        for design, fewest, source in models:
            rest, freedom = _residual(design, self.values)
            if freedom >= fewest and rest > _CLOSE**2:
                return (rest / freedom) ** 0.5, freedom, source
        return float("nan"), 0, ""

    @property
    def sources(self) -> list[str]:
        """Return what the errors rest on; nothing: chance cannot be told from anything."""
        return [*([self._chance[2]] if self._chance[1] else []), *([_ITEMS] if self.items else [])]

    @property
    def has_replicates(self) -> bool:
        """Return whether the same settings ran with several seeds."""
        return self._chance[2] == _SEEDS

    def estimate(self, contrast: Vector) -> Estimate:
        """Return what a weighted sum of the jobs' values (J,) is, and how sure it is."""
        value = float(contrast @ self.values)
        sigma, freedom, _ = self._chance
        known = [(sigma * float(np.linalg.norm(contrast)), float(freedom))] if freedom else []
        p = [_two_sided(value, *one) for one in known]
        if self.items:
            own = np.abs(contrast) > _CLOSE  # of two jobs among hundreds, two
            changes = [(weight, contrast[own] @ items[own]) for weight, items in self.items]
            variance = sum(w**2 * float(c.var(ddof=1)) / len(c) for w, c in changes if len(c) > 1)
            one = (variance**0.5, float(sum(len(c) for _, c in changes) - len(changes)))
            known.append(one)
            # Few items that all changed one way have a small error: the exact test of signs must agree.
            p.append(max(_two_sided(value, *one), _signs(changes)))
        if not known:
            return Estimate(value, float("nan"), float("nan"), 1.0)
        halves = [stderr * float(stdtrit(freedom, 1 - ALPHA / 2)) for stderr, freedom in known]
        return Estimate(value, max(stderr for stderr, _ in known), max(halves), max(p))

    def of_cell(self, cell: int) -> Vector:
        """Return the contrast that is a cell's mean (J,)."""
        row = np.zeros(self._by_cell.shape[1])
        row[cell] = 1
        row[len(self.cells) :] = self._seeds[:, 1:].mean(axis=0)
        return self._solved(self._by_cell, row)

    def of_level(self, key: str, level: Value) -> Vector | None:
        """Return the contrast (J,) that is a level's mean, less that of all levels of its factor.

        None where the other factors of the jobs at hand do not let it be told.
        """
        at, start = self.factors[key].index(level), 1
        for other, levels in self.factors.items():
            if other == key:
                break
            start += len(levels) - 1
        size = len(self.factors[key])
        row = np.zeros(self._by_factor.shape[1])
        row[start : start + size - 1] = -1 / size
        if at:
            row[start + at - 1] += 1
        contrast = self._solved(self._by_factor, row)
        told = np.allclose(contrast @ self._by_factor, row, atol=_CLOSE)
        return contrast if told else None

    def interaction_p(self) -> float | None:
        """Return the p of the F test that the factors do not simply add up; None: it cannot be told."""
        sigma, freedom, source = self._chance
        if source not in (_SEEDS, _PAIRS) or len(self.factors) < 2:  # noqa: PLR2004 (alone it has no other)
            return None
        added, freedom_added = _residual(self._by_factor, self.values)
        more = freedom_added - freedom
        if more < 1:
            return None
        return float(fdtrc(more, freedom, (added - freedom * sigma**2) / more / sigma**2))

    @staticmethod
    def _solved(design: Matrix, row: Vector) -> Vector:
        solved: Vector = row @ np.linalg.pinv(design)
        return solved


def corrected(estimates: Sequence[Estimate]) -> list[float]:
    """Return the p-values, corrected for their number (Holm 1979)."""
    return holm([one.p for one in estimates])


def _two_sided(value: float, stderr: float, freedom: float) -> float:
    if stderr < _CLOSE:
        return 1.0 if abs(value) < _CLOSE else 0.0
    return float(2 * stdtr(freedom, -abs(value) / stderr))


def _signs(changes: Sequence[tuple[float, Vector]]) -> float:
    gained, lost = (sum(int((s * c > _CLOSE).sum()) for _, c in changes) for s in (1, -1))
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def _residual(design: Matrix, values: Vector) -> tuple[float, int]:
    """Return the sum of squares that a model leaves, and its degrees of freedom."""
    fitted = design @ (np.linalg.pinv(design) @ values)
    return float(((values - fitted) ** 2).sum()), len(values) - int(np.linalg.matrix_rank(design))


def _dummies(levels: Sequence[Value]) -> Matrix:
    """Return a column for each level, 1 where a job has it."""
    own = _ordered(levels)
    return np.eye(len(own))[[own.index(level) for level in levels]]


def _ordered(levels: Sequence[Value]) -> list[Value]:
    """Return the distinct levels: numbers by size, then words."""
    return sorted(
        dict.fromkeys(levels), key=lambda one: (isinstance(one, str) or one is None, _number(one), str(one))
    )


def _number(level: Value) -> float:
    return float(level) if isinstance(level, int | float) else 0.0
