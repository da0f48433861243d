"""What a model forgot: means over a suite's tasks by language and by skill, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arabic_llm.analysis.scores import FIRST, Evaluation, Score
from arabic_llm.analysis.statistics import Difference, compare_each
from arabic_llm.config.suite import KAPPA

TRAITS = ("language", "skill")


@dataclass(frozen=True)
class Forgetting:
    """Differences of the means by trait, and of the tasks of the suite that they are the means of."""

    by_trait: dict[str, list[Difference]]  # language, skill -> a row for each that a task names
    tasks: list[Difference]  # every task and group, in each metric
    traits: dict[str, dict[str, str | None]]  # task of the suite -> its language and skill

    def worse(self) -> list[tuple[str, Difference]]:
        """Return (what it is, row) of all that got worse beyond noise, the greatest loss first."""
        rows = [("task", row) for row in self.tasks]
        rows += [(trait, row) for trait, own in self.by_trait.items() for row in own]
        lost = [(kind, row) for kind, row in rows if row.verdict == "worse"]
        return sorted(lost, key=lambda one: one[1].difference)


def find(base: Evaluation, tuned: Evaluation, seed: int) -> Forgetting:
    """Return what became of each task, language and skill; p-values are corrected for all of them."""
    return find_each([(base, tuned)], seed)[0]


def find_each(sides: Sequence[tuple[Evaluation, Evaluation]], seed: int) -> list[Forgetting]:
    """Return what became of each in several comparisons; p-values are corrected for all of all of them."""
    means = [_of_traits(*pair) for pair in sides]
    compared = compare_each(
        [(*pair, [scores for _, scores in own]) for pair, own in zip(sides, means, strict=True)], seed
    )
    found = []
    for (base, tuned), own, rows in zip(sides, means, compared, strict=True):
        by_trait: dict[str, list[Difference]] = {trait: [] for trait in TRAITS}
        for (trait, _), row in zip(own, rows[len(base.scores) :], strict=True):
            by_trait[trait].append(row)
        found.append(Forgetting(by_trait, rows[: len(base.scores)], tuned.traits or base.traits))
    return found


def _of_traits(base: Evaluation, tuned: Evaluation) -> list[tuple[str, tuple[Score, Score]]]:
    """Return (trait, its mean before and after) of each language and skill."""
    traits = tuned.traits or base.traits
    means = []
    for trait in TRAITS:
        after = {mean.name: mean for mean in _means(tuned, traits, trait)}
        means += [(trait, (mean, after[mean.name])) for mean in _means(base, traits, trait)]
    return means


def _means(evaluation: Evaluation, traits: dict[str, dict[str, str | None]], trait: str) -> list[Score]:
    own: dict[str, list[Score]] = {}
    firsts = {name: task["metrics"][0] for name, task in evaluation.judged["tasks"].items()}
    for score in evaluation.scores:
        name = traits.get(score.name, {}).get(trait)
        if name is not None and firsts.get(score.name) == score.metric != KAPPA:  # kappas have no mean
            own.setdefault(name, []).append(score)
    sizes = Counter(item.task for item in evaluation.items)
    return [_mean(name, scores, sizes) for name, scores in own.items()]


def _mean(name: str, scores: Sequence[Score], sizes: Counter[str]) -> Score:
    """Return the unweighted mean of tasks of a suite, each in its first metric and by its own aggregate."""
    shares = [s.weights or tuple(sizes[task] / s.n for task in s.tasks) for s in scores]
    weights = tuple(share / len(scores) for own in shares for share in own)
    constants = [s.constant for s in scores if s.constant is not None]
    return Score(
        name,
        FIRST,
        n=sum(s.n for s in scores),
        value=float(np.mean([s.value for s in scores])),
        stderr=float(np.linalg.norm([s.stderr for s in scores]) / len(scores)),
        random=float(np.mean([s.random for s in scores])),
        constant=float(np.mean(constants)) if len(constants) == len(scores) else None,
        tasks=tuple(task for s in scores for task in s.tasks),
        version="",
        weights=weights if len(weights) > 1 else (),
        seen_in_training=any(s.seen_in_training for s in scores),
    )
