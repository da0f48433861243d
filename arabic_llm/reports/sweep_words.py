"""What a sweep found, in sentences: no more is said than the noise allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arabic_llm.analysis.intervals import ALPHA
from arabic_llm.analysis.sweep_choice import Cell, Effect, Findings
from arabic_llm.analysis.sweep_found import Found
from arabic_llm.analysis.sweep_jobs import SEED, Sweep, Value
from arabic_llm.config import naming
from arabic_llm.reports.sweep_figures import Scale

_MILLION, _THOUSAND = 1e6, 1e3
_ALIKE = 0.02  # two costs that differ by less are alike


@dataclass(frozen=True)
class SweepWords:
    """How the findings of one group of jobs are said."""

    findings: Findings
    scale: Scale
    short: dict[str, str]  # key -> as it is called here

    @classmethod
    def of(cls, sweep: Sweep, findings: Findings) -> SweepWords:
        """Return the words for what a sweep found."""
        found = next(job.found for job in findings.noise.jobs if job.found is not None)
        return cls(findings, Scale(found.name, found.is_loss), naming.short(sweep.keys))

    def name(self, cell: Cell) -> str:
        """Return a cell as a reader calls it."""
        return self.settings(cell.levels)

    def settings(self, levels: dict[str, Value]) -> str:
        """Return levels as a reader calls them."""
        return ", ".join(f"{self.short[key]} {level}" for key, level in levels.items()) or "these settings"

    def value(self, cell: Cell) -> str:
        """Return a cell's mean, with its interval where it has one."""
        said, (low, high) = self.scale.said(cell.mean.value), cell.mean.interval
        return said if np.isnan(low) else f"{said} ({self.scale.said(low)} to {self.scale.said(high)})"

    def choice(self) -> str:
        """Return the choice by the one-standard-error rule, in one sentence."""
        best, chosen, cells = self.findings.best, self.findings.chosen, self.findings.cells
        if len(cells) == 1:
            return f"Only one setting is done ({self.name(best)}): there is nothing to choose from yet."
        if not self.findings.noise.sources:
            return (
                f"Nothing can be chosen yet: {self.name(best)} has the best {self.scale.name}"
                f" ({self.scale.said(best.mean.value)}), but with one job a setting and one factor chance"
                " cannot be told from it; sweep seed=1,2,3 too, with the same command."
            )
        if chosen is best:
            near = sum(cell.is_within_one_error for cell in cells[1:])
            others = {
                0: "no other is within one standard error of it",
                1: "the other that is within one standard error of it is not cheaper",
            }.get(near, f"none of the {near} that are within one standard error of it is cheaper")
            value = f"its {self.scale.name}, {self.value(best)}"
            return f"Take {self.name(best)}: {value}, is the best, and {others}."
        said = self.scale.said
        return (
            f"Take {self.name(chosen)}: it is as good as {self.name(best)}, the best, within one standard"
            f" error ({said(chosen.mean.value)} against {said(best.mean.value)};"
            f" {said(chosen.behind.value)} behind, standard error {said(chosen.behind.stderr)})"
            f"{self._cheaper(chosen, best)}."
        )

    @staticmethod
    def _cheaper(chosen: Cell, best: Cell) -> str:
        """Return what the chosen cell costs less."""
        said = []
        for of, unit, what in ((_memory, mib, "of memory"), (_trained, count, "trained parameters")):
            own, other = chosen.cost(of), best.cost(of)
            if own is not None and other is not None and own < (1 - _ALIKE) * other:
                said.append(f"{unit(own)} {what} instead of {unit(other)}")
        return f", with {' and '.join(said)}" if said else ""

    def standing(self) -> str:
        """Return what the best one beats beyond noise, corrected for all that was compared."""
        cells, pairs = self.findings.cells, self.findings.num_pairs
        if len(cells) == 1 or not self.findings.noise.sources:
            return ""
        worse, others = sum(cell.is_worse for cell in cells), len(cells) - 1
        best = self.name(self.findings.best)
        of = f"corrected for all {pairs:,} comparisons (Holm)" if pairs > 1 else "one comparison"
        if not worse:
            are = f"none of the {others} others" if others > 1 else "the other"
            told = f"is told apart from {are}" if others > 1 else f"is not told apart from {are}"
            return f"Within noise ({of}): the best, {best}, {told}. It is no winner."
        rest = others - worse
        if not rest:
            return (
                f"{best} is better beyond noise than {'all ' if others > 1 else ''}{others} others ({of})."
            )
        left = f"it is within noise of the other {rest}"
        return f"{best} is better beyond noise than {worse} of the {others} others ({of}); {left}."

    def noise(self) -> str:
        """Return what the errors rest on, and what they do not know."""
        noise = self.findings.noise
        if not noise.sources:
            return "Errors: none are known."
        said = f"Errors rest on {'; and on '.join(noise.sources)}."
        if len(noise.sources) > 1:
            said += " The wider of the two counts."
        if not noise.has_replicates:
            said += " What another seed would give is not known: sweep seed=1,2,3 too."
        return said

    def effect(self, effect: Effect) -> tuple[str, ...]:
        """Return a row about a factor: its best and worst level, how far apart, and the verdict."""
        apart = effect.apart
        if apart is None:
            return self.short[effect.key], "", "", "", "", "not to be told from the jobs that are done"
        low, high = apart.interval
        between = "" if np.isnan(low) else f"{self.scale.said(low, '+')} to {self.scale.said(high, '+')}"
        verdict = f"{effect.best} is better" if effect.matters else "within noise"
        if np.isnan(low):
            verdict = "noise not known"
        return (
            *(self.short[effect.key], f"{effect.best} / {effect.worst}", self.scale.said(apart.value, "+")),
            *(between, "" if np.isnan(low) else f"{effect.holm_p:.2g}", verdict),
        )

    def interaction(self) -> str:
        """Return whether the factors depend on each other, where that can be told."""
        p = self.findings.interaction_p
        if len(self.findings.noise.factors) < 2:  # noqa: PLR2004 (alone it depends on no other)
            return ""
        if p is None:
            return "Whether the factors depend on each other cannot be told yet: sweep the seed too."
        if p < ALPHA:
            hidden = (
                "the effect of one is not the same at all levels of the others, and these means hide it"
            )
            return f"The factors depend on each other (F test, p {p:.2g}): {hidden}."
        return f"That the factors depend on each other is within noise (F test, p {p:.2g})."


