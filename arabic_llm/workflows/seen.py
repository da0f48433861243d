"""Which benchmarks a model has seen in training: what its rows are made from, for every table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from arabic_llm.config.data import SourceConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import SuiteConfig
from arabic_llm.data.reading import locate
from arabic_llm.models import adapter_files, bases, opening

NOTE = "seen_in_training"  # of what was trained, or prepared: names of benchmarks


def marked(config: RunConfig, trainings: Iterable[RunConfig] = ()) -> RunConfig:
    """Return the settings of an evaluation after these trainings, its own alone if there are no others.

    The tasks are marked whose training rows were learned from.
    """
    found = set[str]().union(*(marks(one) for one in [*trainings] or [config]))
    return replace(config, suite=mark(config.suite, found))


def marked_as_it_is(config: RunConfig) -> RunConfig:
    """Return the settings of an evaluation that trains nothing, its tasks marked as training has noted."""
    return replace(config, suite=mark(config.suite, of_model(config)))


def marks(config: RunConfig) -> set[str]:
    """Return what a training learns from: by its rows' settings, a folder of made rows, its start."""
    found = {*config.data.seen_in_training, *of_model(config)}
    for source in locate.sources_of(config.data):
        found.update(source.seen_in_training, _of_folder(source, Path(config.data_root)))
    return found


def of_model(config: RunConfig) -> set[str]:
    """Return what the weights and the adapter of a model have learned from, as a run of ours noted it."""
    folders = [bases.known_folder(config.model)]
    if config.adapter.path is not None:
        folders.append(Path(config.adapter.path).expanduser())
    return {name for folder in folders if folder is not None for name in of_trained(folder)}


def of_trained(folder: Path) -> list[str]:
    """Return what is noted beside weights or an adapter; nothing beside those of others."""
    note = folder / adapter_files.ABOUT
    return _names(opening.read_object(note)) if note.is_file() else []


def mark(suite: SuiteConfig, seen: Iterable[str]) -> SuiteConfig:
    """Return a suite whose tasks are marked that have one of the names in theirs, word by word."""
    names = [f"_{name}_" for name in seen]
    tasks = {
        name: replace(task, seen_in_training=True) if any(one in f"_{name}_" for one in names) else task
        for name, task in suite.tasks.items()
    }
    return replace(suite, tasks=tasks)


def _of_folder(source: SourceConfig, data_root: Path) -> list[str]:
    """Return what task=synthesize or task=prepare has noted in a folder; nothing of any other place."""
    if source.builtin:
        return []
    for place in locate.candidates(source, data_root):
        if (place / locate.PREPARED).is_file():
            return _names(locate.prepared(place))
    return []


def _names(said: dict[str, Any]) -> list[str]:
    named = said.get(NOTE, [])
    return [str(name) for name in named] if isinstance(named, list) else []
