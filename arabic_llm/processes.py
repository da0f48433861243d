"""The processes of one run, as `accelerate launch` or torchrun start them: who is main, what all know."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import accumulate
from types import FrameType
from typing import Any, TypeVar

from arabic_llm.errors import HardwareError

T = TypeVar("T")
_PLACES = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
_NO_TIMEOUT = timedelta(weeks=52)  # one process waits for another's work, however long that takes
_stores: list[Any] = []  # of the group, once it is open; torch's, which is not imported for one process
_failed_first: list[bool] = []  # of this process, when the work of all has ended in an error here
# as gloo (twice) and NCCL say it
_LOST = ("closed by peer", "reset by peer", "remote process exited")
_ENDED = "another process of this run has ended before its work was done; the same command carries on"


def refuse_odd_places() -> None:
    """Raise HardwareError where the environment names no place among processes: a launcher sets it."""
    for name in _PLACES:
        if not (said := os.environ.get(name, "0")).isdecimal():
            raise HardwareError(
                f"{name}={said} in the environment is no number of processes; a launcher (torchrun,"
                " accelerate launch) sets it, else take it out"
            )


def count() -> int:
    """Return how many processes the launcher has started."""
    return _place("WORLD_SIZE", 1)


def rank() -> int:
    """Return which of them this is."""
    return _place("RANK", 0)


def local_rank() -> int:
    """Return which of this machine's processes this is: the number of its card."""
    return _place("LOCAL_RANK", 0)


def _place(name: str, alone: int) -> int:
    said = os.environ.get(name, "")
    return int(said) if said.isdecimal() else alone


def is_main() -> bool:
    """Return whether this process is the one that writes files and says what happens."""
    return rank() == 0


@contextmanager
def catching(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a handler take Ctrl-C and SIGTERM inside, and afterwards whatever took them before."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def together() -> Iterator[None]:
    """Open the group of all processes, for what is exchanged here and for torch's own training.

    Raises HardwareError in those that fail because another has ended.
    """
    if count() == 1:
        yield
        return
    import torch
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", rank(), count()))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank(), world_size=count(), timeout=_NO_TIMEOUT
    )
    _stores.append(store)
    try:
        yield
    except BaseException as error:
        # Counted before the group closes: the others fail by that, and would say so first.
        _failed_first.append(_counts_as_first())
        if isinstance(error, RuntimeError) and (
            not _failed_first[-1] or any(words in str(error) for words in _LOST)
        ):
            raise HardwareError(_ENDED) from error
        raise
    finally:
        distributed.destroy_process_group()


def gather(value: T) -> list[T]:
    """Return what each process gives, in all of them. Raises HardwareError when one has ended."""
    if count() == 1:
        return [value]
    from torch import distributed

    given: list[Any] = [None] * count()
    try:
        distributed.all_gather_object(given, value)
    except RuntimeError as error:
        raise HardwareError(_ENDED) from error
    return given


def from_main(work: Callable[[], T]) -> T:
    """Return in all processes what `work` returns in the main one."""
    return gather(work() if is_main() else None)[0]  # type: ignore[return-value]


def wait() -> None:
    """Go on when all processes are here."""
    gather(None)


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process do something before the others do it: they find in a cache what it leaves."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def share(ordered: Sequence[T], sizes: Sequence[int]) -> list[T]:
    """Return this process's part of some work: neighbours, about as much as the others have."""
    ends = list(accumulate(sizes))
    return [
        one for one, end in zip(ordered, ends, strict=True) if (end - 1) * count() // ends[-1] == rank()
    ]


def is_first_to_fail() -> bool:
    """Return whether no other process has said why the run ends: it is said once."""
    if _failed_first:
        return _failed_first[-1]
    if not _stores:
        return is_main()  # what fails so early fails in all
    return _counts_as_first()


def _counts_as_first() -> bool:
    try:
        return int(_stores[-1].add("failed", 1)) == 1
    except RuntimeError:  # its owner has gone
        return is_main()
