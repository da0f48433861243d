"""Commands to copy, made of what was typed: what another task reads of it, quoted for a shell."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from arabic_llm.config import compose, paths
from arabic_llm.config.complaints import spelled
from arabic_llm.config.compose import typed
from arabic_llm.config.reads import is_of, kept_for
from arabic_llm.config.run import RunConfig
from arabic_llm.reports import spoken

Step = tuple[str, str]  # what for, and the command
PROGRAM = "python -m arabic_llm.run"
_SAFE = re.compile(r"[\w@%+=:,./-]+")
_BESIDE_A_RUN = ("cache_dir", "hw")  # what is typed beside task.run=...


def of_training(config: RunConfig, task: str) -> list[str]:
    """Return what was typed and another task reads, its own settings too."""
    own = [word for word in typed() if key(word).startswith("task.") and is_of(task, key(word))]
    return [*kept(task, config), *own]


def kept(task: str, config: RunConfig, without: tuple[str, ...] = ()) -> list[str]:
    """Return what was typed beside the task and another one reads; of a recipe what it chose."""
    words = typed()
    if is_of_recipe():
        chosen = {group: getattr(config, group).name for group in ("model", "data", "adapter", "suite")}
        words += [
            f"{group}={name}"
            for group, name in chosen.items()
            if (paths.CONF / group / f"{name}.yaml").is_file() and group not in map(key, words)
        ]
    return [word for word in kept_for(task, config, words) if key(word) not in without]


def in_its_language() -> list[str]:
    """Return the language of this report, for one beside it."""
    return ["lang=ar"] if spoken.is_arabic() else []


def of_run(task: str, config: RunConfig, run: Path) -> str:
    """Return a command about a run, which says itself what it was made of."""
    beside = [word for word in kept(task, config) if key(word).partition(".")[0] in _BESIDE_A_RUN]
    return command([f"task={task}", place("task.run", run), *beside])


def is_of_recipe() -> bool:
    """Return whether a recipe was typed, which has chosen what its command does not say."""
    return any(key(word) == "experiment" for word in typed())


def key(override: str) -> str:
    """Return the full key of an override."""
    return override.lstrip("+~").partition("=")[0]


def short(path: str | Path) -> Path:
    """Return a path as it is typed from here."""
    here = Path.cwd()
    return Path(path).relative_to(here) if Path(path).is_relative_to(here) else Path(path)


def place(setting: str, path: str | Path) -> str:
    """Return a setting that names a place, quoted where Hydra needs it."""
    return f"{setting}={spelled(str(short(path)))}"


def command(words: list[str], start: str = PROGRAM) -> str:
    """Return a command as a shell takes it: letters of any script need no quotes there."""
    typed_so = [w if _SAFE.fullmatch(w) else shlex.quote(w) for w in compose.without_meant(words)]
    return " ".join([start, *typed_so])
