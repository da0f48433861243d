"""What a reader yields: a record, or what is broken, each with its place; and what no text may hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any

from arabic_llm.errors import DataError

DEEPEST = 100  # lists in lists; a conversation has three levels, and Python's own walks end before 1,000
_LONGEST_SHOWN = 120  # characters of a file's own words that fit into a message of one line
_MOST_NAMES = 30  # of columns, in one message
# What pandas and Excel write where there is nothing, or a formula failed.
_NOTHING = {
    *("NaN", "nan", "NAN", "<NA>", "NaT", "#N/A"),
    *("#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"),
}
_SMALL, _LARGE = 1e-10, 1e21  # numbers between them are written out
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_NUL = "NUL character: no text holds one"
_HALF = "half a character: a surrogate without its other half"


@dataclass(frozen=True)
class Record:
    """One record of a file: its values by column, and where it stands ("file:line")."""

    place: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Broken:
    """What should have been a record, where it stands, and what is wrong with it."""

    place: str
    reason: str


def told(cell: str) -> str | None:
    """Return what a cell of a table says, or None: pandas and Excel have names for nothing."""
    return None if cell in _NOTHING else cell


def as_text(value: object) -> str | None:
    """Return a value as its file shows it, or None for what is no text: true, a list, bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value) if isfinite(value) else None
    if isinstance(value, datetime):
        is_day = value.time() == time() and value.tzinfo is None
        return value.date().isoformat() if is_day else value.isoformat(" ")
    return value.isoformat() if isinstance(value, date | time) else None


def _number(value: float) -> str:
    """Return a number as it is said; one that its file does not write, without an exponent."""
    said = str(value)
    is_written_out = type(value) is not float or "e" not in said or not _SMALL < abs(value) < _LARGE
    return said if is_written_out else f"{Decimal(said):f}"


def shown(words: object, longest: int = _LONGEST_SHOWN) -> str:
    """Return a file's own words as part of one line: printable, and cut when they are long."""
    text = str(words)
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:longest])
    return f"{line}..." if len(text) > longest else line


def listed(names: Iterable[object]) -> str:
    """Return the names of columns as part of one line."""
    return ", ".join(shown(name) for name in [*names][:_MOST_NAMES])


def checked(place: str, values: dict[str, Any]) -> Record | Broken:
    """Return the record, or what is wrong inside its values."""
    wrong = _wrong_inside(values)
    return Broken(place, wrong) if wrong else Record(place, values)


def refuse_repeated(place: str, names: Iterable[str]) -> None:
    """Raise DataError when two columns have one name; those without a name cannot be asked for."""
    seen = set()
    for name in names:
        if name and name in seen:
            raise DataError(f"{place}: two columns are called '{shown(name)}'; rename one of them")
        seen.add(name)


def not_readable(path: Path, kind: str, error: Exception) -> DataError:
    """Return the one line for a file that its library cannot read."""
    said = shown(error) or type(error).__name__
    return DataError(f"{path}: not {kind} file, or a damaged one ({said}); copy or save it again")


def _wrong_inside(values: dict[str, Any]) -> str:
    """Return what no text may hold, or nothing; level by level, for it may be deep."""
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        for value in level:
            if isinstance(value, str) and (wrong := _NO_TEXT.search(value)):
                return _NUL if wrong[0] == "\0" else _HALF
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return ""
    return f"nested too deep: more than {DEEPEST} levels"


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []
