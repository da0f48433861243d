"""One job of a sweep as a process: what it says is passed on and kept, how it ended has a name."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from types import FrameType
from typing import IO, Protocol, TextIO

from arabic_llm import machine, processes

USERS_TO_FIX, INTERRUPTED = 2, 130
_OF_A_SIGNAL = 128  # and its number, as shells count
_PR_SET_PDEATHSIG = 1  # linux/prctl.h; other systems have none
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork
SECONDS = 0.05  # between two looks at what a job has said
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


class Process(Protocol):
    """What runs: a program of its own, or a fork of one that has imported what is slow."""

    pid: int

    def poll(self) -> int | None:
        """Return how it has ended, by a signal negative; None: it has not."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it has not ended."""


Start = Callable[[IO[bytes], IO[bytes]], Process]  # with the files that it writes into


def program(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Start:
    """Return what starts a command as a program.

    In a session of its own, a terminal's Ctrl-C comes to it once: from us. It ends when we are killed.
    """
    parent = os.getpid()

    def start(out: IO[bytes], error: IO[bytes]) -> Process:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            env=None if environment is None else {**os.environ, **environment},
            start_new_session=True,
            preexec_fn=lambda: end_with(parent),  # noqa: PLW1509 (a sweep has no threads)
        )

    return start


class Child:
    """A running child. It writes into files, which outlive us: its last words never meet a closed pipe.

    `mark`: what its lines begin with where those of several children alternate; empty: they are passed on
    as they come; None: they are kept, and not passed on.
    """

    def __init__(self, start: Start, mark: str | None = "") -> None:
        """Start it."""
        self._files = TemporaryFile(), TemporaryFile()  # noqa: SIM115 (closed once it has ended)
        self._last: deque[str] = deque(maxlen=_LAST)
        self._kills, self._was_told = machine.oom_kills(), False
        self._process = start(*self._files)
        self._said = [
            _Said(file, stream, self._last, mark)
            for file, stream in zip(self._files, (sys.stdout, sys.stderr), strict=True)
        ]

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def tell(self, number: int) -> None:
        """Pass a signal on to it."""
        self._was_told = True
        self._process.send_signal(number)

    def look(self) -> Ended | None:
        """Pass on what it has said since, and return how it has ended; None: it has not."""
        status = self._process.poll()
        for stream in self._said:
            stream.pass_on()
        if status is None:
            return None
        for stream in self._said:
            stream.end()
        for file in self._files:
            file.close()
        kills = machine.oom_kills() - self._kills
        return Ended(status, self._was_told, tuple(self._last), kills)


@contextmanager
def passing_on(children: Callable[[], Iterable[Child]], told: list[int]) -> Iterator[None]:
    """Tell those children of Ctrl-C and SIGTERM that are running then, and keep its number in `told`."""

    def caught(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        for child in children():
            child.tell(number)

    with processes.catching(caught):
        yield


def run(command: Sequence[str], mark: str | None = "") -> Ended:
    """Run a command as a child to its end."""
    child = Child(program(command), mark)
    with passing_on(lambda: [child], []):
        while (ended := child.look()) is None:
            time.sleep(SECONDS)
    return ended


class _Said:
    """What a child writes into a file, passed on to a stream of ours; whole lines are kept."""

    def __init__(self, file: IO[bytes], stream: TextIO, last: deque[str], mark: str | None) -> None:
        self._file, self._stream, self._last, self._mark = file.fileno(), stream, last, mark
        self._at, self._begun = 0, b""

    def pass_on(self) -> None:
        """Pass on what is new."""
        while new := os.pread(self._file, _AT_ONCE, self._at):
            self._at += len(new)
            *lines, self._begun = (self._begun + new).split(b"\n")
            self._keep(lines)
            if self._mark == "":
                self._write(new)

    def end(self) -> None:
        """Pass on the rest, and end a last line that has no end: ours is to stand on a line of its own."""
        self.pass_on()
        self._keep([self._begun])
        if self._begun and self._mark == "":
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
                if self._mark:
                    self._write(f"{self._mark}{text}\n".encode())


def end_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent has gone, in the child before it is a program.

    By SIGTERM, which leaves a checkpoint.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before it could be asked
        os._exit(INTERRUPTED)
