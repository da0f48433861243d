"""What the user sees of a sweep while it goes: a table on a terminal, else a line now and then."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from arabic_llm import result
from arabic_llm.child import Ended
from arabic_llm.grid import Grid
from arabic_llm.result import RESULT
from arabic_llm.sweeping.progress import Progress

log = logging.getLogger(__name__)
_MINUTE, _HOUR = 60, 3600
_REDRAWN, _TOLD = 1.0, 60.0  # seconds between two tables, and between two lines
_HEAD = ("job", "state", "step", "loss", "score", "left", "what is swept")
_WIDTHS = (4, 8, 7, 7, 8, 10, 0)
_KEPT = 8  # jobs that have ended, in the table
_CLEAR, _UP = "\x1b[J", "\x1b[{}A\r"  # all below; so many lines


@dataclass(frozen=True)
class Shown:
    """A running job."""

    number: int
    name: str
    progress: Progress
    began: float


class View:
    """Says how a sweep stands."""

    def __init__(self, grid: Grid, most: int) -> None:
        """Take the grid, and how many jobs run at a time."""
        self.is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self.took: list[float] = []  # seconds, of the jobs that this command has run
        self._grid, self._most = grid, most
        self._last = time.monotonic()
        self._height = 0  # of the table that stands there
        self._rows: list[str] = []

    def __enter__(self) -> Self:
        """Begin to show."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no table that is out of date."""
        self._clear()

    def say(self, line: str) -> None:
        """Say a line, above the table."""
        self._clear()
        log.info("%s", line)

    def show(self, running: Sequence[Shown], waiting: int) -> None:
        """Show how the running jobs stand, if it is time."""
        now = time.monotonic()
        if now - self._last < (_REDRAWN if self.is_terminal else _TOLD):
            return
        self._last = now
        if self.is_terminal:
            self._draw([*self._rows[-_KEPT:], *(self._row(one) for one in running)], waiting)
            return
        for one in running:
            step = f"step {one.progress.step}" if one.progress.step else "no step yet"
            loss = "" if one.progress.loss is None else f", loss {one.progress.loss:.3f}"
            left = f", about {left} left" if (left := self._left(one)) else ""
            log.info("job %s: %s%s after %s%s", one.number, step, loss, for_people(now - one.began), left)

    def ended(self, number: int, name: str, ended: Ended, seconds: float) -> None:
        """Say what became of a job, how far the sweep is, how long it may take; its last lines."""
        score = self._score(name)
        found = "" if score is None else f", metric {score:.4g}"  # as results.csv has it
        stopped = self._grid.stopped.get(name)
        how = ended.how or ("done" if stopped is None else f"stopped after step {stopped}")
        line = f"job {number} {how}"
        if ended.how is None:
            line += f" in {for_people(seconds)}{found}"
        line += self._of_all()
        if ended.how is not None and ended.last_lines:
            line = "\n    ".join((f"{line}; its last lines:", *ended.last_lines))
        state = "failed" if ended.how else "done" if stopped is None else "stopped"
        told = "" if score is None else f"{score:.4g}"
        self._rows.append(_line(str(number), state, str(stopped or ""), "", told, "", name))
        if not self.is_terminal or ended.how is not None:
            self.say(line)

    def _of_all(self) -> str:
        """Return how many jobs are done and failed, and how long the others may take."""
        names = self._grid.jobs
        done = sum(self._grid.is_done(name) or name in self._grid.passed for name in names)
        failed = sum(name in self._grid.ended for name in names)
        halted = len(self._grid.halted)
        parts = [f"{done} of {len(names)} done", *([f"{failed} failed"] if failed else [])]
        parts += [f"{halted} stopped"] if halted else []
        if (ahead := len(names) - done - failed - halted) > 0 and self.took:
            each = sum(self.took) / len(self.took)
            parts.append(f"about {for_people(ahead * each / self._most)} left")
        return f"; {', '.join(parts)}"

    def _row(self, one: Shown) -> str:
        loss = "" if one.progress.loss is None else f"{one.progress.loss:.3f}"
        step = str(one.progress.step or "")
        return _line(str(one.number), "running", step, loss, "", self._left(one), one.name)

    def _left(self, one: Shown) -> str:
        """Return how long a job may take yet, by how long others took; nothing where none has ended."""
        if not self.took:
            return ""
        return for_people(max(0.0, sum(self.took) / len(self.took) - (time.monotonic() - one.began)))

    def _score(self, name: str) -> float | None:
        path = self._grid.folder / name / RESULT
        return float(result.read(path)["metric"]) if path.exists() else None

    def _draw(self, rows: Sequence[str], waiting: int) -> None:
        columns, height = shutil.get_terminal_size()
        lines = [_line(*_HEAD), *rows, f"{waiting} waiting{self._of_all()}"][-(height - 1) :]
        self._clear()
        sys.stdout.write("".join(f"{line[: columns - 1]}\n" for line in lines))
        sys.stdout.flush()
        self._height = len(lines)

    def _clear(self) -> None:
        if self._height:
            sys.stdout.write(_UP.format(self._height) + _CLEAR)
            sys.stdout.flush()
            self._height = 0


def _line(*cells: str) -> str:
    """Return a line of the table."""
    *numbers, name = (cell.rjust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"{' '.join(numbers)}  {name}"


def for_people(seconds: float) -> str:
    """Return a time to the second, or to the minute."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / _MINUTE), _HOUR // _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
