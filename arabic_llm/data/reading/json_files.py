"""JSON Lines, JSON arrays and tables, strictly: what JSON forbids or leaves to its reader is broken."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Generator, Iterator
from itertools import islice
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from arabic_llm.data.reading.json_tables import WRAPPED, rows_of
from arabic_llm.data.reading.lines import Line, lines
from arabic_llm.data.reading.records import DEEPEST, Broken, Record, checked, shown
from arabic_llm.errors import DataError

_WHITE = " \t\r\n"  # what JSON calls so
_SPACE = re.compile(f"[{_WHITE}]*")
_LONGEST_ARRAY_BYTES = 2**40  # no bound: an array often stands on one line, and is held whole anyway
_ESCAPED_FLAW = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class Written(float):
    """A number that is said as its file writes it: 3.50 is not 3.5, 0.000001 not 1e-06."""

    def __init__(self, text: object) -> None:
        """Keep the text; its value is float's."""
        self.text = str(text)

    def __str__(self) -> str:
        """Return the text."""
        return self.text


def read_json_lines(path: Path) -> Iterator[Record | Broken]:
    """Yield one object a line; a broken line ends at its own end.

    Where the first line ends within its object, objects of many lines follow each other.
    """
    first = _first_line(path)
    if first is not None and _is_unfinished(first.text):
        yield from _values(path)
        return
    flaws: list[str] = []
    decoder = _strict_decoder(flaws)
    for line in lines(path):
        place = f"{path}:{line.number}"
        text = line.text.rstrip("\r\n")
        if line.wrong:
            yield Broken(place, line.wrong)
        elif _skip(text, 0) < len(text):
            flaws.clear()
            try:
                value, end = _decode(decoder, text, _skip(text, 0))
                if _skip(text, end) < len(text):
                    raise JSONDecodeError("more than one value on a line", text, end)
            except JSONDecodeError as error:
                yield Broken(place, f"broken JSON: {_said(error)} at column {error.colno}")
                continue
            yield _as_record(place, value, flaws, text)


def read_json(path: Path, *, unwrap: bool = False) -> Iterator[Record | Broken]:
    """Yield the objects of an array; a file that holds one object a line is read as JSON Lines.

    An object that holds a table (data/reading/json_tables.py) is read as its rows, where that is asked for.
    What follows a broken element cannot be told apart from it: the first one ends the file.
    """
    first = _first_line(path)
    start = first.text.lstrip(_WHITE)[:1] if first is not None else ""
    if first is None or (start != "[" and not (start == "{" and _is_one_object(path, first))):
        yield from read_json_lines(path)
        return
    text = _whole(path)
    begun = WRAPPED.match(text, _skip(text, 0)) if unwrap else None
    if start == "[" or begun:
        end = yield from _elements(path, text, begun.end() if begun else _expect(path, text, 0, "["))
        if begun:
            _check_rest(path, text, end)
        elif _skip(text, end) != len(text):
            line = _line_at(text, _skip(text, end))
            raise DataError(f"{path}:{line}: broken JSON: text after the array; take it out")
        return
    yield from _values(path, unwrap=unwrap)


def _first_line(path: Path) -> Line | None:
    return next((line for line in lines(path) if line.wrong or line.text.strip(_WHITE)), None)


def _is_unfinished(text: str) -> bool:
    """Return whether a line ends within an object, where pretty-printed JSON breaks its lines."""
    text = text.strip(_WHITE)
    try:
        return text.startswith("{") and not _decode(JSONDecoder(), text, 0)
    except JSONDecodeError as error:
        return error.pos >= len(text)


def _is_one_object(path: Path, first: Line) -> bool:
    """Return whether a file is no JSON Lines: one object, on one line or on many."""
    filled = (line for line in lines(path, _LONGEST_ARRAY_BYTES) if line.text.strip(_WHITE))
    return (
        _is_unfinished(first.text)
        or (first.cut and not first.wrong)
        or sum(1 for _ in islice(filled, 2)) == 1
    )


def _elements(path: Path, text: str, position: int) -> Generator[Record | Broken, None, int]:
    """Yield the elements of an array that is open at a position; return where it is closed."""
    flaws: list[str] = []
    decoder = _strict_decoder(flaws)
    line, counted = 1, 0
    more = not text.startswith("]", _skip(text, position))
    while more:
        start = _skip(text, position)
        line, counted = line + text.count("\n", counted, start), start
        flaws.clear()
        try:
            value, position = _decode(decoder, text, start)
        except JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}: broken JSON: {_said(error)}; mend it") from error
        yield _as_record(f"{path}:{line}", value, flaws, text[start:position])
        more = not text.startswith("]", _skip(text, position))
        if more:
            position = _expect(path, text, position, ",")
    return _expect(path, text, position, "]")


