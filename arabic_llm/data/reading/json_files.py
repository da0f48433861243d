"""JSON Lines, JSON arrays and tables, strictly: what JSON forbids or leaves to its reader is broken."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from arabic_llm.data.reading.json_stream import Stream
from arabic_llm.data.reading.json_tables import WRAPPED, are_rows_too, rows_of, second
from arabic_llm.data.reading.json_values import (
    MOST_VALUES,
    WHITE,
    decode,
    holds_too_many,
    is_suspect,
    may_hold_too_many,
    said_of,
    skip,
    strict_decoder,
)
from arabic_llm.data.reading.lines import lines
from arabic_llm.data.reading.records import Broken, Record, checked
from arabic_llm.errors import DataError


def read_json_lines(path: Path) -> Iterator[Record | Broken]:
    """Yield one object a line; a broken line ends at its own end.

    Where the first line ends within its object, objects of many lines follow each other.
    """
    if _is_unfinished(_first_text(path)[0]):
        yield from _values(Stream(path))
        return
    flaws: list[str] = []
    decoder = strict_decoder(flaws)
    for number, text, wrong, _ in lines(path):  # names, and no line: it would hold its text beside ours
        place = f"{path}:{number}"
        # Of a file that was joined behind another, the first line begins with its mark.
        text = text.rstrip("\r\n").removeprefix("\ufeff")  # noqa: PLW2901 (or both would be held)
        if wrong:
            yield Broken(place, wrong)
        elif skip(text, 0) < len(text):
            if may_hold_too_many(text) and holds_too_many(text):
                yield Broken(place, f"more than {MOST_VALUES:,} values on one line")
                continue
            flaws.clear()
            try:
                value, end = decode(decoder, text, skip(text, 0))
                if skip(text, end) < len(text):
                    raise JSONDecodeError("more than one value on a line", text, end)
            except JSONDecodeError as error:
                yield Broken(place, f"broken JSON: {said_of(error)} at column {error.colno}")
                continue
            yield _as_record(place, value, flaws, is_suspect=is_suspect(text))


def read_json(path: Path, *, unwrap: bool = False) -> Iterator[Record | Broken]:
    """Yield the objects of an array; a file that holds one object a line is read as JSON Lines.

    An object that holds a table (data/reading/json_tables.py) is read as its rows, where that is asked for.
    What follows a broken element cannot be told apart from it: the first one ends the file.
    """
    start = _first_text(path)[0][:1]
    if start != "[" and not (start == "{" and _is_one_object(path)):
        yield from read_json_lines(path)
        return
    stream = Stream(path)
    stream.has_more()
    if start == "[":
        stream.expect("[")
        yield from _elements(stream)
        if stream.has_more():
            raise DataError(f"{stream.place}: broken JSON: text after the array; take it out")
    elif unwrap and (begun := WRAPPED.match(stream.text, stream.at)):
        stream.at = begun.end()
        first: Record | None = None
        for element in _elements(stream):
            first = first or (element if isinstance(element, Record) else None)
            yield element
        _check_rest(stream, first.values if first else {})
    else:
        yield from _values(stream, unwrap=unwrap)


def _first_text(path: Path) -> tuple[str, bool]:
    """Return the first line that is not empty, without white space around it, and whether it was cut."""
    for _, text, wrong, cut in lines(path):
        text = text.strip(WHITE)  # noqa: PLW2901 (or both would be held)
        if text or wrong:
            return text, cut
    return "", False


def _is_unfinished(text: str) -> bool:
    """Return whether a line ends within an object, where pretty-printed JSON breaks its lines."""
    if may_hold_too_many(text) and holds_too_many(text):
        return False
    try:
        return text.startswith("{") and not decode(JSONDecoder(), text, 0)
    except JSONDecodeError as error:
        return error.pos >= len(text)


def _is_one_object(path: Path) -> bool:
    """Return whether a file is no JSON Lines: one object, on one line or on many."""
    text, is_cut = _first_text(path)
    filled = (True for line in lines(path) if line.text.strip(WHITE))
    return (not is_cut and _is_unfinished(text)) or sum(islice(filled, 2)) == 1


def _elements(stream: Stream) -> Iterator[Record | Broken]:
    """Yield the elements of an array that is open, up to where it is closed."""
    flaws: list[str] = []
    more = not stream.takes("]")
    while more:
        stream.has_more()
        place = stream.place
        value = stream.value(flaws)
        yield _as_record(place, value, flaws, is_suspect=stream.is_suspect)
        more = not stream.takes("]")
        if more:
            stream.expect(",")


def _check_rest(stream: Stream, row: dict[str, Any]) -> None:
    """Refuse what cannot stand behind the rows of a wrapper, rows like them too; other names can."""
    flaws: list[str] = []
    while stream.takes(","):
        stream.has_more()
        place = stream.place
        name = stream.value(flaws)
        if not isinstance(name, str):
            raise DataError(f"{place}: broken JSON: expected a name; mend it")
        stream.expect(":")
        if are_rows_too(stream.value(flaws), row):
            raise DataError(f"{place}: {second(name)}")
        if flaws:
            raise DataError(f"{place}: broken JSON: {flaws[0]}; mend it")
    stream.expect("}")
    if stream.has_more():
        raise DataError(f"{stream.place}: broken JSON: more than one value; mend it")


def _values(stream: Stream, *, unwrap: bool = False) -> Iterator[Record | Broken]:
    """Yield objects that follow each other on as many lines as they like; of a single one, its rows."""
    flaws: list[str] = []
    is_first = True
    while stream.has_more():
        place = stream.place
        value = stream.value(flaws, is_table=unwrap and is_first)
        is_suspect = stream.is_suspect
        is_alone = is_first and not stream.has_more()
        is_table = unwrap and is_alone and isinstance(value, dict) and not flaws
        try:
            rows = rows_of(value) if is_table else None
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
        for row in [value] if rows is None else rows:
            yield _as_record(place, row, flaws, is_suspect=is_suspect)
        is_first = False


def _as_record(place: str, value: Any, flaws: list[str], *, is_suspect: bool) -> Record | Broken:
    if not isinstance(value, dict):
        return Broken(place, f"expected an object with columns, found {type(value).__name__}")
    if flaws:
        return Broken(place, flaws[0])
    return checked(place, value) if is_suspect else Record(place, value)
