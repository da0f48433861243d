"""Which row of a table names its columns: above it may stand a title, a school's name, a date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arabic_llm.data.reading.column_names import KEYS, spelling

HEAD = 10  # filled rows among which the one with the names is looked for
_LONGEST_NAME = 64  # characters
_MOST_LINES = 5  # of a title


def place(rows: Sequence[Mapping[int, object]], *, is_padded: bool = True) -> int:
    """Return which of the first rows names the columns: the first, but for a title above well-known names.

    Rows hold their filled cells by column. Names that nobody knows stand below a title where a row has
    one cell, the next several short texts, and the one after that is as wide; in a table without cells to
    its right edge (`is_padded`) a row of one cell can be all that there is of a sentence with a comma.
    """
    if not rows or _roles(rows[0]):
        return 0
    roles = [_roles(row) for row in rows[: _MOST_LINES + 1]]
    if (known := next((at for at, found in enumerate(roles) if len(found) > 1), None)) is not None:
        return known
    at = next((at for at, row in enumerate(rows) if len(row) > 1), 0)
    is_title = is_padded and 0 < at <= _MOST_LINES and at + 1 < len(rows)
    return at if is_title and _are_names(rows[at]) and _is_below(rows[at + 1], rows[at]) else 0


def _roles(row: Mapping[int, object]) -> set[str]:
    """Return what the columns of a row would be for: a dictionary's question beside its word is one."""
    texts = {
        spelling(cell) for cell in row.values() if isinstance(cell, str) and len(cell) <= _LONGEST_NAME
    }
    return {role for role, names in KEYS.items() if texts & names}


def _are_names(row: Mapping[int, object]) -> bool:
    texts = [cell for cell in row.values() if isinstance(cell, str) and len(cell) <= _LONGEST_NAME]
    return len({*texts}) == len(row)


def _is_below(row: Mapping[int, object], names: Mapping[int, object]) -> bool:
    return len(row) > 1 and row.keys() <= names.keys()
