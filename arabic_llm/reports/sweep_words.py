"""What a sweep found, in sentences: no more is said than the noise allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from arabic_llm.analysis.intervals import ALPHA
from arabic_llm.analysis.sweep_choice import Cell, Effect, Findings
from arabic_llm.analysis.sweep_found import JobOutcome
from arabic_llm.analysis.sweep_halving import NO_BETTER, WORSE
from arabic_llm.analysis.sweep_jobs import SEED, Job, Sweep, Value
from arabic_llm.config import naming
from arabic_llm.reports.spoken import count, isolated, listed, marked, say, term
from arabic_llm.reports.sweep_figures import Scale

_MILLION, _THOUSAND = 1e6, 1e3
_STOPPED = "stopped after step "  # a state, before its number
_ALIKE = 0.02  # two costs that differ by less are alike
_EQUAL = 1e-9  # of a score or a loss: means of the same answers, summed in another order


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
        return ", ".join(f"{self.short[key]} {level}" for key, level in levels.items()) or say(
            "these settings"
        )

    def value(self, cell: Cell) -> str:
        """Return a cell's mean, with its interval where it has one."""
        said, (low, high) = self.scale.said(cell.mean.value), cell.mean.interval
        return said if np.isnan(low) else f"{isolated(said)} ({between(self.scale, low, high)})"

    def choice(self) -> str:
        """Return the choice by the one-standard-error rule, in one sentence."""
        best, chosen, cells = self.findings.best, self.findings.chosen, self.findings.cells
        if len(cells) == 1:
            return say(
                "Only one setting is done ({best}): there is nothing to choose from yet.",
                best=self.name(best),
            )
        if not self.findings.noise.sources:
            return say(
                "Nothing can be chosen yet: {best} has the best {measure} ({value}), but with one job a"
                " setting and one factor chance cannot be told from it; sweep seed=1,2,3 too, with the"
                " same command.",
                best=self.name(best),
                measure=term(self.scale.name),
                value=self.scale.said(best.mean.value),
            )
        if all(cell.behind.value < _EQUAL for cell in cells):
            return say(
                "Take {chosen}: all settings have the same {measure}, {value}, and none is cheaper.",
                chosen=self.name(chosen),
                measure=term(self.scale.name),
                value=self.value(chosen),
            )
        if chosen is best:
            near = sum(cell.is_within_one_error for cell in cells[1:])
            others = say("no other is within one standard error of it")
            if near:
                others = count(
                    near,
                    "the other that is within one standard error of it is not cheaper",
                    "none of the {n} that are within one standard error of it is cheaper",
                )
            return say(
                "Take {best}: its {measure}, {value}, is the best, and {others}.",
                best=self.name(best),
                measure=term(self.scale.name),
                value=self.value(best),
                others=others,
            )
        said = self.scale.said
        return say(
            "Take {chosen}: it is as good as {best}, the best, within one standard error ({own} against"
            " {other}; {behind} behind, standard error {stderr}){cheaper}.",
            chosen=self.name(chosen),
            best=self.name(best),
            own=said(chosen.mean.value),
            other=said(best.mean.value),
            behind=said(chosen.behind.value),
            stderr=said(chosen.behind.stderr),
            cheaper=self._cheaper(chosen, best),
        )

    @staticmethod
    def _cheaper(chosen: Cell, best: Cell) -> str:
        """Return what the chosen cell costs less."""
        of_memory, of_parameters = marked(
            "{own} of memory instead of {other}", "{own} trained parameters instead of {other}"
        )
        said = []
        for of, unit, what in ((_memory, mib, of_memory), (_trained, parameters, of_parameters)):
            own, other = chosen.cost(of), best.cost(of)
            if own is not None and other is not None and own < (1 - _ALIKE) * other:
                said.append(say(what, own=unit(own), other=unit(other)))
        return say(", with {said}", said=say(" and ").join(said)) if said else ""

    def standing(self) -> str:
        """Return what the best one beats beyond noise, corrected for all that was compared."""
        cells, pairs = self.findings.cells, self.findings.num_pairs
        if len(cells) == 1 or not self.findings.noise.sources:
            return ""
        worse, others = sum(cell.is_worse for cell in cells), len(cells) - 1
        best = self.name(self.findings.best)
        of = count(pairs, "one comparison", "corrected for all {n:,} comparisons (Holm)")
        if not worse:
            return count(
                others,
                "Within noise ({of}): the best, {best}, is not told apart from the other. It is no winner.",
                "Within noise ({of}): the best, {best}, is told apart from none of the {n} others. It is no"
                " winner.",
                of=of,
                best=best,
            )
        if worse == others:
            return count(
                others,
                "{best} is better beyond noise than {n} others ({of}).",
                "{best} is better beyond noise than all {n} others ({of}).",
                best=best,
                of=of,
            )
        return say(
            "{best} is better beyond noise than {worse} of the {others} others ({of}); it is within noise"
            " of the other {rest}.",
            best=best,
            worse=worse,
            others=others,
            of=of,
            rest=others - worse,
        )

    def noise(self) -> str:
        """Return what the errors rest on, and what they do not know."""
        noise = self.findings.noise
        if not noise.sources:
            return say("Errors: none are known.")
        said = [say("Errors rest on {sources}.", sources=say("; and on ").join(map(term, noise.sources)))]
        if len(noise.sources) > 1:
            said.append(say("The wider of the two counts."))
        if not noise.has_replicates:
            said.append(say("What another seed would give is not known: sweep seed=1,2,3 too."))
        return " ".join(said)

    def effect(self, effect: Effect) -> tuple[str, ...]:
        """Return a row about a factor: its best and worst level, how far apart, and the verdict."""
        apart = effect.apart
        if apart is None:
            return self.short[effect.key], "", "", "", "", say("not to be told from the jobs that are done")
        low, high = apart.interval
        interval = "" if np.isnan(low) else between(self.scale, low, high, "+")
        verdict = say("{best} is better", best=effect.best) if effect.matters else term("within noise")
        if np.isnan(low):
            verdict = say("noise not known")
        return (
            *(self.short[effect.key], f"{effect.best} / {effect.worst}", self.scale.said(apart.value, "+")),
            *(interval, "" if np.isnan(low) else f"{effect.holm_p:.2g}", verdict),
        )

    def interaction(self) -> str:
        """Return whether the factors depend on each other, where that can be told."""
        p = self.findings.interaction_p
        if len(self.findings.noise.factors) < 2:  # noqa: PLR2004 (alone it depends on no other)
            return ""
        if p is None:
            return say("Whether the factors depend on each other cannot be told yet: sweep the seed too.")
        if p < ALPHA:
            return say(
                "The factors depend on each other (F test, p {p:.2g}): the effect of one is not the same at"
                " all levels of the others, and these means hide it.",
                p=p,
            )
        return say("That the factors depend on each other is within noise (F test, p {p:.2g}).", p=p)


