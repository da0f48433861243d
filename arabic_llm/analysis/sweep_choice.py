"""What a sweep says: its cells in order, the effect of each factor, fronts, a choice within the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from arabic_llm.analysis.intervals import ALPHA
from arabic_llm.analysis.sweep_found import JobOutcome
from arabic_llm.analysis.sweep_jobs import Job, Value
from arabic_llm.analysis.sweep_noise import Estimate, Noise, Vector, corrected


@dataclass(frozen=True)
class Cell:
    """One setting: its jobs (several where seeds are swept), its mean, and how it stands to the best.

    `behind` is how much better the best is, above 0; `holm_p` is corrected for all pairs of cells.
    """

    levels: dict[str, Value]
    jobs: tuple[Job, ...]
    mean: Estimate
    behind: Estimate
    holm_p: float

    @property
    def is_worse(self) -> bool:
        """Return whether the best is better beyond noise."""
        return self.holm_p < ALPHA and self.behind.value > 0

    @property
    def is_within_one_error(self) -> bool:
        """Return whether it is no further behind than one standard error of that difference."""
        return bool(self.behind.value <= self.behind.stderr)

    def cost(self, of: Callable[[JobOutcome], float | None]) -> float | None:
        """Return the mean of what its jobs took, or found; None where one does not say."""
        own = [of(job.found) for job in self.jobs if job.found is not None]
        known = [one for one in own if one is not None]
        return fmean(known) if known and len(known) == len(own) else None


@dataclass(frozen=True)
class Level:
    """One value of a factor: how far its mean lies from that of all its values. None: not to be told."""

    level: Value
    effect: Estimate | None
    num_jobs: int


@dataclass(frozen=True)
class Effect:
    """One factor: its levels, and its two levels that lie furthest apart (`apart`: best less worst)."""

    key: str
    levels: tuple[Level, ...]
    best: Value
    worst: Value
    apart: Estimate | None
    holm_p: float  # for every pair of levels of every factor

    @property
    def matters(self) -> bool:
        """Return whether chance does not explain the difference."""
        return self.apart is not None and self.holm_p < ALPHA


@dataclass(frozen=True)
class Findings:
    """All that is said of jobs that may be compared."""

    noise: Noise
    cells: tuple[Cell, ...]  # the best first
    effects: tuple[Effect, ...]
    num_pairs: int
    chosen: Cell
    interaction_p: float | None

    @property
    def best(self) -> Cell:
        """Return the cell with the best mean, which may be so by chance."""
        return self.cells[0]


def find(jobs: Sequence[Job], keys: Sequence[str]) -> Findings:
    """Return what comparable jobs say."""
    once = {tuple(job.levels[key] for key in keys): job for job in reversed(jobs)}  # a run is no replicate
    noise = Noise.of([job for job in jobs if job in once.values()], keys)
    cells = _cells(noise)
    pairs = len(cells) * (len(cells) - 1) // 2
    return Findings(noise, cells, _effects(noise), pairs, _chosen(cells), noise.interaction_p())


def _cells(noise: Noise) -> tuple[Cell, ...]:
    sign = -1 if noise.is_loss else 1
    means = [noise.of_cell(at) for at in range(len(noise.cells))]
    values = [float(one @ noise.values) for one in means]
    order = sorted(range(len(means)), key=lambda at: -sign * values[at])
    pairs = list(combinations(order, 2))
    estimates = [noise.estimate(sign * (means[a] - means[b])) for a, b in pairs]
    p = dict(zip(pairs, corrected(estimates), strict=True))
    behind = dict(zip(pairs, estimates, strict=True))
    nothing = Estimate(0.0, 0.0, 0.0, 1.0)
    return tuple(
        Cell(
            dict(zip(noise.factors, noise.cells[at], strict=True)),
            tuple(job for job in noise.jobs if _is_of(job, noise, at)),
            noise.estimate(means[at]),
            behind.get((order[0], at), nothing),
            p.get((order[0], at), 1.0),
        )
        for at in order
    )


def _is_of(job: Job, noise: Noise, at: int) -> bool:
    return tuple(job.levels[key] for key in noise.factors) == noise.cells[at]


def _effects(noise: Noise) -> tuple[Effect, ...]:
    """Return the main effect of each factor, averaged over the others."""
    sign, told = -1 if noise.is_loss else 1, {}
    for key, levels in noise.factors.items():
        told[key] = {level: noise.of_level(key, level) for level in levels}
    tests: list[tuple[str, Value, Value, Estimate]] = []
    for key, contrasts in told.items():
        known: list[tuple[Value, Vector]] = [(k, c) for k, c in contrasts.items() if c is not None]
        for (one, a), (other, b) in combinations(known, 2):
            tests.append((key, one, other, noise.estimate(sign * (a - b))))
    p_values = corrected([estimate for *_, estimate in tests])
    effects = []
    for key, contrasts in told.items():
        own = [(test, p) for test, p in zip(tests, p_values, strict=True) if test[0] == key]
        widest = max(own, key=lambda one: abs(one[0][3].value), default=None)
        best, worst, apart, p = _from_best(*widest) if widest else (None, None, None, 1.0)
        shown = tuple(
            Level(level, None if c is None else noise.estimate(c), _count(noise, key, level))
            for level, c in contrasts.items()
        )
        effects.append(Effect(key, shown, best, worst, apart, p))
    return tuple(effects)


def _from_best(
    test: tuple[str, Value, Value, Estimate], p: float
) -> tuple[Value, Value, Estimate | None, float]:
    """Return the better level first, and the difference above 0."""
    _, one, other, apart = test
    if apart.value >= 0:
        return one, other, apart, p
    return other, one, Estimate(-apart.value, apart.stderr, apart.half, apart.p), p


def _count(noise: Noise, key: str, level: Value) -> int:
    return sum(job.levels[key] == level for job in noise.jobs)


def _chosen(cells: Sequence[Cell]) -> Cell:
    """Return the cheapest cell that is no further behind the best than one standard error.

    Breiman et al. 1984, Classification and Regression Trees, section 3.4.3; the error is that of the
    difference, since all are asked the same. By memory, then by what is trained; alike: the better one.
    """
    near = [cell for cell in cells if cell is cells[0] or cell.is_within_one_error]
    memory = [cell.cost(lambda found: found.predicted_mib) for cell in near]
    trained = [cell.cost(lambda found: found.num_trained) for cell in near]
    has_memory, has_trained = None not in memory, None not in trained

    def cost(at: int) -> tuple[float, float, int]:
        return (
            round(memory[at] or 0.0, 1) if has_memory else 0.0,
            trained[at] or 0.0 if has_trained else 0.0,
            at,
        )

    return near[min(range(len(near)), key=cost)]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which (more is better, less is better) no other beats in one and equals in the other."""
    better = np.array(points, dtype=np.float64).reshape(-1, 2) * (1, -1)
    return [
        at
        for at, own in enumerate(better)
        if not ((better >= own).all(axis=1) & (better > own).any(axis=1)).any()
    ]
