"""What the parts of the campaign share: a case, how it ended, and the program in a fork with a limit."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from warm import Nursery

FAULTS = ("traceback", "no end", "other numbers", "not one line", "its code ran", "too much memory")


@dataclass(frozen=True)
class End:
    """How a case ended: one of FAULTS, or what is right; and what was said."""

    kind: str
    said: str = ""

    @property
    def is_fault(self) -> bool:
        return self.kind in FAULTS or self.kind.startswith("status ")


@dataclass(frozen=True)
class Case:
    """One thing that is done to the program: `part` and `kind` are a row of the table."""

    part: str
    kind: str
    name: str
    run: Callable[[], End]
    count: int = 1  # kills of a life


@dataclass(frozen=True)
class Bench:
    """Where the campaign works, its seed, and the warm process whose forks are run."""

    folder: Path
    seed: int
    nursery: Nursery

    def draw(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    def run(self, cwd: Path, arguments: tuple[str, ...], seconds: float) -> tuple[int | None, str, int]:
        """Run the program in a fork: (status, None where it had to be killed; what it said; peak MiB)."""
        log = cwd / "log.txt"
        log.unlink(missing_ok=True)
        pid, peak = self.nursery.start(cwd, (*arguments, "tracking=none")), 0
        deadline = time.monotonic() + seconds
        try:
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                peak = max(peak, _peak_mib(pid))
                time.sleep(0.02)
        finally:  # when the campaign is stopped too: nothing is to write where the next case works
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = self.nursery.wait()
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return None if status == -signal.SIGKILL else status, said, peak


def _peak_mib(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) // 1024 if found else 0
    return 0


def ended(status: int | None, said: str) -> End:
    """Return how a run of the program ended; what is right is "done" or "refused in one line"."""
    if "Traceback (most recent call last)" in said:
        return End("traceback", said[-1500:])
    if status is None:
        return End("no end", said[-500:])
    if status == 0:
        return End("done", said[-500:])
    if status != 2:
        return End(f"status {status}", said[-500:])
    return End("refused in one line" if is_one_line(said) else "not one line", said[-500:])


def is_one_line(said: str) -> bool:
    """Return whether the last line, and no other, says an error."""
    are_errors = [line.startswith("error: ") for line in said.rstrip().splitlines()] or [False]
    return are_errors[-1] and are_errors.count(True) == 1


class _NoEndError(BaseException):
    """Not an Exception: nothing of ours or of a library's may catch it."""


@contextmanager
def limit(seconds: int) -> Iterator[None]:
    """Raise _NoEndError in what takes longer, in this process."""

    def rung(_number: int, _frame: object) -> None:
        raise _NoEndError

    before = signal.signal(signal.SIGALRM, rung)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def called(work: Callable[[], str], seconds: int = 20) -> End:
    """Return how a function call ended: what it returns, or a fault."""
    import traceback

    try:
        with limit(seconds):
            return End(work())
    except _NoEndError:
        return End("no end")
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 (this is what is looked for; a panic of Rust's is no Exception)
        return End("traceback", traceback.format_exc()[-1500:])
