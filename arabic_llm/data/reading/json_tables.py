"""Tables as one JSON object: pandas' and datasets' forms, and rows in a wrapper."""

from __future__ import annotations

import re
from typing import Any

_WRAPPERS = ("data", "rows", "examples", "train", "items", "records", "samples", "instances", "dataset")
# A wrapper whose rows come first: they can be read one by one, each with its line.
WRAPPED = re.compile(rf'\{{\s*"(?:{"|".join(_WRAPPERS)})"\s*:\s*\[(?=\s*[{{\]])')
_FEWEST = 2  # columns; of one, a list is a row's own


def rows_of(value: dict[str, Any]) -> list[Any] | None:
    """Return the rows of a table that is one object, or None: it is a row itself.

    The forms are those of DataFrame.to_json with orient columns (its default), index and split, of
    Dataset.to_dict (lists), and rows under a name such as "data".
    """
    if list(value) == ["columns", "index", "data"]:
        return [dict(zip(value["columns"], cells, strict=False)) for cells in value["data"]]
    held = next((value[name] for name in _WRAPPERS if _are_rows(value.get(name))), None)
    return held or _of_columns(value, list(value.values()))


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
