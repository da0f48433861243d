"""Which benchmarks a model has seen in training: what its rows are made from, for every table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from arabic_llm.config.data import SourceConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import SuiteConfig
from arabic_llm.data.reading import locate


def marked(config: RunConfig) -> RunConfig:
    """Return the settings of an evaluation after training on data=, with tasks marked that it holds."""
    return replace(config, suite=mark(config.suite, marks(config)))


def marks(config: RunConfig) -> set[str]:
    """Return what the rows are made from, as their settings say it, and as a folder of made rows does."""
    found = set(config.data.seen_in_training)
    for source in locate.sources_of(config.data):
        found.update(source.seen_in_training, _of_folder(source, Path(config.data_root)))
    return found


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
            said = locate.prepared(place).get("seen_in_training", [])
            return [str(name) for name in said] if isinstance(said, list) else []
    return []
