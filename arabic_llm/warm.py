"""A process that has imported what is slow, and whose forks are the jobs of a sweep: one process a job.

It talks with the sweep over a socket, by JSON: an order, {"arguments": [...], "environment": {...},
"folder": ...} with the two files that the job writes into, is answered with {"pid": n}, and once that ends
with {"pid": n, "status": n}.
Nothing is computed here: a fork has no threads but the one that forks, and a card that was opened before
stays closed to it. Where that cannot be held, {"cannot": why} is all that it says. A fork is one of
multiprocessing's: as it ends it leaves alone what this process is to tidy when it ends itself, such as the
folder that W&B makes on import and writes tables into.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from typing import Any

from arabic_llm import child

_LARGEST = 1 << 18  # bytes of a message
# What a job imports beside its task, and what stands behind that: trl, peft, lm-eval, matplotlib.
_OF_ALL = ("arabic_llm.workflows.fine_tune", "arabic_llm.workflows.auto", "arabic_llm.evaluation.harness")
_FOR_PEOPLE = ("arabic_llm.reports.held_out_loss", "arabic_llm.reports.card")


def main() -> None:
    """Import, then fork a job for each order until the sweep hangs up."""
    number, parent, task = sys.argv[1:]
    child.end_with(int(parent))
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # counts cards without opening one
    from arabic_llm import run

    for name in (f"arabic_llm.tasks.{task}", *_OF_ALL, *_FOR_PEOPLE):
        import_module(name)
    with socket.socket(fileno=int(number)) as sweep:
        if (why := _unsafe()) is not None:
            sweep.send(json.dumps({"cannot": why}).encode())
            return
        sweep.send(json.dumps({"ready": os.getpid()}).encode())
        _serve(sweep, run.main)


def _unsafe() -> str | None:
    """Return why no job may be a fork of this process; None: it may."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return "a card is open"
    if threading.active_count() > 1:
        return f"threads run: {', '.join(thread.name for thread in threading.enumerate())}"
    return None


def _serve(sweep: socket.socket, program: Callable[[], None]) -> None:
    """Fork a job for each order, which runs the program, until the sweep hangs up."""
    awake, wakes = socket.socketpair()
    for end in (awake, wakes):
        end.setblocking(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep says it to the jobs
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wakes.fileno())
    fork, jobs = multiprocessing.get_context("fork"), list[BaseProcess]()
    while True:
        ready, _, _ = select.select([sweep, awake], [], [])
        if awake in ready:
            awake.recv(_LARGEST)
            _tell_ended(sweep, jobs)
        if sweep in ready:
            said, files, _, _ = socket.recv_fds(sweep, _LARGEST, 2)
            if not said:
                break
            order = json.loads(said)
            job = fork.Process(target=_run, args=(program, order, files, os.getpid(), sweep))
            job.start()
            jobs.append(job)
            list(map(os.close, files))
            sweep.send(json.dumps({"pid": job.pid}).encode())
    for left in jobs:
        left.terminate()


def _tell_ended(sweep: socket.socket, jobs: list[BaseProcess]) -> None:
    """Say which jobs have ended, and how; they are jobs no longer."""
    for job in [job for job in jobs if job.exitcode is not None]:
        sweep.send(json.dumps({"pid": job.pid, "status": job.exitcode}).encode())
        jobs.remove(job)


def _run(
    program: Callable[[], None], order: dict[str, Any], files: list[int], parent: int, sweep: socket.socket
) -> None:
    """Run the program as a job: a session, files and arguments of its own, and signals as it finds them."""
    sweep.close()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    child.end_with(parent)
    for file, stream in zip(files, (sys.stdout, sys.stderr), strict=True):
        os.dup2(file, stream.fileno())
        os.close(file)
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    sys.argv = ["arabic_llm.run", *order["arguments"]]
    program()


if __name__ == "__main__":
    main()
