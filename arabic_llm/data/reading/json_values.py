"""Values of JSON, decoded strictly: what JSON forbids, or leaves to its reader, is noted or refused."""

from __future__ import annotations

import math
import re
from collections import Counter
from json import JSONDecodeError, JSONDecoder
from typing import Any

from arabic_llm.data.reading.records import DEEPEST, shown

WHITE = " \t\r\n"  # what JSON calls so
# Each takes some hundred bytes, however short it is written. A book of a million words is one value.
MOST_VALUES = 2**20
_SPACE = re.compile(f"[{WHITE}]*")
_ESCAPED_FLAW = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_OPENING, _SIGNS = "[{", ",[{"
# A text (to the end, where nothing ends it) or a sign; possessive, for what is scanned may be large.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)


class Written(float):
    """A number that is said as its file writes it: 3.50 is not 3.5, 0.000001 not 1e-06."""

    __slots__ = ("text",)  # or each would hold a dictionary

    def __init__(self, text: object) -> None:
        """Keep the text; its value is float's."""
        self.text = str(text)

    def __str__(self) -> str:
        """Return the text."""
        return self.text


def parse(text: str) -> Any:
    """Return the value that a text is. Raises JSONDecodeError for what JSON forbids, and for two values."""
    flaws: list[str] = []
    value, end = decode(strict_decoder(flaws), text, skip(text, 0))
    if flaws or skip(text, end) < len(text):
        raise JSONDecodeError(flaws[0] if flaws else "more than one value", text, end)
    return value


def strict_decoder(flaws: list[str]) -> JSONDecoder:
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


def decode(decoder: JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    """Return (value, position behind it). Raises JSONDecodeError, whatever the decoder raises."""
    try:
        return decoder.raw_decode(text, start)
    except JSONDecodeError:
        raise
    except RecursionError as error:
        raise JSONDecodeError(f"nested too deep (more than {DEEPEST} levels)", text, start) from error
    except ValueError as error:  # int() takes 4,300 digits
        raise JSONDecodeError("a number of too many digits", text, start) from error


def skip(text: str, position: int) -> int:
    """Return the position of the next character that is no white space."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def is_suspect(text: str, start: int = 0, end: int | None = None) -> bool:
    """Return whether what is written may hold what no text holds, or be deep: its values must be looked at.

    What is not escaped was looked at with its line; few rows must be walked through.
    """
    end = len(text) if end is None else end
    is_deep = text.count("[", start, end) + text.count("{", start, end) > DEEPEST
    return is_deep or _ESCAPED_FLAW.search(text, start, end) is not None


def may_hold_too_many(text: str) -> bool:
    """Return whether a text is so long, and has so many signs, that its values must be counted."""
    return len(text) > MOST_VALUES and sum(map(text.count, _SIGNS)) > MOST_VALUES


def holds_too_many(text: str, start: int = 0, most: int = MOST_VALUES) -> bool:
    """Return whether the value that begins at a position has more values in it than a row may have."""
    depth = found = 0
    for token in _TOKEN.finditer(text, start):
        sign = token[0]
        if sign in _SIGNS:
            found += 1
            depth += sign in _OPENING
            if found > most:
                return True
        elif sign in "]}":
            depth -= 1
            if depth <= 0:
                return False
    return False


def said_of(error: JSONDecodeError) -> str:
    """Return what is wrong in a few words."""
    return error.msg.removesuffix(" at")  # "Invalid control character at"
