"""The warm process of a sweep, from the sweep's side: it is asked for jobs, and says how they ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from arabic_llm import child

_LARGEST = 1 << 18  # bytes of a message
_LOST = -signal.SIGKILL  # of a job whose warm process has gone, and the job with it


def program(arguments: Sequence[str]) -> list[str]:
    """Return the command of a job that is a program of its own."""
    return [sys.executable, "-m", "arabic_llm.run", *arguments]


@dataclass
class Fork:
    """A job that is a fork of the warm process."""

    pid: int
    warm: Warm

    def poll(self) -> int | None:
        """Return how it has ended; None: it has not."""
        return self.warm.ended(self.pid)

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it is not known to have ended; this may be in a signal's handler."""
        if not self.warm.knows(self.pid):
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)


class Warm:
    """A process that has imported what is slow; it is importing while the sweep looks at its jobs."""

    def __init__(self, task: str) -> None:
        """Start it, for jobs of a task."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "arabic_llm.warm", str(theirs.fileno()), str(os.getpid()), task],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # what libraries remark of being imported
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket, self._statuses = ours, dict[int, int]()
        self._is_gone = False
        self._said: dict[str, Any] | None = None

    @property
    def cannot(self) -> str | None:
        """Return why no job can be its fork, once it has imported; None: they can."""
        if self._said is None:
            self._said = self._next() or {}
        if self._is_gone:
            return f"the process for it has ended ({self._process.poll()})"
        return self._said.get("cannot")

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> child.Start:
        """Return what starts `python -m arabic_llm.run` with arguments as a fork."""

        def start(out: IO[bytes], error: IO[bytes]) -> child.Process:
            order = json.dumps(
                {
                    "arguments": list(arguments),
                    "environment": dict(environment),
                    "folder": str(Path.cwd()),
                }
            )
            try:
                socket.send_fds(self._socket, [order.encode()], [out.fileno(), error.fileno()])
            except BrokenPipeError:  # it has been killed meanwhile
                return child.program(program(arguments), environment)(out, error)
            while (said := self._next()) is not None and "status" in said:
                self._statuses[said["pid"]] = said["status"]
            if said is None:
                return child.program(program(arguments), environment)(out, error)
            return Fork(said["pid"], self)

        return start

    def knows(self, pid: int) -> bool:
        """Return whether a job is known to have ended."""
        return pid in self._statuses or self._is_gone

    def ended(self, pid: int) -> int | None:
        """Return how a job has ended; None: it has not."""
        with suppress(BlockingIOError):
            while (said := self._next(socket.MSG_DONTWAIT)) is not None:
                self._statuses[said["pid"]] = said["status"]
        return self._statuses.get(pid, _LOST if self._is_gone else None)

    def close(self) -> None:
        """End it: its jobs have."""
        self._socket.close()
        self._process.terminate()
        self._process.wait()

    def _next(self, how: int = 0) -> dict[str, Any] | None:
        """Return what it says next; None: it has gone."""
        try:
            said = self._socket.recv(_LARGEST, how)
        except ConnectionResetError:
            said = b""
        if not said:
            self._is_gone = True
            return None
        answer: dict[str, Any] = json.loads(said)
        return answer
