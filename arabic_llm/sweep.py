"""One process per sweep job: an OOM, a kill or an exit ends that job and no other."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.conf import HydraConf

from arabic_llm import child, result
from arabic_llm import grid as grids
from arabic_llm.child import Ended
from arabic_llm.errors import UserError
from arabic_llm.grid import Grid
from arabic_llm.result import RESULT

log = logging.getLogger(__name__)
_MINUTE, _HOUR = 60, 3600


class JobError(UserError):
    """A job of a sweep could not run; its own lines say why."""


class JobDiedError(Exception):
    """A job of a sweep was killed, or ended with our own bug; the others went on."""


_grids: dict[str, Grid] = {}  # of this process's sweep, by its folder
_took: list[float] = []  # seconds, of the jobs that this process has run


def run_in_child(job: HydraConf, *, is_dry: bool) -> float | None:
    """Run this job's overrides as a single run in a child process and return its metric.

    The child finds out by itself that its work was done before, so the sweep's command typed again runs
    what is missing. Raises JobError or JobDiedError, which run.py keeps until the last job is done, and
    KeyboardInterrupt, which ends the sweep.
    """
    directory, number = Path(job.runtime.output_dir), int(job.job.num)
    if (grid := _grids.get(job.sweep.dir)) is None or number == 0:
        grid = _grids[job.sweep.dir] = grids.begin(job)
        _took.clear()
        if not is_dry:
            grid.write()
    _refuse_shared(grid, directory, job)
    log.info("job %s: %s", number, " ".join(job.overrides.task))
    was_done, began = grid.is_done(directory.name), time.monotonic()
    command = [sys.executable, "-m", "arabic_llm.run", *job.overrides.task]
    ended = child.run([*command, f'hydra.run.dir="{directory}"', "hydra.mode=RUN"])
    seconds = time.monotonic() - began
    if ended.how is None and not is_dry and not was_done:
        _took.append(seconds)
    if not is_dry:
        grid.end(directory.name, ended, 0.0 if was_done else seconds, list(job.overrides.task))
    if ended.was_told or ended.status == child.INTERRUPTED:
        raise KeyboardInterrupt("interrupted; the same command carries on")
    metric = _metric(directory) if ended.how is None else None
    if not is_dry:
        log.info("%s", _change(grid, number, ended, metric, seconds))
    if ended.how is not None:
        raised = JobError if ended.status == child.USERS_TO_FIX else JobDiedError
        raise raised(f"job {number} {ended.how} ({directory})")
    return metric


def folders() -> list[Path]:
    """Return the folders of the sweep that this process has run, where there is something to report."""
    return [grid.folder for grid in _grids.values() if not grid.is_dry and grid.has_runs()]


def _metric(directory: Path) -> float | None:
    """Return what a job has found; None: it was a dry run."""
    if not (directory / RESULT).exists():
        return None
    metric: float = result.read(directory / RESULT)["metric"]
    return metric


def _change(grid: Grid, number: int, ended: Ended, metric: float | None, seconds: float) -> str:
    """Return what became of a job, how far the sweep is, how long it may take; of a death its last line."""
    found = "" if metric is None else f" ({metric:.4g})"
    what = ended.how or f"done in {_for_people(seconds)}{found}"
    names = grid.jobs
    done = sum(grid.is_done(name) or name in grid.passed for name in names)
    failed = sum(name in grid.ended for name in names)
    parts = [f"{done} of {len(names)} done"] if names else []
    if failed:
        parts.append(f"{failed} failed")
    ahead = sum(not grid.is_done(name) for name in names[number + 1 :])
    if ahead and _took:
        parts.append(f"about {_for_people(ahead * sum(_took) / len(_took))} left")
    line = f"job {number} {what}" + (f"; {', '.join(parts)}" if parts else "")
    if ended.how is None or not ended.last_lines:
        return line
    return "\n    ".join((f"{line}; its last lines:", *ended.last_lines))


def _for_people(seconds: float) -> str:
    """Return a time to the second, or to the minute."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / _MINUTE), _HOUR // _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


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
