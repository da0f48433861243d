"""The jobs of a sweep, so many at a time: started where there is room, watched, and counted as they end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from arabic_llm import child, machine
from arabic_llm.child import Child, Ended
from arabic_llm.errors import UserError
from arabic_llm.grid import Grid
from arabic_llm.sweeping import progress
from arabic_llm.sweeping.forks import Warm, program
from arabic_llm.sweeping.view import Shown, View

NOT_TOLD = ("hydra.", "hydra/", "sweep.")  # settings of a sweep, which none of its jobs is told
_WEIGHED = 1.0  # seconds between two looks at what a job holds
_MARGIN = 1.1  # of what the largest job held: the next may hold a little more
_GIB = 1 << 30


class JobError(UserError):
    """A job of a sweep could not run; its own lines say why."""


class JobDiedError(Exception):
    """A job of a sweep was killed, or ended with our own bug; the others went on."""


@dataclass(frozen=True)
class SweptJob:
    """One job that is to run: its number in the sweep, its name and folder there, and what is typed."""

    number: int
    name: str
    folder: Path
    typed: tuple[str, ...]


@dataclass
class _Running:
    job: SweptJob
    child: Child
    card: str | None
    was_done: bool
    began: float = field(default_factory=time.monotonic)
    weighed: float = 0.0  # when
    held: int = 0  # bytes, then


class Pool:
    """Runs jobs, at most so many at a time, and as many as memory allows; one card a job.

    How much a job holds is known once one has trained a step: until then there is one. So what jobs share
    (rows as tokens, the evaluation of the base, the reference's log-probabilities) is made by the first
    and read by the others.
    """

    def __init__(
        self, grid: Grid, most: int, warm: Warm | None, free_gib: Callable[[], float] = machine.free_gib
    ) -> None:
        """Take the grid that keeps what becomes of jobs, how many at a time, and what they are forks of.

        `free_gib` says what they may yet take of the main memory.
        """
        self.failed: dict[str, Exception] = {}  # by name
        self._grid, self._warm, self._free_gib = grid, warm, free_gib
        self._cards = machine.cards() if most > 1 else []
        self.most = min(most, len(self._cards)) if self._cards else most
        self._running: list[_Running] = []
        self._stop_after: int | None = None
        self._peak, self._is_known = 0, False  # bytes that a job held; whether one has trained a step
        self._view = View(grid, self.most)

    @property
    def is_dry(self) -> bool:
        """Return whether jobs only say what they would do."""
        return self._grid.is_dry

    def add(self, jobs: Sequence[SweptJob]) -> None:
        """Count jobs that the grid does not know yet."""
        for job in jobs:
            if job.name not in self._grid.typed:
                self._grid.jobs.append(job.name)
                self._grid.typed[job.name] = list(job.typed)

    def judge(self, fates: Mapping[str, str]) -> None:
        """Keep what a rung said of jobs, by their names."""
        self._grid.fates.update(fates)
        self._grid.write()

    def run(self, jobs: Sequence[SweptJob], stop_after: int | None = None) -> None:
        """Run jobs, to a step or to their end. Raises KeyboardInterrupt after a signal."""
        self._stop_after = stop_after
        waiting, told = deque(jobs), list[int]()
        with child.passing_on(lambda: [one.child for one in self._running], told), self._view:
            self._await_warm()
            while (waiting and not told) or self._running:
                if waiting and not told and self._has_room():
                    self._start(waiting.popleft())
                for running in list(self._running):
                    if (ended := running.child.look()) is not None:
                        self._running.remove(running)
                        self._end(running, ended, told)
                self._view.show([self._shown(one) for one in self._running], len(waiting))
                time.sleep(child.SECONDS if self._running else 0)
        if told:
            raise KeyboardInterrupt("interrupted; the same command carries on")

    def _await_warm(self) -> None:
        """Wait until the warm process has imported; go on without it where no job may be its fork."""
        if self._warm is not None and (why := self._warm.cannot) is not None:
            self._view.say(f"each job imports for itself: {why}")
            self._warm = None

    def _has_room(self) -> bool:
        """Return whether one more job may be started beside those that run."""
        if not self._running:
            return True
        if len(self._running) >= self.most:
            return False
        self._weigh()
        if not self._is_known:
            return False
        largest = int(self._peak * _MARGIN)
        to_come = sum(max(0, largest - one.held) for one in self._running)
        return self._free_gib() * _GIB >= largest + to_come

    def _weigh(self) -> None:
        """Look what the running jobs hold beside what they share with the warm process."""
        now = time.monotonic()
        for one in self._running:
            if now - one.weighed >= _WEIGHED:
                one.weighed = now
                with suppress(psutil.Error):
                    one.held = psutil.Process(one.child.pid).memory_full_info().uss
                self._peak = max(self._peak, one.held)
                self._is_known |= progress.of(one.job.folder).step > 0

    def _start(self, job: SweptJob) -> None:
        arguments = [*job.typed, f'hydra.run.dir="{job.folder}"', "hydra.mode=RUN"]
        if self._stop_after is not None:
            arguments.append(f"stop_after={self._stop_after}")
        card = next((c for c in self._cards if c not in [one.card for one in self._running]), None)
        environment = {} if card is None else {"CUDA_VISIBLE_DEVICES": card}
        self._view.say(f"job {job.number}: {' '.join(job.typed)}")
        if self._warm is None:
            start = child.program(program(arguments), environment)
        else:
            start = self._warm.start(arguments, environment)
        was_done = self._grid.is_done(job.name)
        mark = None if self._view.is_terminal else f"[{job.number}] " if self.most > 1 else ""
        self._running.append(_Running(job, Child(start, mark), card, was_done))

    def _end(self, running: _Running, ended: Ended, told: list[int]) -> None:
        """Keep how a job ended, and say it; one that was interrupted by itself ends the sweep."""
        job, seconds = running.job, time.monotonic() - running.began
        self._is_known = True
        if ended.how is None and not self._grid.is_dry and not running.was_done:
            self._view.took.append(seconds)
        stopped = self._stop_after if ended.how is None and not self._grid.is_done(job.name) else None
        self._grid.end(job.name, ended, 0.0 if running.was_done else seconds, stopped)
        if ended.status == child.INTERRUPTED and not told:
            told.append(child.INTERRUPTED)
            for other in self._running:
                other.child.tell(signal.SIGTERM)
        if ended.was_told or ended.status == child.INTERRUPTED:
            return
        if not self._grid.is_dry:
            self._view.ended(job.number, job.name, ended, seconds)
        if ended.how is not None:
            self.failed[job.name] = failure(job, ended)

    def _shown(self, one: _Running) -> Shown:
        return Shown(one.job.number, one.job.name, progress.of(one.job.folder), one.began)


def failure(job: SweptJob, ended: Ended) -> Exception:
    """Return what a command ends with for a job that failed."""
    raised = JobError if ended.status == child.USERS_TO_FIX else JobDiedError
    return raised(f"job {job.number} {ended.how} ({job.folder})")


def can_fork() -> bool:
    """Return whether jobs may be forks: elsewhere than on Linux, libraries do not bear it."""
    return sys.platform == "linux" and hasattr(os, "fork")
