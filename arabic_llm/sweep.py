"""One process per sweep job: an OOM, a kill or an exit ends that job and no other."""

from __future__ import annotations

import csv
import ctypes
import io
import logging
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from hydra.conf import HydraConf

from arabic_llm import files, result
from arabic_llm.config import naming
from arabic_llm.errors import UserError
from arabic_llm.result import RESULT
from arabic_llm.rundir import MANIFEST

log = logging.getLogger(__name__)
_USERS_TO_FIX, _INTERRUPTED = 2, 130
_PR_SET_PDEATHSIG = 1  # linux/prctl.h; other systems have none
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


class JobError(UserError):
    """A job of a sweep could not run; its own lines say why."""


class JobDiedError(Exception):
    """A job of a sweep was killed, or ended with our own bug; the others went on."""


def run_in_child(job: HydraConf) -> float | None:
    """Run this job's overrides as a single run in a child process and return its metric.

    The child finds out by itself that its work was done before, so the sweep's command typed again
    with its `hydra.sweep.dir` runs what is missing. Raises JobError or JobDiedError, which run.py keeps
    until the last job is done, and KeyboardInterrupt, which ends the sweep.
    """
    directory = Path(job.runtime.output_dir)
    log.info("job %s: %s", job.job.num, " ".join(job.overrides.task))
    command = [sys.executable, "-m", "arabic_llm.run", *job.overrides.task]
    status = _wait_for([*command, f'hydra.run.dir="{directory}"', "hydra.mode=RUN"])
    if status == _INTERRUPTED:
        raise KeyboardInterrupt("interrupted; the same command with its hydra.sweep.dir carries on")
    if status == _USERS_TO_FIX:
        raise JobError(f"job {job.job.num} could not run ({directory}); the others went on")
    if status != 0:
        raise JobDiedError(
            f"job {job.job.num} ended with status {status} ({directory}); the others went on"
        )
    if not (directory / RESULT).exists():  # a dry run
        return None
    _summarise(job)
    metric: float = result.read(directory / RESULT)["metric"]
    return metric


def _wait_for(command: list[str]) -> int:
    """Run a child to its end and return its status; a signal to us is passed on, and waited for.

    In a session of its own, a terminal's Ctrl-C comes to it once: from us. It ends when we are killed.
    """
    parent = os.getpid()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _end_with(parent),  # noqa: PLW1509 (a sweep has no threads)
    )

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return child.wait()
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


def _summarise(job: HydraConf) -> None:
    """Write results.csv: one row for each finished job, one column for each key that tells them apart."""
    directory, jobs = Path(job.sweep.dir), []
    for path in sorted(directory.glob(f"*/{RESULT}")):
        if ".aside-" not in path.parent.name:
            command = files.read_state(path.with_name(MANIFEST), is_old_too=True)["command"]
            metric = result.read(path)["metric"]
            jobs.append((path.parent.name, naming.values(shlex.split(command)), metric))
    keys = naming.telling_apart([typed for _, typed, _ in jobs], naming.of_sweep(job))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["job", *keys, "metric"])
    writer.writerows(
        [*map(files.spreadsheet_cell, (name, *(typed.get(key, "") for key in keys), metric))]
        for name, typed, metric in jobs
    )
    files.write_text(directory / "results.csv", table.getvalue())
