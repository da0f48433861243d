"""Strict readers: JSON Lines, JSON arrays, CSV, TSV, Parquet; every record comes with its file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm.errors import DataError

_LARGEST_CELL = 2**31 - 1  # characters; csv's own limit of 128 Ki is a page of a book


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


def read(path: Path) -> Iterator[Record | Broken]:
    """Yield the records of a file in order, and in their place what is broken.

    Raises DataError when the file is missing, of a kind we do not read, or not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: cannot read '{path.suffix}' files; there are: {', '.join(READERS)}")
    yield from reader(path)


def is_data(path: Path) -> bool:
    """Return whether a file is of a kind that can be read."""
    return path.suffix.lower() in READERS


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded lines with their ends. Raises DataError naming the line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} at column {error.start + 1}"
                raise DataError(
                    f"{path}:{number}: not UTF-8 ({byte}); save the file as UTF-8, or convert it"
                    f" with iconv -f WINDOWS-1256 -t UTF-8"
                ) from error
            yield text.removeprefix("\ufeff") if number == 1 else text


def _read_json_lines(path: Path) -> Iterator[Record | Broken]:
    for number, line in enumerate(_lines(path), 1):
        place = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line.rstrip("\r\n"))
        except json.JSONDecodeError as error:
            yield Broken(place, f"broken JSON: {error.msg} at column {error.colno}")
            continue
        yield _as_record(place, value, line)


def _read_json(path: Path) -> Iterator[Record | Broken]:
    """Read an array of objects; a file that holds one object a line is read as JSON Lines.

    What follows a broken element cannot be told apart from it: the first one ends the file.
    """
    text = "".join(_lines(path))
    if not text.lstrip().startswith("["):
        yield from _read_json_lines(path)
        return
    decoder = json.JSONDecoder()
    position = _expect(path, text, 0, "[")
    line, counted = 1, 0
    more = _next_sign(text, position) != "]"
    while more:
        start = _skip(text, position)
        line, counted = line + text.count("\n", counted, start), start
        try:
            value, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}: broken JSON: {error.msg}") from error
        yield _as_record(f"{path}:{line}", value, text[start:position])
        more = _next_sign(text, position) != "]"
        if more:
            position = _expect(path, text, position, ",")
    end = _skip(text, _expect(path, text, position, "]"))
    if end != len(text):
        raise DataError(f"{path}:{1 + text.count(chr(10), 0, end)}: broken JSON: text after the array")


def _next_sign(text: str, position: int) -> str:
    """Return the next character that is no white space, or nothing at the end."""
    start = _skip(text, position)
    return text[start : start + 1]


def _skip(text: str, position: int) -> int:
    """Return the position of the next character that is no white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _expect(path: Path, text: str, position: int, sign: str) -> int:
    """Return the position behind a sign that must come next."""
    start = _skip(text, position)
    if _next_sign(text, start) != sign:
        line = 1 + text.count("\n", 0, start)
        raise DataError(f"{path}:{line}: broken JSON: expected '{sign}'")
    return start + 1


def _as_record(place: str, value: Any, source: str) -> Record | Broken:
    if not isinstance(value, dict):
        return Broken(place, f"expected an object with columns, found {type(value).__name__}")
    if "\\ud" in source.lower() and _has_half_characters(value):
        return Broken(place, "half a character: a surrogate without its other half")
    return Record(place, value)


def _has_half_characters(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _read_table(path: Path, delimiter: str) -> Iterator[Record | Broken]:
    csv.field_size_limit(_LARGEST_CELL)
    rows = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        start = rows.line_num + 1
        for cells in rows:
            place = f"{path}:{start}"
            start = rows.line_num + 1
            if len(cells) == len(header):
                yield Record(place, dict(zip(header, cells, strict=True)))
            elif cells:
                yield Broken(place, f"{len(cells)} cells, but the header has {len(header)}")
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: broken table: {error}") from error


def _read_parquet(path: Path) -> Iterator[Record | Broken]:
    from pyarrow import ArrowInvalid, parquet  # half a second, and few files are Parquet

    try:
        file = parquet.ParquetFile(path)
    except ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error
    number = 0
    for batch in file.iter_batches():
        for values in batch.to_pylist():
            number += 1
            yield Record(f"{path}:{number}", values)


READERS: dict[str, Callable[[Path], Iterator[Record | Broken]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": lambda path: _read_table(path, ","),
    ".tsv": lambda path: _read_table(path, "\t"),
    ".parquet": _read_parquet,
}
