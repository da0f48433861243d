"""The files of lm-eval's tasks, its own and ours: which tasks and groups a folder has, and their data."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import GROUP_FIELD_NAMES
from lm_eval.tasks._index import Entry, Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml
from lm_eval.utils import env as templates

from arabic_llm.config.suite import SuiteTask
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.foreign import MissingBenchmarkError

OUR_TASKS = Path(__file__).parent / "tasks"
_NAMES = ("task", "group", "tag")  # of a member of a group: what it is, not what it changes
Changes = Mapping[str, Any]  # of a task's YAML
_MOST_TEMPLATES = 1024  # kept compiled
# lm-eval compiles a template anew for each document that it renders, 14,042 times for MMLU: it is kept.
setattr(templates, "from_string", functools.lru_cache(_MOST_TEMPLATES)(templates.from_string))  # noqa: B010


@dataclass(frozen=True)
class IndexedTasks:
    """What an entry of a suite asks: its tasks, the groups they stand in, what these change of them."""

    manager: TaskManager
    leaves: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]  # name -> the leaves below it; those inside others come first
    changes: Mapping[str, Changes]  # leaf -> what its groups set in place of its YAML

    def config(self, leaf: str) -> dict[str, Any]:
        """Return the YAML of a leaf, as its groups have it; functions in it are their names."""
        entry = self.manager.task_index.get(leaf)
        return {**((entry.cfg or {}) if entry else {}), **self.changes[leaf]}

    def dataset(self, leaf: str) -> str | None:
        """Return what a leaf names as its data: an id of the hub, a kind of file, or nothing."""
        path = self.config(leaf).get("dataset_path")
        return str(path) if path else None


def index(name: str, settings: SuiteTask) -> IndexedTasks:
    """Return what an entry of a suite asks: a task, a group or a tag of its folder.

    Raises ConfigError for what the folder does not have, MissingBenchmarkError for what cannot be read.
    """
    folder = _folder(settings.folder)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    if name not in manager.task_index and (inline := _inline(name, settings.folder, manager)):
        return inline
    if name not in manager.task_index:
        for broken in _unreadable(folder):
            raise MissingBenchmarkError(f"suite task {name}: {settings.folder} has no such task; {broken}")
        known = ", ".join(manager.all_groups + manager.all_subtasks)
        raise ConfigError(f"suite.tasks: {settings.folder} has no task '{name}'; there are: {known}")
    walk = _Walk(name, settings.folder, manager.task_index)
    leaves = walk.named(name, {}, ())
    return IndexedTasks(manager, leaves, walk.groups, walk.changes)


def _inline(name: str, folder: str, manager: TaskManager) -> IndexedTasks | None:
    """Return a group that stands inside another one of the folder, or a task ("group::task") that does.

    None: no group has one so named.
    """
    for outer in manager.all_groups:
        walk = _Walk(outer, folder, manager.task_index)
        walk.named(outer, {}, ())
        if leaves := walk.groups.get(f"{outer}::{name}"):
            changes = {leaf: walk.changes[leaf] for leaf in leaves}
            return IndexedTasks(manager, leaves, {name: leaves}, changes)
        if name.startswith(f"{outer}::") and name in walk.changes:
            return IndexedTasks(manager, (name,), {}, {name: walk.changes[name]})
    return None


def _folder(name: str) -> Path:
    """Return a folder of task files: ours, or lm-eval's."""
    package = importlib.util.find_spec("lm_eval")
    theirs = Path(str(package.origin)).parent / "tasks" if package else OUR_TASKS
    for root in (OUR_TASKS, theirs):
        if (root / name).is_dir():
            return root / name
    raise ConfigError(f"suite.tasks: neither arabic_llm nor lm_eval has a task folder '{name}'")


def _unreadable(folder: Path) -> Iterator[str]:
    """Yield why files of a folder are no tasks; lm-eval passes over them without a word."""
    for path in sorted(folder.rglob("*.yaml")):
        try:
            TaskIndex.process_cfg(load_yaml(path, resolve_func=False), path, {})
        except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            yield f"{path} cannot be read: {' '.join(str(error).split())}"


class _Walk:
    """The groups below one name, as lm-eval builds them: by name, by tag, inline, with changes."""

    def __init__(self, asked: str, folder: str, known: dict[str, Entry]) -> None:
        self.asked, self.folder, self.known = asked, folder, known
        self.groups: dict[str, tuple[str, ...]] = {}
        self.changes: dict[str, Changes] = {}

    def named(self, name: str, changes: Changes, above: tuple[str, ...]) -> tuple[str, ...]:
        """Return the leaves below a name of the folder; `above` are the groups that it stands in."""
        if name not in self.known:
            raise self._cannot(
                f"its group {above[-1]} asks for '{name}', which {self.folder} does not have"
            )
        if name in above:
            raise self._cannot(f"the group {name} stands inside itself")
        entry = self.known[name]
        if entry.kind is Kind.GROUP:
            return self._group(name, _whole(entry), changes, above)
        if entry.kind is Kind.TAG:
            leaves = tuple(sorted(entry.tags))
            if not above:
                self.groups[name] = leaves
        else:
            leaves = (name,)
        self.changes.update(dict.fromkeys(leaves, changes))
        return leaves

    def _group(
        self, name: str, config: Mapping[str, Any], changes: Changes, above: tuple[str, ...]
    ) -> tuple[str, ...]:
        own = {**_changes(config, of_group=True), **changes}
        leaves: dict[str, None] = {}
        for member in config["task"]:
            leaves |= dict.fromkeys(self._member(member, own, (*above, name)))
        self.groups[name] = tuple(leaves)
        return tuple(leaves)

    def _member(self, member: Any, changes: Changes, above: tuple[str, ...]) -> tuple[str, ...]:
        if isinstance(member, str):
            return self.named(member, changes, above)
        name = member.get("group") or member.get("task") if isinstance(member, dict) else None
        if not isinstance(name, str):
            raise self._cannot(f"its group {above[-1]} has a member that names neither a task nor a group")
        own = {**changes, **_changes(member, of_group="group" in member)}
        if name in self.known:
            return self.named(name, own, above)
        inline = f"{above[-1]}::{name}"  # as lm-eval names it
        if "group" in member:
            return self._group(inline, member, changes, above)
        self.changes[inline] = own
        return (inline,)

    def _cannot(self, reason: str) -> MissingBenchmarkError:
        return MissingBenchmarkError(f"suite task {self.asked}: {reason}")


def _whole(entry: Entry) -> dict[str, Any]:
    """Return the YAML of a group; where it changes tasks, with the functions that it names."""
    config: dict[str, Any] = entry.cfg or {}
    has_changes = set(config) - GROUP_FIELD_NAMES or any(isinstance(one, dict) for one in config["task"])
    return load_yaml(entry.yaml_path) if has_changes and entry.yaml_path else config


def _changes(member: Mapping[str, Any], *, of_group: bool) -> dict[str, Any]:
    """Return what a member of a group sets in its tasks' YAML; a group has settings of its own."""
    own = {*_NAMES, *(GROUP_FIELD_NAMES if of_group else ())}
    return {key: value for key, value in member.items() if key not in own}


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
