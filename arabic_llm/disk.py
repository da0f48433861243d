"""Room on the disk: how much there is, what an error says of it, and that a run needs no more."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arabic_llm.config.hw import MIB
from arabic_llm.errors import HardwareError

_LIMITS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "it would be larger than files may be",
}
_OF_TORCH = ("PytorchStreamWriter", "unexpected pos")  # its zip writer keeps no number


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Turn the ways in which libraries say that the disk is full into one line.

    Raises HardwareError; what was being written to `path` is removed, what was whole before stays.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if (what := _limit(error)) is None:
            raise
        shutil.rmtree(path, ignore_errors=True)
        raise HardwareError(
            f"no room on the disk for {path} ({what}, {_free(path.parent)}); the last checkpoint is whole."
            " Make room, or give another hydra.run.dir, and type the same command again"
        ) from error


def refuse_short(folder: Path, needed: float, largest: float, what: str, less: str) -> None:
    """Refuse a run that would write more bytes than there is room for, in all or in its largest file.

    `less` says what would write less.
    Raises HardwareError.
    """
    free, allowed = shutil.disk_usage(_there(folder)).free, largest_file()
    if needed > free:
        raise HardwareError(
            f"{what} take {needed / MIB:,.0f} MiB, and the disk of {folder} has {free / MIB:,.0f} MiB"
            " free. Make room, give another hydra.run.dir, or keep fewer: task.save_total_limit=1"
        )
    if allowed is not None and largest > allowed:
        raise HardwareError(
            f"{what} have a file of {largest / MIB:,.1f} MiB, and here a file may have"
            f" {allowed / MIB:,.1f}. Raise that (ulimit -f unlimited), or {less}"
        )


def no_room(error: BaseException) -> str | None:
    """Return what to say of an error that a full disk, a quota or a limit on files made; else None."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    for cause in causes:
        if (what := _limit(cause)) is not None:
            place = getattr(cause, "filename", None)
            return (
                f"{place or 'a file'} could not be written: {what} ({_free(Path(place or '.').parent)})."
                " Make room, raise the limit (ulimit -f unlimited), or let hydra.run.dir and cache_dir be"
                " elsewhere, and type the same command again"
            )
    return None


def largest_file() -> int | None:
    """Return the bytes that a file of this process may have (ulimit -f), or None without a limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def _limit(error: BaseException) -> str | None:
    """Return which limit on files an error speaks of, or None."""
    if isinstance(error, OSError) and error.errno is not None:
        return _LIMITS.get(error.errno)
    said = str(error)
    for number, what in _LIMITS.items():  # as safetensors and tokenizers say it, and Arrow
        if f"os error {number})" in said or f"[errno {number}]" in said or os.strerror(number) in said:
            return what
    is_torchs = isinstance(error, RuntimeError) and any(sign in said for sign in _OF_TORCH)
    return "the disk is full, or it would be larger than files may be" if is_torchs else None


def _free(folder: Path) -> str:
    """Return what is free on a folder's disk, and the limit on the size of a file where there is one."""
    said = f"{shutil.disk_usage(_there(folder)).free / MIB:,.0f} MiB free"
    limit = largest_file()
    return said if limit is None else f"{said}, {limit / MIB:,.1f} MiB a file (ulimit -f)"


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
