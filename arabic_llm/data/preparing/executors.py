"""Work past one machine: datatrove's executors run ours as their step, each task on whole parts of it."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, ClassVar

import multiprocess  # datatrove's
from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger as their_log
from tqdm import tqdm

from arabic_llm import files
from arabic_llm.config.hw import ExecutorKind, HardwareConfig
from arabic_llm.data.preparing import staging
from arabic_llm.data.preparing.shards import Cleaner, Order, Work
from arabic_llm.data.preparing.sources import Input
from arabic_llm.errors import ConfigError, DataError, HardwareError

log = logging.getLogger(__name__)

_WORK = "work.pickle"  # what cleaning needs; tasks read it, so that no task carries a tokenizer
_JOB = "job.json"  # of Slurm
_POLL_SECONDS = 0.5
_WATCH_SECONDS = 0.05  # a process that is gone so soon has had no time to fill the memory


@dataclass(frozen=True)
class Portion:
    """A part of some work. <stem>.json is written last: then it is finished."""

    stem: Path

    @property
    def note(self) -> Path:
        """Return where a task that cannot go on says why: Slurm and Ray do not hand errors back."""
        return self.stem.with_suffix(".error")


@dataclass(frozen=True)
class Unfinished(Portion):
    """An input that is not cleaned yet."""

    source: int  # of the rules
    put: Input


class PartsStep(PipelineStep):  # type: ignore[misc]
    """The step of a pipeline: a task takes the parts rank, rank + world_size, and so on."""

    type: ClassVar[str] = "Arabic LLM"

    def __init__(self, parts: Sequence[Portion]) -> None:
        """Take what is to be done."""
        super().__init__()
        self.parts = parts
        self._here = Path.cwd()  # paths are as the user typed them, and stand so in the names of rows

    def begin(self) -> None:
        """Prepare a task."""

    def do(self, part: Portion) -> None:
        """Do one part of a task. Raises DataError for what the user has to mend."""
        raise NotImplementedError

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        """Do the parts of a task. Raises DataError after noting it."""
        logging.basicConfig(format="%(message)s")
        logging.getLogger("arabic_llm").setLevel(logging.INFO)
        with contextlib.chdir(self._here):
            self.begin()
            for part in self.parts[rank::world_size]:
                try:
                    self.do(part)
                except DataError as error:
                    files.write_text(part.note, str(error))
                    raise
        return data


class CleanInputs(PartsStep):
    """Inputs into shards.

    It is staging.stage_input, as on one machine: sources.chunks_of reads, cleaning.clean cleans,
    Shard.write writes. So either engine carries on what the other began.
    """

    name: ClassVar[str] = "inputs into shards"

    def __init__(self, folder: Path, inputs: Sequence[Unfinished]) -> None:
        """Take what is to be cleaned; what cleaning needs lies in the folder."""
        super().__init__(inputs)
        self._folder = folder

    def begin(self) -> None:
        """Read what cleaning needs."""
        self._work: Work = pickle.loads((self._folder / _WORK).read_bytes())  # noqa: S301 (ours, of this run)
        self._cleaner = Cleaner(self._work)

    def do(self, part: Portion) -> None:
        """Write the shards of an input. Raises DataError at a bad row."""
        if not isinstance(part, Unfinished):
            raise TypeError(part)
        source = (part.source, self._work.rules[part.source].source)
        staging.stage_input(source, part.put, part.stem, self._apply)

    def _apply(self, orders: Iterator[Order]) -> Iterator[int]:
        for order in orders:
            with self.track_time("chunk"):
                num_rows = self._cleaner(order)
            self.stat_update("rows", value=num_rows, unit="chunk")
            yield num_rows


class JobArray(SlurmPipelineExecutor):  # type: ignore[misc]
    """Slurm's executor, without its last job: one that adds up statistics in a folder that is removed."""

    def launch_merge_stats(self) -> None:
        """Add nothing up."""


def clean(work: Work, inputs: Sequence[Sequence[Input]], folder: Path, hw: HardwareConfig) -> None:
    """Clean the inputs that are not finished; staging.stage then has nothing to do but to name the shards.

    Raises DataError at a bad row, unless data.on_bad_row is drop; HardwareError while a job of Slurm has
    not ended, and when a task ended before its inputs did.
    """
    unfinished = _unfinished(inputs, folder)
    if unfinished:
        files.write_bytes(folder / _WORK, pickle.dumps(work))
        carry_out(CleanInputs(folder, unfinished), folder, hw, ("cleaning", "file"))


def carry_out(step: PartsStep, folder: Path, hw: HardwareConfig, what: tuple[str, str]) -> None:
    """Do all parts of a step, its logs in the folder; `what` is done, and to what.

    Raises DataError for what one of them has noted; HardwareError while a job of Slurm has not ended, and
    when a task ended before its parts did.
    """
    kind, logs, parts = hw.executor.kind, folder / "datatrove", step.parts
    if kind is ExecutorKind.slurm:
        _refuse_while_queued(logs, len(parts))
    _raise_what_was_noted(parts)
    if kind is ExecutorKind.ray and find_spec("ray") is None:
        raise ConfigError("hw.executor.kind=ray needs ray: pip install 'datatrove[ray]'")
    if kind is ExecutorKind.slurm:
        job = _submit(hw, folder, step)
        files.write_json(logs / _JOB, job)
        raise _come_back(job, len(parts), logs)
    _run(hw, folder, step, what)
    _raise_what_was_noted(parts)
    doing, unit = what
    if left := [part for part in parts if not staging.is_finished(part.stem)]:
        raise HardwareError(
            f"{doing}: {len(left)} of {len(parts)} {unit}s were not done (out of memory?): {logs} says"
            " more; the same command carries on"
        )
    log.info("datatrove: %s of %s %ss by its %s executor", doing, f"{len(parts):,}", unit, kind.value)