def states(sweep: Sweep) -> str:
    """Return how many jobs are in which state."""
    found: dict[str, int] = {}
    for job in sweep.jobs:
        state = f"{job.state}, of another grid" if job.is_left else job.state
        found[state] = found.get(state, 0) + 1
    total = len(sweep.jobs)
    named = ", ".join(f"{number} {state}" for state, number in found.items())
    return f"{total} {'job' if total == 1 else 'jobs'}: {named}"


def apart(sweep: Sweep, groups: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield a line where jobs must not be compared, and where seeds were swept."""
    if len(groups) > 1:
        yield (
            f"These jobs are of {len(groups)} kinds (other data, another suite, or judged otherwise): each"
            " kind has a part of its own, and no figure of one is held against one of another."
        )
    if SEED in sweep.keys:
        yield "Values are means over the seeds."


def mib(value: float) -> str:
    """Return a memory for people."""
    return f"{value / 1024:,.1f} GiB" if value >= 10 * 1024 else f"{value:,.0f} MiB"


def count(value: float) -> str:
    """Return a number of parameters for people."""
    if value >= _MILLION:
        return f"{value / _MILLION:,.1f} M"
    return f"{value / _THOUSAND:,.1f} k" if value >= _THOUSAND else f"{value:,.0f}"


def _memory(found: Found) -> float | None:
    return found.predicted_mib


def _trained(found: Found) -> float | None:
    return None if found.num_trained is None else float(found.num_trained)
