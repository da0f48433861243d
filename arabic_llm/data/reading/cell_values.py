"""Cells of a workbook as Excel shows them: 50% and 007, TRUE, line ends; and what it hides of rows."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from arabic_llm.data.reading.records import told

if TYPE_CHECKING:
    from openpyxl.cell.read_only import ReadOnlyCell

_WHOLE_NUMBERS = 2**53  # beyond it a float has lost its last digits
_DIGITS = 15  # that Excel keeps of a number
# A format of digits: 000, 0.00, #,##0.0, 0%, 0.00E+00, 0, for thousands. Dates are read as such, others
# as General.
_FORMAT = re.compile(
    r"(?P<grouped>#,##)?#*(?P<whole>0*)(?:\.(?P<places>0+))?(?P<thousands>,*)"
    r"(?:(?P<percent>%)|(?P<power>E\+)0+)?"
)
# Beside them stand "words", \\c, [$currency-language], [Colour], and room as wide as _c or a digit (??).
_BESIDE = re.compile(
    r'"([^"]*)"|\\(.)|\[\$([^\]-]*)[^\]]*\]|\[[A-Za-z]+\d*\]|[_*].|\?\?$|\?\?(?=_)|([$\u20ac\xa3\xa5()+ -])'
)
_SECTION = re.compile(r'((?:"[^"]*"|\\.|[^;"])*);')  # of positive numbers; negative ones; zero; texts
_ZERO = 2
_GROUPS = re.compile(r"[0#]+(?:[-/ ][0#]+)+")  # 000-0000
_IN_GROUPS = re.compile(r"[0#]")
_ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*>")
_FORMULA = rb"<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*"
_NO_VALUE = rb"(?:<(?:\w+:)?v\s*(?:/>|></(?:\w+:)?v>)\s*)?"
_OF_A_ROW = re.compile(
    _ROW.pattern + rb"|<(?:\w+:)?c\b[^>]*>\s*" + _FORMULA + _NO_VALUE + rb"</(?:\w+:)?c>"
)
_PLACE = re.compile(rb'\sr="([A-Z]{1,3})(\d+)"')
_IS_TEXT = re.compile(rb'\st="str"')
_NUMBER = re.compile(rb'\sr="(\d+)"')
_HIDDEN = re.compile(rb'\s(?:hidden="(?:1|true)"|ht="0(?:\.0*)?")')
_CHUNK_BYTES, _LONGEST_ROW = 2**20, 2**23


def shown_value(cell: ReadOnlyCell) -> Any:
    """Return what a cell says."""
    value = cell.value
    if isinstance(value, str):
        from openpyxl.utils.escape import unescape

        return told(unescape(value))  # XML cannot hold a carriage return: it is written _x000D_
    if isinstance(value, bool):
        return str(value).upper()
    return _number(value, str(cell.number_format)) if isinstance(value, int | float) else value


@dataclass
class SheetMarks:
    """What openpyxl does not tell of a sheet's rows, by their numbers."""

    hidden: set[int] = field(default_factory=set)  # by a filter or a user
    unvalued: dict[int, set[int]] = field(
        default_factory=dict
    )  # columns, from 0, whose formula has no value


def sheet_marks(path: Path, member: str) -> SheetMarks:
    """Return which rows of a sheet are hidden, and which cells hold a formula without its value."""
    marks, number = SheetMarks(), 0
    with ZipFile(path) as archive, archive.open(member.lstrip("/")) as sheet:
        for tag in _tags(iter(lambda: sheet.read(_CHUNK_BYTES), b"")):
            if _ROW.match(tag):
                given = _NUMBER.search(tag)
                number = int(given[1]) if given else number + 1
                if _HIDDEN.search(tag):
                    marks.hidden.add(number)
            elif (cell := _PLACE.search(tag)) and not _IS_TEXT.search(tag):  # a text may well be empty
                marks.unvalued.setdefault(int(cell[2]), set()).add(_column(cell[1]))
    return marks


def _column(letters: bytes) -> int:
    """Return the place of a column from 0: A is 0, AA is 26."""
    return functools.reduce(lambda place, letter: 26 * place + letter - ord("A") + 1, letters, 0) - 1


def _tags(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the tags of rows, and the cells that hold a formula alone; none is cut where chunks meet."""
    rest = b""
    for chunk in chunks:
        text = rest + chunk
        whole, last, _ = text.rpartition(b"row>")
        end = len(whole + last)
        if not last and len(text) > _LONGEST_ROW:
            end = text.rfind(b"<")
        yield from (found[0] for found in _OF_A_ROW.finditer(text, 0, end))
        rest = text[end:]
    yield from (found[0] for found in _OF_A_ROW.finditer(rest))


def _number(value: float, number_format: str) -> Any:
    """Return a number as its format shows it; General has one kind of number, and shows 7.0 as 7."""
    sections = _SECTION.findall(f"{number_format};")
    has_own = (value < 0 and len(sections) > 1) or (value == 0 and len(sections) > _ZERO)
    section = sections[(1 if value < 0 else _ZERO) if has_own else 0]
    before, at = _beside(section, 0)
    if at == len(section) and len(sections) > 1:  # words alone, or nothing
        return before.strip() or None
    if _GROUPS.fullmatch(section) and value == int(value):
        return "-" * (value < 0) + _grouped(section, abs(int(value)))
    found = _FORMAT.match(section, at)
    if found and (found["whole"] or found["places"]):
        behind, end = _beside(section, found.end())
        if end == len(section):
            shown = _formatted(abs(value), found.groupdict(""))
            sign = "-" if value < 0 and not has_own and shown.strip("0.,%") else ""
            return sign + f"{before}{shown}{behind}".strip()
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_NUMBERS:
        return int(value)
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _grouped(section: str, value: int) -> str:
    """Return a number whose digits stand in the places of a format, what is too long before them."""
    places = len(_IN_GROUPS.findall(section))
    digits = str(value).zfill(places)
    rest = iter(digits[len(digits) - places :])
    return digits[: len(digits) - places] + _IN_GROUPS.sub(lambda _: next(rest), section)


def _beside(section: str, at: int) -> tuple[str, int]:
    """Return what is written beside the digits of a format, from a place on, and where it ends."""
    said = ""
    while found := _BESIDE.match(section, at):
        said, at = said + "".join(filter(None, found.groups())), found.end()
    return said, at


def _formatted(value: float, form: dict[str, str]) -> str:
    exact = Decimal(f"{value:.{_DIGITS}g}" if isinstance(value, float) else value)
    exact = exact.scaleb(-3 * len(form["thousands"]))
    places = len(form["places"])
    if form["power"]:
        return f"{float(exact):.{places}E}"  # Decimal's own writes E-3
    shown = (100 * exact if form["percent"] else exact).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    before, point, after = f"{shown:{',' if form['grouped'] else ''}f}".partition(".")
    return f"{before.zfill(len(form['whole']))}{point}{after}{form['percent']}"
