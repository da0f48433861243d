"""A suite entry's tasks with their documents: from a local copy, from what was downloaded, else the hub."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets

from arabic_llm import hub
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import SuiteTask
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.evaluation import foreign, local_copies, targets
from arabic_llm.evaluation.foreign import MissingBenchmarkError
from arabic_llm.evaluation.task_files import IndexedTasks

log = logging.getLogger(__name__)
_ELSEWHERE = {"dataset_path", "custom_dataset", "include"}  # where a task's YAML says its documents are
_MOST_NAMED = 4  # subsets
Reader = Callable[[str, Path], dict[str, local_copies.Splits]]  # of (reader, path)


def load(
    name: str, settings: SuiteTask, asked: IndexedTasks, data_root: Path, read: Reader
) -> dict[str, Any]:
    """Return leaf -> lm-eval's task, of those that have documents; `read` reads a local copy.

    Raises MissingBenchmarkError where there are none, or they cannot be read.
    """
    if settings.data is not None or (settings.path is not None and (data_root / settings.path).exists()):
        try:
            return _from_local(name, asked, _local_copy(settings, data_root, read))
        except DataError as error:
            raise MissingBenchmarkError(f"suite task {name}: {error}") from error
    place = ""
    if settings.path is not None:
        place = f"no local copy at {data_root / settings.path} (set data_root or ARABIC_LLM_DATA), and "
    if not any(asked.config(leaf).keys() & _ELSEWHERE for leaf in asked.leaves):
        raise MissingBenchmarkError(f"suite task {name}: {place}no hub has it")
    with foreign.benchmark(name, place), hub.not_waited_for():
        specs = {leaf: _downloaded(asked, leaf, data_root) for leaf in asked.leaves}
        if settings.columns:
            specs = {
                leaf: _renamed(name, asked.config(leaf) | spec, settings) for leaf, spec in specs.items()
            }
        return _tasks(asked, name, specs)


def benchmark_folder(hub_id: str, data_root: Path) -> Path:
    """Return where a benchmark of the hub is looked for on this disk, in the hub's own layout."""
    return data_root / "benchmarks" / hub_id


def _local_copy(settings: SuiteTask, data_root: Path, read: Reader) -> dict[str, local_copies.Splits]:
    if settings.data is not None:
        return local_copies.held_out(settings, data_root)
    return read(str(settings.reader), data_root / str(settings.path))


def _from_local(name: str, asked: IndexedTasks, subsets: dict[str, local_copies.Splits]) -> dict[str, Any]:
    """Return the tasks whose subsets the copy has; of a copy of many one may be asked alone."""
    wanted = {asked.config(leaf)["dataset_name"]: leaf for leaf in asked.leaves}
    known = {(entry.cfg or {}).get("dataset_name") for entry in asked.manager.task_index.values()}
    if unknown := sorted(set(subsets) - known - set(wanted)):
        raise DataError(f"there is no task for its subset '{unknown[0]}'; there are: {', '.join(wanted)}")
    if absent := [subset for subset in wanted if subset not in subsets]:
        more = f" and {len(absent) - _MOST_NAMED} more" if len(absent) > _MOST_NAMED else ""
        lacks = f"the local copy has no {', '.join(absent[:_MOST_NAMED])}{more}"
        if len(absent) == len(wanted):
            raise DataError(lacks)
        log.warning("%s: %s", name, lacks)
    specs = {
        wanted[subset]: {"custom_dataset": _constant(local_copies.as_datasets(splits))}
        for subset, splits in subsets.items()
        if subset in wanted
    }
    return _tasks(asked, name, dict(sorted(specs.items())))


def _tasks(asked: IndexedTasks, name: str, specs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the tasks, each with what its groups and its spec change of its YAML."""
    own: list[dict[str, Any]] = []
    inline: list[dict[str, Any]] = []
    for leaf, spec in specs.items():
        target = own if leaf in asked.manager.task_index else inline
        target.append({**asked.changes[leaf], **spec, "task": leaf})
    loaded = asked.manager.load([{"group": f"local_{name}", "task": own}, *inline])["tasks"]
    for task in loaded.values():
        targets.settle(task)
    return {leaf: loaded[leaf] for leaf in specs}


def _downloaded(asked: IndexedTasks, leaf: str, data_root: Path) -> dict[str, Any]:
    """Return where the data set of a task was downloaded to, if it was, and where it is unpacked.

    `datasets` tells local folders apart by their card alone: it would read on what another one, or this one
    before its files changed, has left in its cache.
    """
    hub_id = asked.dataset(leaf)
    if not hub_id or not (folder := benchmark_folder(hub_id, data_root)).is_dir():
        return {}
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    state = fingerprint([(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found])
    kwargs = {**(asked.config(leaf).get("dataset_kwargs") or {})}
    kwargs["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE) / "arabic_llm" / state)
    return {"dataset_path": str(folder), "dataset_kwargs": kwargs}


def _renamed(name: str, config: dict[str, Any], settings: SuiteTask) -> dict[str, Any]:
    """Return what loads a leaf's rows with their columns called as its task reads them.

    Raises ConfigError where no rows of the hub are read.
    """
    if "dataset_path" not in config:
        raise ConfigError(f"suite.tasks.{name}.columns: its rows are built in, not read from columns")
    ours = {theirs: wanted for wanted, theirs in settings.columns.items()}

    def load_renamed(**_: Any) -> dict[str, Any]:
        kwargs = {**(config.get("dataset_kwargs") or {})}
        kwargs.pop("trust_remote_code", None)
        path, name = config["dataset_path"], config.get("dataset_name")
        splits = datasets.load_dataset(path, name, trust_remote_code=False, **kwargs)
        return {split: _called(rows, ours) for split, rows in splits.items()}

    return {"custom_dataset": load_renamed}


def _called(rows: datasets.Dataset, ours: dict[str, str]) -> datasets.Dataset:
    """Return rows with some columns under other names, which no other column keeps."""
    there = rows.column_names
    if absent := [column for column in ours if column not in there]:
        raise MissingBenchmarkError(f"no column '{absent[0]}'; it has: {', '.join(there)}")
    taken = [column for column in ours.values() if column in there and column not in ours]
    return rows.remove_columns(taken).rename_columns(ours)


def _constant(documents: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    return lambda **_: documents
