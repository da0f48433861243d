"""Checkpoints that are whole or absent: sealed last, found by their seal, torn ones set aside."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from arabic_llm import files

log = logging.getLogger(__name__)
_PREFIX = "checkpoint-"
_TORN = "torn-"


def newest_whole(directory: Path) -> Path | None:
    """Return the newest checkpoint whose seal holds, after moving newer torn ones aside."""
    for path in sorted(directory.glob(f"{_PREFIX}*"), key=step_of, reverse=True):
        if files.is_whole(path):
            return path
        aside = path.with_name(f"{_TORN}{path.name}")
        if aside.exists():
            shutil.rmtree(aside)
        path.rename(aside)
        log.info("%s was not written to its end; set aside as %s", path.name, aside.name)
    return None


def step_of(checkpoint: Path) -> int:
    """Return the optimiser step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def commit(checkpoint: Path, keep: int, best: str | None) -> None:
    """Seal a checkpoint; only then remove older ones, but for `keep` of them and the best."""
    files.seal(checkpoint)
    kept = {checkpoint.name, Path(best).name if best else ""}
    older = sorted(checkpoint.parent.glob(f"{_PREFIX}*"), key=step_of, reverse=True)
    kept |= {path.name for path in older[:keep]}
    for path in older:
        if path.name not in kept:
            (path / files.SEAL).unlink(missing_ok=True)  # a half-removed folder is torn, not whole
            shutil.rmtree(path)
