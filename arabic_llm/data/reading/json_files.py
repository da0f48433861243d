"""JSON Lines and JSON arrays, strictly: what JSON forbids or leaves to its reader is broken."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from arabic_llm.data.reading.lines import lines
from arabic_llm.data.reading.records import DEEPEST, Broken, Record, checked, shown
from arabic_llm.errors import DataError

_SPACE = re.compile(r"[ \t\r\n]*")  # what JSON calls white space
_LONGEST_ARRAY_BYTES = 2**40  # no bound: an array often stands on one line, and is held whole anyway
_ESCAPED_FLAW = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def read_json_lines(path: Path) -> Iterator[Record | Broken]:
    """Yield one object a line; a broken line ends at its own end."""
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


def read_json(path: Path) -> Iterator[Record | Broken]:
    """Yield the objects of an array; a file that holds one object a line is read as JSON Lines.

    What follows a broken element cannot be told apart from it: the first one ends the file.
    """
    first = next((line for line in lines(path) if line.wrong or line.text.strip(" \t\r\n")), None)
    if first is None or not first.text.lstrip(" \t\r\n").startswith("["):
        yield from read_json_lines(path)
        return
    flaws: list[str] = []
    decoder = _strict_decoder(flaws)
    text = _whole(path)
    position = _expect(path, text, 0, "[")
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
    end = _skip(text, _expect(path, text, position, "]"))
    if end != len(text):
        raise DataError(f"{path}:{_line_at(text, end)}: broken JSON: text after the array; take it out")


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
        value = float(number)
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
