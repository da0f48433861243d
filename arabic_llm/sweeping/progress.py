"""How far a job is, by the last line of its metrics.jsonl."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TAIL = 1 << 13  # bytes, in which a whole line of a step stands
_METRICS = "training/metrics.jsonl"


@dataclass(frozen=True)
class Progress:
    """The last step of a job that its metrics tell, and the loss then."""

    step: int = 0
    loss: float | None = None


def of(folder: Path) -> Progress:
    """Return how far the job of a folder is; of a study in stages, how far its newest stage is."""
    try:
        newest = max(
            [*folder.glob(_METRICS), *folder.glob(f"*/{_METRICS}")], key=lambda path: path.stat().st_mtime
        )
        with newest.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().split(b"\n")
    except (OSError, ValueError):  # there is none yet, or it was just set aside
        return Progress()
    for line in reversed(lines):
        if b'"loss"' in line and line.startswith(b"{") and line.endswith(b"}"):
            with suppress(ValueError, LookupError, TypeError):  # damaged; the job itself says so
                told = json.loads(line)
                return Progress(int(told["step"]), float(told["loss"]))
    return Progress()
