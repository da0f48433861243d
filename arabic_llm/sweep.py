"""One process per sweep job: an OOM, a kill or an exit ends that job and no other."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from hydra.conf import HydraConf

from arabic_llm import grid as grids
from arabic_llm import machine, result
from arabic_llm.errors import UserError
from arabic_llm.grid import Grid
from arabic_llm.result import RESULT

log = logging.getLogger(__name__)
_USERS_TO_FIX, _INTERRUPTED = 2, 130
_OF_A_SIGNAL = 128  # and its number, as shells count
_PR_SET_PDEATHSIG = 1  # linux/prctl.h; other systems have none
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


class JobError(UserError):
    """A job of a sweep could not run; its own lines say why."""


class JobDiedError(Exception):
    """A job of a sweep was killed, or ended with our own bug; the others went on."""


_grids: dict[str, Grid] = {}  # of this process's sweep, by its folder


def run_in_child(job: HydraConf, *, is_dry: bool) -> float | None:
    """Run this job's overrides as a single run in a child process and return its metric.

    The child finds out by itself that its work was done before, so the sweep's command typed again
    with its `hydra.sweep.dir` runs what is missing. Raises JobError or JobDiedError, which run.py keeps
    until the last job is done, and KeyboardInterrupt, which ends the sweep.
    """
    directory, number = Path(job.runtime.output_dir), int(job.job.num)
    if (grid := _grids.get(job.sweep.dir)) is None or number == 0:
        grid = _grids[job.sweep.dir] = grids.begin(job)
    _refuse_shared(grid, directory, job)
    log.info("job %s: %s", number, " ".join(job.overrides.task))
    command = [sys.executable, "-m", "arabic_llm.run", *job.overrides.task]
    kills = machine.oom_kills()
    status, was_told = _wait_for([*command, f'hydra.run.dir="{directory}"', "hydra.mode=RUN"])
    how = None if status == 0 else _how(status, machine.oom_kills() - kills)
    if not is_dry:
        grid.end(directory.name, how, job)
    if was_told or status == _INTERRUPTED:
        raise KeyboardInterrupt("interrupted; the same command with its hydra.sweep.dir carries on")
    if how is not None:
        raised = JobError if status == _USERS_TO_FIX else JobDiedError
        log.info("job %s %s", number, how)
        raise raised(f"job {number} {how} ({directory})")
    if not (directory / RESULT).exists():  # a dry run
        return None
    metric: float = result.read(directory / RESULT)["metric"]
    return metric


def _refuse_shared(grid: Grid, directory: Path, job: HydraConf) -> None:
    """Refuse a directory that an earlier job had: its result would be taken for this one's."""
    typed = list(job.overrides.task)
    first, before = grid.taken.setdefault(str(directory), (int(job.job.num), typed))
    if before != typed:
        raise JobError(
            f"job {job.job.num} ({' '.join(typed)}) would write into the directory of job {first}"
            f" ({' '.join(before)}): {directory}. Type each key once, and leave hydra.sweep.subdir out"
        )


def of_all(failures: Sequence[Exception]) -> Exception:
    """Return what a command ends with: of a sweep's jobs that failed, one error with a word for each."""
    jobs = [error for error in failures if isinstance(error, JobError | JobDiedError)]
    if len(jobs) < len(failures):
        return next(error for error in failures if error not in jobs)
    kind = JobError if all(isinstance(error, JobError) for error in jobs) else JobDiedError
    return kind(f"{'; '.join(map(str, jobs))}; the others went on")


def _how(status: int, oom_kills: int) -> str:
    """Return how a child ended that did not end well; a shell's 128 + n is signal n too."""
    number = -status if status < 0 else status - _OF_A_SIGNAL if status > _INTERRUPTED else 0
    if number in {known.value for known in signal.Signals}:
        name = signal.Signals(number).name
        if number != signal.SIGKILL:
            return f"was killed by {name}"
        if oom_kills:
            return f"was killed by {name}: the kernel's OOM killer ended a process, memory had run out"
        return f"was killed by {name}, and not by the kernel for want of memory: by hand, or by a limit"
    return {
        _USERS_TO_FIX: f"could not run (exit code {_USERS_TO_FIX}, its line says why)",
        _INTERRUPTED: f"was interrupted (exit code {_INTERRUPTED})",
    }.get(status, f"failed (exit code {status}, its lines say where)")


def _wait_for(command: list[str]) -> tuple[int, bool]:
    """Run a child to its end: its status, and whether a signal to us was passed on, and waited for.

    In a session of its own, a terminal's Ctrl-C comes to it once: from us. It ends when we are killed.
    """
    parent, told = os.getpid(), []
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _end_with(parent),  # noqa: PLW1509 (a sweep has no threads)
    )

    def pass_on(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return child.wait(), bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent has gone, in the child before it is a program.

    By SIGTERM, which leaves a checkpoint.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before it could be asked
        os._exit(_INTERRUPTED)