def states(sweep: Sweep) -> str:
    """Return how many jobs are in which state."""
    found: dict[str, int] = {}
    for job in sweep.jobs:
        state = state_of(job)
        found[state] = found.get(state, 0) + 1
    named = [say("{number} {state}", number=number, state=state) for state, number in found.items()]
    return count(len(sweep.jobs), "{n} job: {states}", "{n} jobs: {states}", states=listed(named))


def state_of(job: Job) -> str:
    """Return what became of a job."""
    before, _, step = job.state.partition(_STOPPED)
    state = say("stopped after step {step}", step=step) if step and not before else term(job.state)
    return say("{state}, of another grid", state=state) if job.is_left else state


def between(scale: Scale, low: float, high: float, sign: str = "") -> str:
    """Return an interval."""
    return say("{low} to {high}", low=scale.said(low, sign), high=scale.said(high, sign))


def apart(sweep: Sweep, groups: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield a line where jobs must not be compared, and where seeds were swept."""
    yield from kinds(groups)
    if SEED in sweep.keys:
        yield say("Values are means over the seeds.")
    yield from stopped(sweep)


def kinds(groups: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield a line where jobs must not be compared."""
    if len(groups) > 1:
        yield count(
            len(groups),
            "",
            "These jobs are of {n} kinds (other data, another suite, or judged otherwise): each"
            " kind has a part of its own, and no figure of one is held against one of another.",
        )


def stopped(sweep: Sweep) -> Iterator[str]:
    """Yield a line for each reason why jobs were stopped at a rung (sweep.halving.eta)."""
    if number := sum(job.fate == WORSE for job in sweep.jobs):
        yield count(
            number,
            "{n} job was stopped at a rung: its loss on dev was behind the best one there beyond chance.",
            "{n} jobs were stopped at a rung: their loss on dev was behind the best one there beyond"
            " chance.",
        )
    if number := sum(job.fate == NO_BETTER for job in sweep.jobs):
        yield count(
            number,
            "{n} job was stopped at a rung as no better: chance may have put it behind the best one there."
            " Nothing here is a winner over it.",
            "{n} jobs were stopped at a rung as no better: chance may have put them behind the best one"
            " there. Nothing here is a winner over them.",
        )


def mib(value: float) -> str:
    """Return a memory for people."""
    return f"{value / 1024:,.1f} GiB" if value >= 10 * 1024 else f"{value:,.0f} MiB"


def parameters(value: float) -> str:
    """Return a number of parameters for people."""
    if value >= _MILLION:
        return f"{value / _MILLION:,.1f} M"
    return f"{value / _THOUSAND:,.1f} k" if value >= _THOUSAND else f"{value:,.0f}"


def _memory(found: JobOutcome) -> float | None:
    return found.predicted_mib


def _trained(found: JobOutcome) -> float | None:
    return None if found.num_trained is None else float(found.num_trained)
