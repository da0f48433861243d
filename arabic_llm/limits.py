"""What runs in this process and was written by others, a template or a pattern, runs within limits."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_STATM = "/proc/self/statm"  # its first number is the pages of this process
_IS_LINUX = sys.platform == "linux"  # macOS does not hold a process to its address space


class TooLongError(Exception):
    """What runs within limits has computed for longer than it may."""


@contextmanager
def limited(cpu_seconds: float, more_bytes: int) -> Iterator[None]:
    """Raise TooLongError inside after so much computing, MemoryError when so many more bytes are asked for.

    Python's loops, its regular expressions and its products of large numbers look for signals.
    Computing is counted, not the clock, so that a busy machine decides nothing. Costs some microseconds.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    roof = _address_space() + more_bytes
    is_lower = _IS_LINUX and (soft == resource.RLIM_INFINITY or roof < soft)
    is_heard = threading.current_thread() is threading.main_thread()  # no other one hears signals
    try:
        if is_lower:
            resource.setrlimit(resource.RLIMIT_AS, (roof, hard))
        if is_heard:
            _listen()
            signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds, cpu_seconds)  # again, where it was caught
        yield
    finally:
        if is_heard:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if is_lower:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@cache
def _listen() -> None:
    """Set the handler, once: it takes longer than all the rest."""
    signal.signal(signal.SIGVTALRM, _stop)


def _address_space() -> int:
    if not _IS_LINUX:
        return 0
    handle = os.open(_STATM, os.O_RDONLY)  # a third of what Path.read_text() takes, for every conversation
    try:
        return int(os.read(handle, 100).split()[0]) * resource.getpagesize()
    finally:
        os.close(handle)


def _stop(*_: object) -> None:
    raise TooLongError
