"""Tables as one JSON object: pandas' and datasets' forms, and rows in a wrapper."""

from __future__ import annotations

import re
from typing import Any

from arabic_llm.errors import DataError

_WRAPPERS = ("data", "rows", "examples", "train", "items", "records", "samples", "instances", "dataset")
# A wrapper whose rows come first: they can be read one by one, each with its line.
WRAPPED = re.compile(rf'\{{\s*"(?:{"|".join(_WRAPPERS)})"\s*:\s*\[(?=\s*[{{\]])')
_FEWEST = 2  # columns; of one, a list is a row's own


def rows_of(value: dict[str, Any]) -> list[Any] | None:
    """Return the rows of a table that is one object, or None: it is a row itself.

    The forms are those of DataFrame.to_json with orient columns (its default), index and split, of
    Dataset.to_dict (lists), and rows under a name such as "data". Raises DataError for two lists of rows.
    """
    if list(value) == ["columns", "index", "data"] and _is_split(value["columns"], value["data"]):
        return [dict(zip(value["columns"], cells, strict=True)) for cells in value["data"]]
    held = next((name for name in value if name in _WRAPPERS and _are_rows(value[name])), None)
    if held is None:
        return _of_columns(value, list(value.values()))
    for name, other in value.items():
        if name != held and are_rows_too(other, value[held][0]):
            raise second(name)
    rows: list[Any] = value[held]
    return rows


def second(name: str) -> DataError:
    """Return the error of a list of rows beside the one that is read."""
    return DataError(
        f"a second list of rows, '{name}', which would not be read: write it into a file of its own"
        " (data.dev_files, data.test_files)"
    )


def _is_split(columns: Any, rows: Any) -> bool:
    """Return whether these are as orient=split writes them: different names, a cell of each in a row."""
    if not _is_column(columns) or len({*map(str, columns)}) != len(columns) or not isinstance(rows, list):
        return False
    return all(isinstance(cells, list) and len(cells) == len(columns) for cells in rows)


def are_rows_too(value: Any, row: dict[str, Any]) -> bool:
    """Return whether a value is a list of rows like one, and not of authors or features."""
    return _are_rows(value) and any(row.keys() & other.keys() for other in value)


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _of_columns(value: dict[str, Any], columns: list[Any]) -> list[Any] | None:
    if columns and all(isinstance(column, dict) for column in columns):
        if all(name.isdigit() for name in value):
            return columns
        numbers = dict.fromkeys(number for column in columns for number in column)
        if all(number.isdigit() for number in numbers):
            return [{name: value[name].get(number) for name in value} for number in numbers]
    are_lists = len(columns) >= _FEWEST and all(map(_is_column, columns))
    if are_lists and len(set(map(len, columns))) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return None


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(cell, dict | list) for cell in value)
