"""Cleaning past one machine: datatrove's executors run ours as their step, each task on whole files."""

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
class Unfinished:
    """An input that is not cleaned yet."""

    source: int  # of the rules
    put: Input
    stem: Path

    @property
    def note(self) -> Path:
        """Return where a task that cannot go on says why: Slurm and Ray do not hand errors back."""
        return self.stem.with_suffix(".error")


class CleanInputs(PipelineStep):  # type: ignore[misc]
    """The step of the pipeline: a task takes the inputs rank, rank + world_size, and so on.

    It is staging.stage_input, as on one machine: sources.chunks_of reads, cleaning.clean cleans,
    Shard.write writes. So either engine carries on what the other began.
    """

    type: ClassVar[str] = "Cleaner"
    name: ClassVar[str] = "inputs into shards"

    def __init__(self, folder: Path, inputs: Sequence[Unfinished]) -> None:
        """Take what is to be cleaned; what cleaning needs lies in the folder."""
        super().__init__()
        self._folder, self._inputs = folder, inputs
        self._here = Path.cwd()  # paths are as the user typed them, and stand so in the names of rows

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
        """Write the shards of the inputs of a task. Raises DataError at a bad row, after noting it."""
        logging.basicConfig(format="%(message)s")
        logging.getLogger("arabic_llm").setLevel(logging.INFO)
        work: Work = pickle.loads((self._folder / _WORK).read_bytes())  # noqa: S301 (ours, of this run)
        cleaner = Cleaner(work)

        def apply(orders: Iterator[Order]) -> Iterator[int]:
            for order in orders:
                with self.track_time("chunk"):
                    num_rows = cleaner(order)
                self.stat_update("rows", value=num_rows, unit="chunk")
                yield num_rows

        with contextlib.chdir(self._here):
            for one in self._inputs[rank::world_size]:
                source = (one.source, work.rules[one.source].source)
                try:
                    staging.stage_input(source, one.put, one.stem, apply)
                except DataError as error:
                    files.write_text(one.note, str(error))
                    raise
        return data


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
    if not unfinished:
        return
    kind, logs = hw.executor.kind, folder / "datatrove"
    if kind is ExecutorKind.slurm:
        _refuse_while_queued(logs, len(unfinished))
    _raise_what_was_noted(unfinished)
    if kind is ExecutorKind.ray and find_spec("ray") is None:
        raise ConfigError("hw.executor.kind=ray needs ray: pip install 'datatrove[ray]'")
    files.write_bytes(folder / _WORK, pickle.dumps(work))
    if kind is ExecutorKind.slurm:
        job = _submit(hw, folder, unfinished)
        files.write_json(logs / _JOB, job)
        raise _come_back(job, len(unfinished), logs)
    _run(hw, folder, unfinished)
    _raise_what_was_noted(unfinished)
    if left := _unfinished(inputs, folder):
        raise HardwareError(
            f"{len(left)} of {len(unfinished)} files were not cleaned (out of memory?): {logs} says more;"
            " the same command carries on"
        )
    log.info("datatrove: %s files cleaned by its %s executor", f"{len(unfinished):,}", kind.value)


def executor(hw: HardwareConfig, folder: Path, inputs: Sequence[Unfinished]) -> PipelineExecutor:
    """Return the executor of datatrove that cleans the inputs."""
    settings, logs = hw.executor, folder / "datatrove"
    num_tasks = min(settings.num_tasks or len(inputs), len(inputs))
    common: dict[str, Any] = {
        "pipeline": [CleanInputs(folder, inputs)],
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
        Unfinished(number, put, staging.stem_of(folder, number, place))
        for number, of_source in enumerate(inputs)
        for place, put in enumerate(of_source)
    ]
    return [one for one in found if not staging.is_finished(one.stem)]


def _raise_what_was_noted(inputs: Sequence[Unfinished]) -> None:
    """Raise the first error that a task met. It is told once: the next time, the input is tried again."""
    for one in inputs:
        if one.note.exists():
            said = one.note.read_text(encoding="utf-8")
            one.note.unlink()
            raise DataError(said)


def _run(hw: HardwareConfig, folder: Path, inputs: Sequence[Unfinished]) -> None:
    """Run an executor that ends with its tasks, in a process of its own that holds all it starts."""
    (folder / "datatrove").mkdir(parents=True, exist_ok=True)
    child = get_context("spawn").Process(target=_lead, args=(hw, folder, inputs))
    child.start()
    try:
        with tqdm(desc="cleaning", total=len(inputs), unit="file", leave=False, disable=None) as bar:
            while child.is_alive():
                child.join(_POLL_SECONDS)
                bar.update(sum(staging.is_finished(one.stem) for one in inputs) - bar.n)
    finally:
        if child.is_alive() and child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()  # it may not lead its group yet
        child.join()


def _lead(hw: HardwareConfig, folder: Path, inputs: Sequence[Unfinished]) -> None:
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
    executor(hw, folder, inputs).run()


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


def _submit(hw: HardwareConfig, folder: Path, inputs: Sequence[Unfinished]) -> str:
    """Hand the inputs to Slurm; return the number of the job."""
    if shutil.which("sbatch") is None:
        raise HardwareError("hw.executor.kind=slurm needs sbatch, which is not on this machine")
    their_log.disable("datatrove")
    job = executor(hw, folder, inputs)
    try:
        job.run()
    except subprocess.CalledProcessError as error:
        raise HardwareError(
            "sbatch refused the job and said why above; see hw.executor.partition, time and sbatch_args"
        ) from error
    return str(job.job_id)


def _refuse_while_queued(logs: Path, num_files: int) -> None:
    """Raise HardwareError while the job that was submitted before waits or runs."""
    squeue = shutil.which("squeue")
    job = files.kept(logs / _JOB, files.read_json, "it is not known whether its job has ended")
    if squeue is None or job is None:
        return
    asked = subprocess.run(  # a job that ended long ago is unknown: exit status 1, nothing on stdout
        [squeue, "--noheader", f"--jobs={job}"], capture_output=True, text=True, check=False
    )
    if asked.stdout.strip():
        raise _come_back(job, num_files, logs)


def _come_back(job: str, num_files: int, logs: Path) -> HardwareError:
    return HardwareError(
        f"Slurm job {job} has {num_files:,} files to clean (its logs: {logs}); type the same command again"
        f" when it has ended (squeue --jobs={job})"
    )
