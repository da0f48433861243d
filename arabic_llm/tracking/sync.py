"""`make sync`: upload the offline W&B runs that are done and have not been uploaded; again does no harm."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from arabic_llm.errors import ConfigError, HardwareError
from arabic_llm.tracking import account

FOLDERS = ("outputs", "multirun")
_SENT = ".wandb.synced"  # what W&B leaves beside a run's file once all of it has arrived
_LOCK = ".lock"  # of a run's directory, as rundir.py holds it


def sync(typed: Sequence[str]) -> str:
    """Upload what lies in these folders, and return what was done in a line.

    A run whose process lives is left for the next time: of half a run the rest would never be sent.
    Raises ConfigError for a folder that is not there, HardwareError without login or network, and for
    runs that did not arrive: typed again, those are sent.
    """
    if missing := [name for name in typed if not Path(name).is_dir()]:
        raise ConfigError(f"make sync: {', '.join(missing)} is no folder; name one with runs in it")
    found = list(dict.fromkeys(file for name in typed or FOLDERS for file in _runs(Path(name))))
    unsent = [file for file in found if not _is_sent(file)]
    running = [file for file in unsent if _is_running(file)]
    ready = [file for file in unsent if file not in running]
    if ready:
        account.require("make sync")
    for file in ready:  # each where it lies: it names the files of its report as seen from there
        subprocess.run([sys.executable, "-m", "wandb", "sync", file.name], cwd=file.parent, check=False)
    if failed := [file for file in ready if not _is_sent(file)]:
        raise HardwareError(
            f"make sync: {len(failed)} of {len(ready)} runs did not arrive, the first {failed[0]};"
            " W&B's own lines above say why, and the same command sends them"
        )
    parts = [f"{len(ready)} uploaded", f"{len(found) - len(unsent)} were before"]
    return f"{len(found)} W&B runs: {', '.join(parts)}" + (f", {len(running)} not done" if running else "")


def _runs(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder's offline runs, those of one run in their order."""
    yield from sorted(folder.rglob("wandb/offline-run-*/run-*.wandb"))


def _is_sent(file: Path) -> bool:
    """Return whether W&B says that it has the run."""
    return file.with_suffix(_SENT).exists()


def _is_running(file: Path) -> bool:
    """Return whether a live process holds the directory of the run."""
    lock = file.parents[2] / _LOCK
    if not lock.is_file():
        return False
    with lock.open() as held:
        try:
            fcntl.flock(held.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    account.main(sync)
