"""Checkpoints that are whole or absent: sealed last, found by their seal, torn ones set aside."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.errors import CheckpointError, DamagedError

log = logging.getLogger(__name__)
_PREFIX = "checkpoint-"
_TORN = "torn-"
# What is written beside the checkpoints while training goes on; each holds it as it then was.
METRICS = "metrics.jsonl"
HELD_OUT = "held_out.json"  # the loss of each held-out text before the first step


def newest_whole(directory: Path) -> Path | None:
    """Return the newest checkpoint whose seal holds, after moving newer torn ones aside."""
    for path in _all(directory):
        if files.is_whole(path):
            return path
        aside = path.with_name(f"{_TORN}{path.name}")
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
        path.rename(aside)
        log.info("%s was not written to its end; set aside as %s", path.name, aside.name)
    return None


def restore(checkpoint: Path) -> None:
    """Leave beside a whole checkpoint what was there when it was written; say what was damaged since."""
    for name in (METRICS, HELD_OUT):
        beside = checkpoint.with_name(name)
        if not (checkpoint / name).is_file():  # of an earlier version
            continue
        then = (checkpoint / name).read_bytes()
        now = beside.read_bytes() if beside.is_file() else b""
        if not now.startswith(then):
            log.info("%s is damaged; taken from %s", beside, checkpoint.name)
        if now != then:
            files.write_bytes(beside, then)


def metrics(directory: Path) -> list[Any]:
    """Return the lines of metrics.jsonl. Raises CheckpointError when they are gone for good."""
    try:
        return files.read_json_lines(directory / METRICS)
    except (DamagedError, FileNotFoundError) as error:
        raise CheckpointError(
            f"{directory / METRICS} is gone or damaged, and no checkpoint beside it holds a copy;"
            " resume=false begins anew"
        ) from error


def _all(directory: Path) -> list[Path]:
    """Return what is named as a checkpoint, the newest first."""
    named = [p for p in directory.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdecimal()]
    return sorted(named, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def commit(checkpoint: Path, keep: int, best: str | None) -> None:
    """Seal a checkpoint; only then remove older ones, but for `keep` of them and the best."""
    for name in (METRICS, HELD_OUT):
        if (beside := checkpoint.with_name(name)).is_file():
            files.write_bytes(checkpoint / name, beside.read_bytes())
    files.seal(checkpoint)
    kept = {checkpoint.name, Path(best).name if best else ""}
    older = _all(checkpoint.parent)
    kept |= {path.name for path in older[:keep]}
    for path in older:
        if path.name not in kept and path.is_dir():
            if not files.is_in_the_way(path / files.SEAL):
                (path / files.SEAL).unlink(missing_ok=True)  # a half-removed folder is torn, not whole
            shutil.rmtree(path)
