"""The jobs of a sweep's folder: what this grid asks for, what another left there, how each one ended."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arabic_llm import files, result
from arabic_llm.child import Ended
from arabic_llm.config import compose, naming
from arabic_llm.result import RESULT
from arabic_llm.rundir import MANIFEST

log = logging.getLogger(__name__)
_TABLE = "results.csv"
STATE = "sweep.json"  # the jobs of the grid that ran here last, and how those ended that made no result
_KEPT = ("jobs", "swept", "typed", "ended", "stopped", "fates", "seconds")
_NAMED = 4  # jobs, in a line
Row = tuple[str, dict[str, str], float | str, str]  # name, what was typed, metric, how it ended
_DONE, _LEFT = "done", "of another grid"


@dataclass
class Grid:
    """The jobs of one command: their names in the sweep's folder, and how those ended that failed."""

    folder: Path
    jobs: list[str]
    swept: list[str] = field(default_factory=list)  # keys
    typed: dict[str, list[str]] = field(default_factory=dict)  # name -> overrides
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> how, typed, lines
    stopped: dict[str, int] = field(default_factory=dict)  # name -> the step after which it waits
    fates: dict[str, str] = field(default_factory=dict)  # name -> why a rung has stopped it
    seconds: dict[str, float] = field(default_factory=dict)  # name -> of all its starts
    passed: set[str] = field(default_factory=set)  # of this command, tasks that keep no result among them
    halted: set[str] = field(default_factory=set)  # by a rung of this command
    is_dry: bool = False

    def is_done(self, name: str) -> bool:
        """Return whether a job has a result."""
        return (self.folder / name / RESULT).exists()

    def has_runs(self) -> bool:
        """Return whether a job has left a run: a task that keeps none has nothing to report."""
        return any((self.folder / name / MANIFEST).exists() for name in self.jobs)

    def write(self) -> None:
        """Write down which jobs there are, and what became of them so far; of a dry run nothing."""
        if self.is_dry:
            return
        files.write_state(self.folder / STATE, {key: getattr(self, key) for key in _KEPT})

    def end(self, name: str, ended: Ended, seconds: float, stopped: int | None = None) -> None:
        """Keep how a job ended, or after which step it was stopped, and write the table."""
        for known in (self.ended, self.stopped):
            known.pop(name, None)
        if stopped is not None:
            self.stopped[name] = stopped
        elif ended.how is None:
            self.passed.add(name)
        else:
            typed = self.typed[name]
            self.ended[name] = {"how": ended.how, "typed": typed, "lines": list(ended.last_lines)}
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.write()
        if not self.is_dry and (rows := _rows(self)):
            files.write_text(self.folder / _TABLE, _table(rows, self.swept))


def begin(folder: Path, typed: dict[str, list[str]], swept: list[str]) -> Grid:
    """Return the grid of a command, after saying which of its jobs are done, begun, new, or left over.

    `typed` are the overrides of each job, by its name. Writes nothing yet: it may be a dry run.
    """
    names = list(typed)
    state = files.kept(folder / STATE, files.read_state) or {"jobs": [], "ended": {}}
    before = list(dict.fromkeys([*state["jobs"], *_finished(folder)]))
    done = [name for name in names if (folder / name / RESULT).exists()]
    begun = [name for name in names if name not in done and (folder / name / MANIFEST).exists()]
    new = [name for name in names if name not in (*done, *begun)]
    log.info(
        "sweep of %s %s: %s",
        *(len(names), "job" if len(names) == 1 else "jobs"),
        ", ".join(
            f"{len(o)} {what}" for o, what in ((done, "done before"), (begun, "begun"), (new, "new")) if o
        ),
    )
    if before and set(before) != set(names):
        added = [name for name in names if name not in before]
        left = [name for name in before if name not in names]
        parts = [f"{what}: {_some(own)}" for what, own in (("added", added), ("left over", left)) if own]
        log.info("another grid ran in %s before; %s", folder, "; ".join(parts))
    ended = {name: how for name, how in state["ended"].items() if name not in done}
    stopped = {name: step for name, step in state.get("stopped", {}).items() if name not in done}
    fates = {name: fate for name, fate in state.get("fates", {}).items() if name in stopped}
    return Grid(folder, names, swept, typed, ended, stopped, fates, state.get("seconds", {}))


def _finished(folder: Path) -> dict[str, tuple[dict[str, str], float]]:
    """Return name -> (what was typed, metric) of each finished job of a folder."""
    found = {}
    for path in sorted(folder.glob(f"*/{RESULT}")):
        if ".aside-" not in path.parent.name:
            words = shlex.split(files.read_state(path.with_name(MANIFEST), is_old_too=True)["command"])
            typed = naming.values(words[words.index("arabic_llm.run") + 1 :])
            found[path.parent.name] = typed, result.read(path)["metric"]
    return found


def _rows(grid: Grid) -> list[Row]:
    """Return what is known of each job of a folder that has ended, by its name."""
    rows: list[Row] = [(name, *own, _DONE) for name, own in _finished(grid.folder).items()]
    finished = {name for name, *_ in rows}
    rows += [
        (name, naming.values(compose.without_meant(end["typed"])), "", end["how"])
        for name, end in grid.ended.items()
        if name not in finished
    ]
    return [
        (name, typed, metric, f"{how}, {_LEFT}" if grid.jobs and name not in grid.jobs else how)
        for name, typed, metric, how in sorted(rows, key=lambda row: row[0])
    ]


def _table(rows: list[Row], swept: list[str]) -> str:
    """Return results.csv: a row for each job that ended, a column for each key that tells them apart."""
    keys = naming.telling_apart([typed for _, typed, *_ in rows], swept)
    body = [(name, *(typed.get(key, "") for key in keys), metric, how) for name, typed, metric, how in rows]
    return files.csv_text(["job", *keys, "metric", "status"], body)


def _some(names: Iterable[str]) -> str:
    """Return the first of some names, and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
