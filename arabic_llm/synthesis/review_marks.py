"""Marks that a person has set on the page of rows: which are drawn for it, and what was said of them."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from pathlib import Path

from arabic_llm import files
from arabic_llm.errors import DamagedError, DataError

KEEP, DROP = "keep", "drop"


def drawn(ids: Iterable[str], number: int, seed: int) -> set[str]:
    """Return so many of the ids, drawn by their hash: other rows around them change nothing."""

    def place(name: str) -> bytes:
        return hashlib.sha256(f"review/{seed}/{name}".encode()).digest()

    return set(heapq.nsmallest(number, ids, key=place))


def read(path: Path) -> dict[str, str]:
    """Return row -> keep or drop, as the page has saved them. Raises DataError for anything else."""
    try:
        said = files.read_json(path)
    except DamagedError as error:
        raise DataError(f"{path}: no file of marks ({error}); save it from the page again") from error
    marks = said.get("marks") if isinstance(said, dict) else None
    if not isinstance(marks, dict):
        raise DataError(f"{path}: no file of marks: it lacks 'marks'; save it from the page again")
    for row, mark in marks.items():
        if mark not in (KEEP, DROP):
            raise DataError(f"{path}: {row} is marked '{mark}'; a mark is {KEEP} or {DROP}")
    return marks


def dropped(path: Path) -> set[str]:
    """Return the rows that a person dropped."""
    return {row for row, mark in read(path).items() if mark == DROP}