def _check_rest(path: Path, text: str, position: int) -> None:
    """Refuse what cannot stand behind the rows of a wrapper; other names, which nothing reads, can."""
    others = text[position:].lstrip(_WHITE).removeprefix(",")
    try:
        parse("{" + others)
    except JSONDecodeError as error:
        line = _line_at(text, len(text) - len(others)) + error.lineno - 1
        raise DataError(f"{path}:{line}: broken JSON: {_said(error)}; mend it") from error


def _values(path: Path, *, unwrap: bool = False) -> Iterator[Record | Broken]:
    """Yield objects that follow each other on as many lines as they like; of a single one, its rows."""
    text, flaws = _whole(path), list[str]()
    decoder = _strict_decoder(flaws)
    position, line, counted = _skip(text, 0), 1, 0
    while position < len(text):
        flaws.clear()
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, end = _decode(decoder, text, position)
        except JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}: broken JSON: {_said(error)}; mend it") from error
        is_alone = counted == _skip(text, 0) and _skip(text, end) == len(text)
        rows = rows_of(value) if unwrap and is_alone and isinstance(value, dict) and not flaws else None
        for row in [value] if rows is None else rows:
            yield _as_record(f"{path}:{line}", row, flaws, text[position:end])
        position = _skip(text, end)


def parse(text: str) -> Any:
    """Return the value that a text is. Raises JSONDecodeError for what JSON forbids, and for two values."""
    flaws: list[str] = []
    value, end = _decode(_strict_decoder(flaws), text, _skip(text, 0))
    if flaws or _skip(text, end) < len(text):
        raise JSONDecodeError(flaws[0] if flaws else "more than one value", text, end)
    return value


def _strict_decoder(flaws: list[str]) -> JSONDecoder:
    """Return a decoder that notes what JSON does not allow, and goes on to the end of the value."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            repeated = next(key for key, count in Counter(k for k, _ in pairs).items() if count > 1)
            flaws.append(f"a key stands twice: '{shown(repeated)}'")
        return values

    def finite(number: str) -> float:
        value = Written(number)
        if not math.isfinite(value):
            flaws.append(f"no finite number: {shown(number)}")
        return value

    return JSONDecoder(object_pairs_hook=unique, parse_float=finite, parse_constant=finite)


def _decode(decoder: JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    """Return (value, position behind it). Raises JSONDecodeError, whatever the decoder raises."""
    try:
        return decoder.raw_decode(text, start)
    except JSONDecodeError:
        raise
    except RecursionError as error:
        raise JSONDecodeError(f"nested too deep (more than {DEEPEST} levels)", text, start) from error
    except ValueError as error:  # int() takes 4,300 digits
        raise JSONDecodeError("a number of too many digits", text, start) from error


def _as_record(place: str, value: Any, flaws: list[str], source: str) -> Record | Broken:
    if not isinstance(value, dict):
        return Broken(place, f"expected an object with columns, found {type(value).__name__}")
    if flaws:
        return Broken(place, flaws[0])
    # What is not escaped was checked with its line; few rows must be walked through.
    if _ESCAPED_FLAW.search(source) or source.count("[") + source.count("{") > DEEPEST:
        return checked(place, value)
    return Record(place, value)


def _whole(path: Path) -> str:
    """Return a file's text. Raises DataError naming the line that is none."""
    texts = []
    for line in lines(path, _LONGEST_ARRAY_BYTES):
        if line.wrong:
            raise DataError(f"{path}:{line.number}: {line.wrong}")
        texts.append(line.text)
    return "".join(texts)


def _skip(text: str, position: int) -> int:
    """Return the position of the next character that is no white space."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expect(path: Path, text: str, position: int, sign: str) -> int:
    """Return the position behind a sign that must come next."""
    start = _skip(text, position)
    if not text.startswith(sign, start):
        raise DataError(f"{path}:{_line_at(text, start)}: broken JSON: expected '{sign}'; mend it")
    return start + 1


def _line_at(text: str, position: int) -> int:
    return 1 + text.count("\n", 0, position)


def _said(error: json.JSONDecodeError) -> str:
    return error.msg.removesuffix(" at")  # "Invalid control character at"
