"""The jobs of a sweep's folder as values: what was swept, and what became of each."""

from __future__ import annotations

import fcntl
import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arabic_llm.analysis import sweep_found
from arabic_llm.analysis.sweep_found import Found, state_of
from arabic_llm.config import naming
from arabic_llm.errors import DataError

STATE = "sweep.json"  # as grid.py writes it
SEED = "seed"
Value = str | int | float | bool | None  # of a swept key
_MANIFEST, _LOCK = "manifest.json", ".lock"


@dataclass(frozen=True)
class Job:
    """One job. `state` is done, failed, interrupted, running, stopped after a step, begun, or not begun."""

    name: str
    folder: Path
    state: str
    levels: dict[str, Value]  # of each swept key
    typed: tuple[str, ...]  # overrides
    found: Found | None = None
    is_left: bool = False  # of another grid than the one that ran here last
    cause: str = ""
    last_lines: tuple[str, ...] = ()
    fate: str = ""  # of a job that a rung has stopped: worse than the best one, or no better
    seconds: float | None = None
    data_root: str = ""  # as ARABIC_LLM_DATA was

    @property
    def command(self) -> str:
        """Return the command that runs this job again, alone."""
        mode = ["hydra.mode=RUN"] if any("experiment=" in one for one in self.typed) else []
        line = shlex.join(["python", "-m", "arabic_llm.run", *self.typed, *mode])
        return f"ARABIC_LLM_DATA={shlex.quote(self.data_root)} {line}" if self.data_root else line


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder: its jobs and the keys that tell them apart."""

    folder: Path
    keys: tuple[str, ...]
    jobs: tuple[Job, ...]

    def alike(self) -> list[list[Job]]:
        """Return the finished jobs that may be compared, together; the largest such group first."""
        kinds: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.found is not None and math.isfinite(job.found.value):
                kinds.setdefault(job.found.kind, []).append(job)
        return sorted(kinds.values(), key=lambda jobs: -len(jobs))


def read(folder: Path) -> Sweep:
    """Return what lies in a sweep's folder. Raises DataError where none lies there."""
    state = state_of(folder / STATE)
    names = list(state.get("jobs", []))
    ran = sorted(path.parent.name for path in folder.glob(f"*/{_MANIFEST}"))
    left = [name for name in ran if name not in names and ".aside-" not in name]
    left += [name for name in state.get("ended", {}) if name not in (*names, *left)]
    if not names and not left:
        raise DataError(f"{folder} holds no sweep (no {STATE}, no job); a command with -m makes one")
    jobs = [_job(folder / name, state, is_left=bool(names) and name in left) for name in (*names, *left)]
    typed = [naming.values(job.typed) for job, _ in jobs]
    keys = naming.telling_apart(typed, state.get("swept", []))
    keys = [key for key in keys if key != "experiment"]
    found = []
    for (job, identity), own in zip(jobs, typed, strict=True):
        levels = {key: _level(key, identity, own.get(key)) for key in keys}
        found.append(replace(job, levels=levels))
    return Sweep(folder, tuple(keys), tuple(found))


def _job(folder: Path, state: dict[str, Any], *, is_left: bool) -> tuple[Job, dict[str, Any]]:
    """Return a job without its levels, and its run's identity; empty: it has not begun."""
    name = folder.name
    manifest = state_of(folder / _MANIFEST)
    identity = manifest.get("identity", {})
    words = shlex.split(manifest.get("command", ""))
    typed = state.get("typed", {}).get(name) or state.get("ended", {}).get(name, {}).get("typed")
    if typed is None:
        typed = words[words.index("arabic_llm.run") + 1 :] if "arabic_llm.run" in words else []
    ended = state.get("ended", {}).get(name, {})
    found = sweep_found.read(folder, manifest) if (folder / sweep_found.RESULT).is_file() else None
    seconds = state.get("seconds", {}).get(name)
    stopped = state.get("stopped", {}).get(name)
    job = Job(
        name,
        folder,
        "done" if found else _unfinished(folder, str(ended.get("how", "")), stopped),
        {},
        tuple(word for word in typed if not word.startswith("hydra.")),
        found,
        is_left,
        cause="" if found else str(ended.get("how", "")),
        last_lines=() if found else tuple(ended.get("lines", ())),
        fate="" if found or stopped is None else str(state.get("fates", {}).get(name, "")),
        seconds=seconds if seconds else None,
        data_root=next((w.partition("=")[2] for w in words if w.startswith("ARABIC_LLM_DATA=")), ""),
    )
    return job, identity


def _unfinished(folder: Path, how: str, stopped: int | None) -> str:
    if _is_locked(folder / _LOCK):
        return "running"
    if how:
        return "interrupted" if "interrupted" in how else "failed"
    if stopped is not None:
        return f"stopped after step {stopped}"
    return "begun" if (folder / _MANIFEST).is_file() else "not begun"


def _is_locked(path: Path) -> bool:
    """Return whether a run writes in the folder of this lock."""
    if not path.is_file():
        return False
    with path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _level(key: str, identity: dict[str, Any], typed: str | None) -> Value:
    """Return the value of a key in a run: what it came to, or what was typed where nothing is known."""
    at: Any = identity
    for part in key.replace("/", ".").split("."):
        at = at.get(part, {}) if isinstance(at, dict) else {}
    if isinstance(at, dict):
        at = at.get("name", {})
    if isinstance(at, str | int | float | bool) or (at is None and typed is not None):
        return at
    if isinstance(at, list):
        return ",".join(map(str, at))
    return _parsed(typed)


def _parsed(typed: str | None) -> Value:
    """Return a number where one was typed."""
    for kind in (int, float):
        try:
            return kind(typed or "")
        except ValueError:
            continue
    return typed
