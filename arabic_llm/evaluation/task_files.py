"""The files of lm-eval's tasks, its own and ours: which tasks and groups a folder has, and their data."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind

from arabic_llm.config.suite import SuiteTask
from arabic_llm.errors import ConfigError

OUR_TASKS = Path(__file__).parent / "tasks"


def index(name: str, settings: SuiteTask) -> tuple[TaskManager, dict[str, tuple[str, ...]]]:
    """Return the tasks of an entry's folder, and the groups below the entry."""
    manager = TaskManager(include_path=str(_folder(settings.folder)), include_defaults=False)
    if name not in manager.all_groups + manager.all_subtasks:
        known = ", ".join(manager.all_groups + manager.all_subtasks)
        raise ConfigError(f"suite.tasks: {settings.folder} has no task '{name}'; there are: {known}")
    return manager, dict(_groups(name, manager.task_index))


def _folder(name: str) -> Path:
    """Return a folder of task files: ours, or lm-eval's."""
    package = importlib.util.find_spec("lm_eval")
    theirs = Path(str(package.origin)).parent / "tasks" if package else OUR_TASKS
    for root in (OUR_TASKS, theirs):
        if (root / name).is_dir():
            return root / name
    raise ConfigError(f"suite.tasks: neither arabic_llm nor lm_eval has a task folder '{name}'")


def _groups(name: str, index: dict[str, Entry]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (group, leaves below it) for a group and the groups inside it."""
    entry = index[name]
    if entry.kind is not Kind.GROUP:
        return
    leaves: list[str] = []
    for child in (entry.cfg or {})["task"]:
        if index[child].kind is Kind.TAG:
            leaves += sorted(index[child].tags)
            continue
        inner = dict(_groups(child, index))
        yield from inner.items()
        leaves += inner.get(child, (child,))
    yield name, tuple(leaves)


def dataset(manager: TaskManager, leaf: str) -> str | None:
    """Return what a task's YAML names as its data: an id of the hub, a kind of file, or nothing."""
    path = (manager.task_index[leaf].cfg or {}).get("dataset_path")
    return str(path) if path else None


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Silence lm-eval's remarks on every task it loads."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