def executor(hw: HardwareConfig, folder: Path, step: PartsStep) -> PipelineExecutor:
    """Return the executor of datatrove that does the parts of a step."""
    settings, logs = hw.executor, folder / "datatrove"
    num_tasks = min(settings.num_tasks or len(step.parts), len(step.parts))
    common: dict[str, Any] = {
        "pipeline": [step],
        "tasks": num_tasks,
        "workers": hw.num_processes or -1,  # all at once
        "logging_dir": str(logs),
        "skip_completed": False,  # by the number of the task, which stands for other inputs the next time
    }
    if settings.kind is ExecutorKind.local:
        num_processes = hw.num_processes or len(os.sched_getaffinity(0))
        return LocalPipelineExecutor(**common | {"workers": min(num_processes, num_tasks)})
    common["mem_per_cpu_gb"] = settings.mem_per_cpu_gb
    if settings.kind is ExecutorKind.ray:
        return RayPipelineExecutor(**common)
    activate = Path(sys.prefix) / "bin" / "activate"
    return JobArray(
        **common,
        partition=settings.partition,
        time=settings.time,
        qos=None,  # the cluster's own, unless sbatch_args has one
        sbatch_args=settings.sbatch_args,
        job_name="arabic-llm",
        venv_path=str(activate) if activate.exists() else None,
        slurm_logs_folder=str(logs / "slurm"),
    )


def _unfinished(inputs: Sequence[Sequence[Input]], folder: Path) -> list[Unfinished]:
    found = [
        Unfinished(staging.stem_of(folder, number, place), number, put)
        for number, of_source in enumerate(inputs)
        for place, put in enumerate(of_source)
    ]
    return [one for one in found if not staging.is_finished(one.stem)]


def _raise_what_was_noted(parts: Sequence[Portion]) -> None:
    """Raise the first error that a task met. It is told once: the next time, the part is tried again."""
    for one in parts:
        if one.note.exists():
            said = one.note.read_text(encoding="utf-8")
            one.note.unlink()
            raise DataError(said)


def _run(hw: HardwareConfig, folder: Path, step: PartsStep, what: tuple[str, str]) -> None:
    """Run an executor that ends with its tasks, in a process of its own that holds all it starts."""
    (folder / "datatrove").mkdir(parents=True, exist_ok=True)
    child = get_context("spawn").Process(target=_lead, args=(hw, folder, step))
    child.start()
    try:
        with tqdm(desc=what[0], total=len(step.parts), unit=what[1], leave=False, disable=None) as bar:
            while child.is_alive():
                child.join(_POLL_SECONDS)
                bar.update(sum(staging.is_finished(part.stem) for part in step.parts) - bar.n)
    finally:
        if child.is_alive() and child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()  # it may not lead its group yet
        child.join()


def _lead(hw: HardwareConfig, folder: Path, step: PartsStep) -> None:
    """Run an executor as the leader of a process group that ends with our parent.

    datatrove's processes outlive a parent that is killed, and its logs go to the terminal: here
    they go into a file.
    """
    os.setpgrp()
    for end in (_end_with_parent, _end_with_a_worker):
        threading.Thread(target=end, daemon=True).start()
    with (folder / "datatrove" / "executor.log").open("ab") as out:
        os.dup2(out.fileno(), sys.stdout.fileno())
        os.dup2(out.fileno(), sys.stderr.fileno())
    executor(hw, folder, step).run()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os.killpg(0, signal.SIGKILL)


def _end_with_a_worker() -> None:
    """End the group when a process of the pool was killed: the pool would wait for its task for ever."""
    started: set[Any] = set()
    while all(process.exitcode in (None, 0) for process in started):
        time.sleep(_WATCH_SECONDS)
        started.update(multiprocess.active_children())
    os.killpg(0, signal.SIGKILL)


def _submit(hw: HardwareConfig, folder: Path, step: PartsStep) -> str:
    """Hand the parts to Slurm; return the number of the job."""
    if shutil.which("sbatch") is None:
        raise HardwareError("hw.executor.kind=slurm needs sbatch, which is not on this machine")
    their_log.disable("datatrove")
    job = executor(hw, folder, step)
    try:
        job.run()
    except subprocess.CalledProcessError as error:
        raise HardwareError(
            "sbatch refused the job and said why above; see hw.executor.partition, time and sbatch_args"
        ) from error
    return str(job.job_id)


def _refuse_while_queued(logs: Path, num_parts: int) -> None:
    """Raise HardwareError while the job that was submitted before waits or runs."""
    squeue = shutil.which("squeue")
    job = files.kept(logs / _JOB, files.read_json, "it is not known whether its job has ended")
    if squeue is None or job is None:
        return
    asked = subprocess.run(  # a job that ended long ago is unknown: exit status 1, nothing on stdout
        [squeue, "--noheader", f"--jobs={job}"], capture_output=True, text=True, check=False
    )
    if asked.stdout.strip():
        raise _come_back(job, num_parts, logs)


def _come_back(job: str, num_parts: int, logs: Path) -> HardwareError:
    return HardwareError(
        f"Slurm job {job} has {num_parts:,} parts to do (its logs: {logs}); type the same command again"
        f" when it has ended (squeue --jobs={job})"
    )
