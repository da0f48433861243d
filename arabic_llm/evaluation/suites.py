"""The tasks of a suite, loaded through lm-eval from local files, without its index of 14,000 names."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import datasets

from arabic_llm.analysis.aggregate import Benchmark
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import KAPPA, SuiteConfig, SuiteTask
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import foreign, identity, loading, local_copies, targets, task_files
from arabic_llm.evaluation.foreign import FETCH, MissingBenchmarkError
from arabic_llm.evaluation.question import Question

log = logging.getLogger(__name__)
_FILE_KINDS = ("json", "csv", "text", "parquet", "arrow")  # dataset_path of tasks that name their files
_MOST_EXAMPLES = 1000


@dataclass(frozen=True)
class SuiteEntry:
    """One entry of a suite: its leaf tasks, ready to run, and the groups they are summed up in."""

    name: str
    settings: SuiteTask
    leaves: dict[str, Any]  # name -> lm-eval's Task
    groups: dict[str, tuple[str, ...]]  # name -> names of leaves

    @cached_property
    def documents(self) -> dict[str, list[dict[str, Any]]]:
        """Return leaf -> test documents; lm-eval makes them anew each time it is asked."""
        return {name: list(task.eval_docs) for name, task in self.leaves.items()}

    @cached_property
    def questions(self) -> dict[str, list[Question]]:
        """Return leaf -> what each of its documents asks."""
        return {name: list(map(Question.of, documents)) for name, documents in self.documents.items()}

    def limit(self, of_suite: int | None) -> int | None:
        """Return how many items of each leaf are asked: the smaller of its own limit and the suite's."""
        return min((one for one in (self.settings.limit, of_suite) if one is not None), default=None)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Return leaf -> the version of its task."""
        return {name: str(task.VERSION) for name, task in self.leaves.items()}

    def benchmark(self) -> Benchmark:
        """Return what decides how its items become scores."""
        settings = self.settings
        with foreign.benchmark(self.name):
            examples = {name: example_answers(task) for name, task in self.leaves.items()}
        how = (settings.metrics, settings.aggregate, settings.seen_in_training)
        return Benchmark(self.versions, self.groups, *how, examples)

    def identity(self) -> dict[str, Any]:
        """Return what decides a score but for the model: versions, prompts, shots, items."""
        return {
            "num_fewshot": self.settings.num_fewshot,
            "limit": self.settings.limit,
            "chat": self.settings.chat,
            "metrics": self.settings.metrics,
            "aggregate": self.settings.aggregate.name,
            "seen_in_training": self.settings.seen_in_training,
            "versions": self.versions,
            "output_types": sorted({task.OUTPUT_TYPE for task in self.leaves.values()}),
            "items": {name: fingerprint(documents) for name, documents in self.documents.items()},
            "prompts": self.prompts,
        }

    @cached_property
    def prompts(self) -> dict[str, str]:
        """Return leaf -> a hash of how it asks. Raises MissingBenchmarkError where its code fails."""
        with foreign.benchmark(self.name):
            return {name: self._prompts(name) for name in self.leaves}

    def _prompts(self, leaf: str) -> str:
        """Return a hash of how the task asks and scores: rendered questions and choices, shots, YAML."""
        task, documents = self.leaves[leaf], self.documents[leaf]
        choices = (
            [task.doc_to_choice(d) for d in documents] if task.config.doc_to_choice is not None else []
        )
        right = [task.doc_to_target(document) for document in documents]
        if task.OUTPUT_TYPE == "multiple_choice" and targets.has_choices(task):
            targets.check(self.name, leaf, right, choices)
        return fingerprint(
            {
                "asked": [task.doc_to_text(document) for document in documents],
                "choices": choices,
                "targets": [str(target) for target in right],
                "shots": list(task.fewshot_docs()) if self.settings.num_fewshot else [],
                "around": [
                    task.config.description,
                    task.config.target_delimiter,
                    task.config.fewshot_delimiter,
                ],
                "generation": task.config.generation_kwargs,
                "task": identity.of_task(task),
            }
        )


def num_items(chosen: Sequence[SuiteEntry], limit: int | None) -> int:
    """Return how many items are asked, of at most so many a leaf."""
    return sum(
        min(len(documents), entry.limit(limit) or len(documents))
        for entry in chosen
        for documents in entry.documents.values()
    )


def load(suite: SuiteConfig, data_root: Path, *, is_told: bool = True) -> list[SuiteEntry]:
    """Return the tasks of a suite with their documents.

    With suite.allow_missing those that cannot be had are said in one line. Raises MissingBenchmarkError
    when any is missing without it, or all are with it, and ConfigError for a folder or task that lm-eval
    does not have.
    """
    chosen: list[SuiteEntry] = []
    missing: dict[str, str] = {}
    read = cache(local_copies.read)  # one copy holds the subjects of many tasks
    for name, settings in suite.tasks.items():
        try:
            chosen.append(_choose(name, settings, data_root, read, whole=suite.allow_missing))
        except MissingBenchmarkError as error:
            missing[name] = str(error)
    if missing and not (suite.allow_missing and chosen):
        without = "; suite.allow_missing=true goes on without" if chosen else ""
        raise MissingBenchmarkError(f"{_missing(suite, missing)}{without if len(suite.tasks) > 1 else ''}")
    if missing and is_told:
        (first, *others) = missing.values()
        log.warning("left out: %s", _missing(suite, missing) if others else first)
    datasets.disable_progress_bars()  # downloads are over; the rest are moments, many of them
    return chosen


def left_out(suite: SuiteConfig, chosen: Sequence[SuiteEntry]) -> list[str]:
    """Return the names of what a suite asks and what could not be had."""
    return sorted(suite.tasks.keys() - {entry.name for entry in chosen})


def what_is_left_out(suite: SuiteConfig, data_root: Path, unasked: Sequence[str] = ()) -> dict[str, str]:
    """Return, as an input of a run, what it has to leave out: with all there it is another run.

    Of a suite that leaves nothing out there is nothing to say. `unasked` is left out whatever is there.
    Raises as `load` does.
    """
    if not suite.allow_missing:
        return {}
    here = load(suite, data_root, is_told=False)
    return {"left_out": ", ".join([*unasked, *left_out(suite, here)]) or "nothing"}


def _missing(suite: SuiteConfig, missing: dict[str, str]) -> str:
    """Return in one line what is missing, and what brings it."""
    (first, *_) = missing.values()
    if len(suite.tasks) == 1:
        return first
    return (
        f"suite={suite.name}: {len(missing)} of {len(suite.tasks)} benchmarks are not here:"
        f" {', '.join(missing)}; {first.partition(f'; {FETCH}')[0]}; {FETCH} suite={suite.name} fetches"
        " what the hub has"
    )


def overall(suite: SuiteConfig, chosen: Sequence[SuiteEntry]) -> str | None:
    """Return the name of the mean over all tasks, which says of how many it is where some are missing.

    None where the suite has none. Raises ConfigError when the tasks are not all in one metric: their mean
    would mean nothing, but for a leaderboard's (suite.overall_mixes).
    """
    if suite.overall is None:
        return None
    metrics = sorted({entry.settings.metrics[0] for entry in chosen})
    if len(metrics) > 1 and not suite.overall_mixes:
        raise ConfigError(f"suite.overall needs one first metric in all tasks, not {', '.join(metrics)}")
    if len(chosen) < len(suite.tasks):
        partial = f"mean of {len(chosen)} of {len(suite.tasks)} (not {suite.overall})"
        log.warning("no '%s': %s of %s tasks are here", suite.overall, len(chosen), len(suite.tasks))
        return partial
    return suite.overall


def questions(chosen: list[SuiteEntry]) -> Iterator[str]:
    """Yield what every test document asks."""
    for entry in chosen:
        for asked in entry.questions.values():
            yield from (question.text for question in asked)


def hub_ids(name: str, settings: SuiteTask) -> list[str]:
    """Return the data sets of the hub that an entry of a suite asks for; none for what is built in.

    Nor for files that cannot be read: `load` says why. Raises ConfigError for a folder or task that lm-eval
    does not have.
    """
    try:
        with foreign.benchmark(name):
            asked = task_files.index(name, settings)
    except MissingBenchmarkError:
        return []
    paths = map(asked.dataset, asked.leaves)
    return sorted({path for path in paths if path and path not in _FILE_KINDS})


def example_answers(task: Any) -> list[int] | list[str]:
    """Return right answers of the rows that few-shot examples are drawn from: positions, or texts.

    Of many rows a thousand, evenly spaced: lm-eval renders a template for each. Nothing where it would take
    test items for examples, or asks for one text in several places.
    """
    has_rows = task.config.fewshot_split is not None or task.has_training_docs()
    is_shown = task.has_validation_docs() and task.has_test_docs()
    if not (has_rows or is_shown) or getattr(task, "multiple_input", False):
        return []
    documents = list(task.fewshot_docs())
    documents = documents[:: math.ceil(len(documents) / _MOST_EXAMPLES) or 1]
    right = [task.doc_to_target(document) for document in documents]
    if task.OUTPUT_TYPE != "multiple_choice":
        return [str(target) for target in right]
    return [
        task.doc_to_choice(document).index(target) if isinstance(target, str) else int(target)
        for document, target in zip(documents, right, strict=True)
    ]


def _choose(
    name: str, settings: SuiteTask, data_root: Path, read: loading.Reader, *, whole: bool
) -> SuiteEntry:
    """Return an entry with its documents; `whole` renders all of it, to find now what its code raises."""
    with foreign.benchmark(name):
        asked = task_files.index(name, settings)
        with task_files.hushed():
            leaves = loading.load(name, settings, asked, data_root, read)
    _check_metrics(name, settings, leaves)
    kept = {group: tuple(n for n in members if n in leaves) for group, members in asked.groups.items()}
    entry = SuiteEntry(name, settings, leaves, {g: members for g, members in kept.items() if members})
    with foreign.benchmark(name):
        documents = entry.documents
    if empty := [leaf for leaf, own in documents.items() if not own]:
        raise MissingBenchmarkError(f"suite task {name}: {empty[0]} has no documents")
    if settings.compared_with is not None:
        _check_varieties(entry, settings.compared_with)
    if whole:
        entry.prompts  # noqa: B018 (kept)
    return entry


def _check_varieties(entry: SuiteEntry, reference: str) -> None:
    """Refuse a variety that is none of an entry's, and varieties that do not ask the same one by one."""
    names = {leaf.removeprefix(f"{entry.name}::"): leaf for leaf in entry.leaves}
    if reference not in names:
        raise ConfigError(
            f"suite.tasks.{entry.name}.compared_with={reference}: unknown variety; there are:"
            f" {', '.join(names)}"
        )
    right = {
        name: [entry.leaves[leaf].doc_to_target(document) for document in entry.documents[leaf]]
        for name, leaf in names.items()
    }
    for name, own in right.items():
        if own != right[reference]:
            raise MissingBenchmarkError(
                f"suite task {entry.name}: {name} and {reference} do not have the same right answers one by"
                " one; they cannot be paired"
            )


def _check_metrics(name: str, settings: SuiteTask, leaves: dict[str, Any]) -> None:
    for leaf, task in leaves.items():
        there = sorted(task.aggregation())
        for metric in settings.metrics:
            if metric == KAPPA and task.OUTPUT_TYPE == "multiple_choice":
                continue
            if metric.partition(",")[0] not in there:
                said = f"{leaf} has no '{metric}'; there are: {', '.join(there)}"
                raise ConfigError(f"suite.tasks.{name}.metrics: {said}")
