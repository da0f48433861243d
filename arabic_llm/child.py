"""One job of a sweep as a process: what it says is passed on and kept, how it ended has a name."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from types import FrameType
from typing import IO, TextIO

from arabic_llm import machine

USERS_TO_FIX, INTERRUPTED = 2, 130
_OF_A_SIGNAL = 128  # and its number, as shells count
_PR_SET_PDEATHSIG = 1  # linux/prctl.h; other systems have none
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork
_SECONDS = 0.2  # between two looks at what a job has said
_AT_ONCE = 1 << 16  # bytes
_LAST, _LONGEST = 8, 500  # lines of a job that are kept, and characters of each
_BAR = re.compile(r"\d+%\|")
_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)  # what moves a cursor, or colours


@dataclass(frozen=True)
class Ended:
    """How a child ended; `was_told`: a signal to us was passed on to it, and waited for."""

    status: int
    was_told: bool = False
    last_lines: tuple[str, ...] = ()
    oom_kills: int = 0  # of the kernel, meanwhile

    @property
    def how(self) -> str | None:
        """Return how it ended where it did not end well; a shell's 128 + n is signal n too."""
        if self.status == 0:
            return None
        number = self._signal
        if number in {known.value for known in signal.Signals}:
            name = signal.Signals(number).name
            if number != signal.SIGKILL:
                return f"was killed by {name}"
            if self.oom_kills:
                return f"was killed by {name}: the kernel's OOM killer ended a process, memory had run out"
            return f"was killed by {name}, and not by the kernel for want of memory: by hand, or by a limit"
        return {
            USERS_TO_FIX: f"could not run (exit code {USERS_TO_FIX}, its line says why)",
            INTERRUPTED: f"was interrupted (exit code {INTERRUPTED})",
        }.get(self.status, f"failed (exit code {self.status}, its lines say where)")

    @property
    def _signal(self) -> int:
        """Return the number of the signal that ended it; 0: none did."""
        if self.status < 0:
            return -self.status
        return self.status - _OF_A_SIGNAL if self.status > INTERRUPTED else 0


def run(command: list[str]) -> Ended:
    """Run a child to its end.

    In a session of its own, a terminal's Ctrl-C comes to it once: from us. It ends when we are killed.
    It writes into files, which outlive us: what it says last never meets a closed pipe.
    """
    parent, told, kills = os.getpid(), [], machine.oom_kills()
    last: deque[str] = deque(maxlen=_LAST)
    with TemporaryFile() as out, TemporaryFile() as error:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            start_new_session=True,
            preexec_fn=lambda: _end_with(parent),  # noqa: PLW1509 (a sweep has no threads)
        )

        def pass_on(number: int, _frame: FrameType | None) -> None:
            told.append(number)
            child.send_signal(number)

        said = (_Said(out, sys.stdout, last), _Said(error, sys.stderr, last))
        before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while (status := _status(child)) is None:
                for stream in said:
                    stream.pass_on()
            for stream in said:
                stream.end()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return Ended(status, bool(told), tuple(last), machine.oom_kills() - kills)


def _status(child: subprocess.Popen[bytes]) -> int | None:
    """Return how a child has ended; None: it has not, a moment later."""
    with suppress(subprocess.TimeoutExpired):
        return child.wait(_SECONDS)
    return None


class _Said:
    """What a child writes into a file, passed on to a stream of ours; whole lines are kept."""

    def __init__(self, file: IO[bytes], stream: TextIO, last: deque[str]) -> None:
        self._file, self._stream, self._last = file.fileno(), stream, last
        self._at, self._begun = 0, b""

    def pass_on(self) -> None:
        """Pass on what is new."""
        while new := os.pread(self._file, _AT_ONCE, self._at):
            self._at += len(new)
            *lines, self._begun = (self._begun + new).split(b"\n")
            self._keep(lines)
            self._write(new)

    def end(self) -> None:
        """Pass on the rest, and end a last line that has no end: ours is to stand on a line of its own."""
        self.pass_on()
        self._keep([self._begun])
        if self._begun:
            self._write(b"\n")

    def _write(self, new: bytes) -> None:
        with suppress(OSError, ValueError):  # where nobody reads any longer, the sweep goes on
            if hasattr(self._stream, "buffer"):
                self._stream.flush()
                self._stream.buffer.write(new)
            else:  # a stream of text alone
                self._stream.write(new.decode(errors="replace"))
            self._stream.flush()

    def _keep(self, lines: list[bytes]) -> None:
        """Keep lines as they are seen in the end: without the bars that they were written over."""
        for line in lines:
            seen = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
            text = _CONTROL.sub("", seen).rstrip()
            if text.strip() and not _BAR.search(text):
                self._last.append(text[:_LONGEST])


def _end_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent has gone, in the child before it is a program.

    By SIGTERM, which leaves a checkpoint.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before it could be asked
        os._exit(INTERRUPTED)
