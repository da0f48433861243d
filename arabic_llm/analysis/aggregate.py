"""Items into scores: of tasks, of their groups, of a suite, each with what it must be held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, recall_score

from arabic_llm.analysis import kappa
from arabic_llm.analysis.scorers import SCORERS
from arabic_llm.analysis.scores import FIRST, Item, Score, certainty
from arabic_llm.analysis.statistics import standard_error
from arabic_llm.config.suite import KAPPA, Aggregate


@dataclass(frozen=True)
class Benchmark:
    """What of a suite's entry decides how its items become scores.

    `examples` holds, of each leaf task, the right answers of its few-shot rows, as positions or texts.
    """

    versions: Mapping[str, str]  # of each leaf task
    groups: dict[str, tuple[str, ...]]  # name -> names of leaves
    metrics: Sequence[str]
    aggregate: Aggregate = Aggregate.micro
    seen_in_training: bool = False
    examples: Mapping[str, Sequence[int | str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Whole:
    """What one score sums up: tasks with the weight of each, none by the number of items."""

    name: str
    metric: str
    tasks: tuple[str, ...]
    weights: tuple[float, ...] = ()
    is_one_of_several: bool = False  # metrics


def scores(benchmark: Benchmark, items: Sequence[Item]) -> Iterator[Score]:
    """Yield the score of each group, then of each task, in each metric of the suite."""
    groups = dict(reversed(benchmark.groups.items()))
    wholes = {**groups, **{name: (name,) for name in benchmark.versions}}
    is_macro = benchmark.aggregate is Aggregate.macro
    for name, tasks in wholes.items():
        weights = (1 / len(tasks),) * len(tasks) if is_macro and name in groups else ()
        for metric in benchmark.metrics:
            whole = _Whole(name, metric, tasks, weights, len(benchmark.metrics) > 1)
            yield _score(whole, [benchmark], items)


def overall(name: str, benchmarks: Sequence[Benchmark], items: Sequence[Item]) -> Score:
    """Return the unweighted mean over benchmarks, each in its first metric and by its own aggregate."""
    tasks, weights = [], []
    for benchmark in benchmarks:
        sizes = Counter(item.task for item in items if item.task in benchmark.versions)
        is_macro = benchmark.aggregate is Aggregate.macro
        for task, size in sizes.items():
            tasks.append(task)
            share = 1 / len(sizes) if is_macro else size / sizes.total()
            weights.append(share / len(benchmarks))
    metrics = {benchmark.metrics[0] for benchmark in benchmarks}
    metric = metrics.pop() if len(metrics) == 1 else FIRST  # suites.overall has refused others
    return _score(_Whole(name, metric, tuple(tasks), tuple(weights)), benchmarks, items)


def _score(whole: _Whole, benchmarks: Sequence[Benchmark], items: Sequence[Item]) -> Score:
    by_task: dict[str, list[Item]] = {task: [] for task in whole.tasks}
    for item in items:
        if item.task in by_task:
            by_task[item.task].append(item)
    own = [item for several in by_task.values() for item in several]
    # Each part is averaged over its items: the tasks one by one, or all of them as one.
    parts = list(by_task.values()) if whole.weights else [own]
    weights = np.array(whole.weights or (1.0,))
    values = [np.array([item.value(whole.metric) for item in part]) for part in parts]
    randoms = [
        np.mean([1 / item.num_choices if item.num_choices else 0 for item in part]) for part in parts
    ]
    of_task = {task: b for b in benchmarks for task in whole.tasks if task in b.versions}
    shown = [of_task[task].examples.get(task, ()) for task in by_task]
    pools = shown if whole.weights else [list(chain.from_iterable(shown))]
    constants = [_constant(part, whole.metric, _targets(part)) for part in parts]
    majorities = [
        _constant(part, whole.metric, pool or _targets(part))
        for part, pool in zip(parts, pools, strict=True)
    ]
    balanced, macro_f1 = _balanced(own) if own and all(i.num_choices for i in own) else (None, None)
    score = Score(
        whole.name,
        whole.metric,
        n=len(own),
        value=float(weights @ [part.mean() for part in values]),
        stderr=float(np.sqrt(weights**2 @ [standard_error(part) ** 2 for part in values])),
        random=float(weights @ randoms),
        constant=_weighted(weights, constants),
        majority=_weighted(weights, majorities),
        tasks=whole.tasks,
        version=", ".join(sorted({of_task[task].versions[task] for task in of_task})),
        weights=whole.weights,
        is_one_of_several=whole.is_one_of_several,
        balanced=balanced,
        macro_f1=macro_f1,
        num_repeated=_num_repeated(own),
        num_shots=sum(item.is_shot for item in own),
        num_shortened=sum(item.lost_tokens > 0 for item in own),
        seen_in_training=any(benchmark.seen_in_training for benchmark in benchmarks),
        **certainty(values, tuple(weights)),
    )
    return score if whole.metric != KAPPA else _in_kappa(score, own)


def _in_kappa(score: Score, items: Sequence[Item]) -> Score:
    """Return a score as the kappa of its items: whoever answers one level for all, or draws, has 0."""
    blind: dict[str, Any] = dict.fromkeys(("random", "constant", "majority"), 0.0)
    found = kappa.score([item.level_said for item in items])
    return replace(score, **found, **blind, smallest_difference=None)


def _balanced(items: list[Item]) -> tuple[float, float]:
    """Return the mean of recall over the positions that are ever right, and of F1 over the answered too.

    As scikit-learn has them: a position that is only ever answered has an F1 of 0.
    """
    wanted, said = [item.target_index for item in items], [item.answer_index for item in items]
    how: Any = {"average": "macro", "zero_division": 0}
    recall = recall_score(wanted, said, labels=sorted(set(wanted)), **how)
    return float(recall), float(f1_score(wanted, said, **how))


def _num_repeated(items: list[Item]) -> int:
    """Return how many items ask what an item of the same task has asked before."""
    asked = sorted((item.task, item.prompt_hash) for item in items)
    return sum(one == other for one, other in pairwise(asked))


def _targets(items: list[Item]) -> list[int | str]:
    return [item.target_index if item.num_choices else item.target for item in items]


def _constant(items: list[Item], metric: str, answers: Sequence[int | str]) -> float | None:
    """Return the score of giving every item the most frequent of some answers; None: it has none."""
    answer, _ = Counter(answers).most_common(1)[0]
    if items[0].num_choices:
        return float(np.mean([item.target_index == answer for item in items]))
    if metric not in SCORERS:
        return None
    return float(np.mean([SCORERS[metric](str(answer), item.target) for item in items]))


def _weighted(weights: npt.NDArray[np.float64], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(weights @ known) if len(known) == len(values) else None
