"""Cells of a workbook as Excel shows them: 50% and 007, TRUE, line ends; and the rows that it hides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from arabic_llm.data.reading.records import told

if TYPE_CHECKING:
    from openpyxl.cell.read_only import ReadOnlyCell

_WHOLE_NUMBERS = 2**53  # beyond it a float has lost its last digits
_DIGITS = 15  # that Excel keeps of a number
# A format of digits alone: 000, 0.00, #,##0.0, 0%. Dates are read as such, others as General.
_FORMAT = re.compile(r"(?P<grouped>#,##)?#*(?P<whole>0*)(?:\.(?P<places>0+))?(?P<percent>%)?")
_ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*>")
_NUMBER, _HIDDEN = re.compile(rb'\sr="(\d+)"'), re.compile(rb'\shidden="(?:1|true)"')
_CHUNK_BYTES = 2**20


def shown_value(cell: ReadOnlyCell) -> Any:
    """Return what a cell says."""
    value = cell.value
    if isinstance(value, str):
        from openpyxl.utils.escape import unescape

        return told(unescape(value))  # XML cannot hold a carriage return: it is written _x000D_
    if isinstance(value, bool):
        return str(value).upper()
    return _number(value, str(cell.number_format)) if isinstance(value, int | float) else value


def hidden_rows(path: Path, member: str) -> set[int]:
    """Return the numbers of the rows of a sheet that a filter or a user hides."""
    hidden, number = set(), 0
    with ZipFile(path) as archive, archive.open(member.lstrip("/")) as sheet:
        for tag in _row_tags(iter(lambda: sheet.read(_CHUNK_BYTES), b"")):
            given = _NUMBER.search(tag)
            number = int(given[1]) if given else number + 1
            if _HIDDEN.search(tag):
                hidden.add(number)
    return hidden


def _row_tags(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        yield from _ROW.findall(text)
        rest = text[text.rfind(b"<") :] if text.rfind(b"<") > text.rfind(b">") else b""


def _number(value: float, number_format: str) -> Any:
    """Return a number as its format shows it; General has one kind of number, and shows 7.0 as 7."""
    found = _FORMAT.fullmatch(number_format.partition(";")[0])
    if found and (found["whole"] or found["places"]):
        return _formatted(value, **found.groupdict(""))
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_NUMBERS:
        return int(value)
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _formatted(value: float, grouped: str, whole: str, places: str, percent: str) -> str:
    exact = Decimal(f"{value:.{_DIGITS}g}" if isinstance(value, float) else value)
    shown = (100 * exact if percent else exact).quantize(Decimal(1).scaleb(-len(places)), ROUND_HALF_UP)
    before, point, after = f"{abs(shown):{',' if grouped else ''}f}".partition(".")
    return f"{'-' if shown < 0 else ''}{before.zfill(len(whole))}{point}{after}{percent}"
