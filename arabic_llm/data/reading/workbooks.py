"""Excel workbooks (.xlsx): the first shown sheet, its header below titles; places are row numbers."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from arabic_llm.data.reading import headings
from arabic_llm.data.reading.cell_values import sheet_marks, shown_value
from arabic_llm.data.reading.column_names import SECOND_HEADER, is_header, spelling
from arabic_llm.data.reading.lines import most_unpacked
from arabic_llm.data.reading.records import Broken, Record, checked, not_readable, refuse_repeated, shown
from arabic_llm.errors import DataError

if TYPE_CHECKING:
    from openpyxl.cell.read_only import ReadOnlyCell
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

    _Cells = tuple[int, dict[int, ReadOnlyCell]]  # of a row: its number, and by column what holds something

log = logging.getLogger(__name__)

_MOST_ROWS = 2**20  # of a sheet, says Excel; a damaged row number must not be counted up to
_CHUNK_BYTES = 2**20
# A million texts, each two elements that begin and end; an element takes a hundred bytes in memory.
_MOST_ELEMENTS, _BYTES_AN_ELEMENT = 2**21, 32
_LARGEST_BYTES = 2**31  # unpacked: 2 KiB for each of the most rows; more is damage, or a zip bomb
# zipfile and openpyxl have no common error; these are what damaged bytes raise in them.
_DAMAGE = (
    *(BadZipFile, zlib.error, EOFError, OSError, SyntaxError),  # SyntaxError: XML, of both parsers
    *(LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError),
)


def read_workbook(path: Path) -> Iterator[Record | Broken]:
    """Yield the rows of a sheet below its header; columns without a name in the header are not read.

    Raises DataError for a file that is no workbook, or a damaged one.
    """
    names, rows = _table(path)
    spelled = list(map(spelling, names.values()))
    for number, cells in rows:
        place = f"{path}:{number}"
        if wrong := _wrong_formula(names, cells):
            yield Broken(place, wrong)
        else:
            values = {names[c]: shown_value(cells[c]) if c in cells else None for c in names}
            said = [str("" if value is None else value) for value in values.values()]
            if not any(map(str.strip, said)):
                continue
            if not is_header(said, spelled):
                yield checked(place, values)
            elif (
                list(map(spelling, said)) != spelled
            ):  # the same again, where tables were joined, is no row
                yield Broken(place, SECOND_HEADER)


def _wrong_formula(names: dict[int, str], cells: dict[int, ReadOnlyCell]) -> str:
    """Return what is wrong with the first formula of a row that has no value, or nothing."""
    for column in (one for one in names if one in cells):
        if cells[column].data_type == "e":
            what = f"{cells[column].value} in '{names[column]}'"
            return f"a formula that failed: {shown(what)}"
        if cells[column].value is None:
            what = f"a formula without its value in '{shown(names[column])}'"
            return f"{what}: open the workbook in Excel or LibreOffice and save it"
    return ""


def _table(path: Path) -> tuple[dict[int, str], Iterator[_Cells]]:
    """Return the names of the columns, and the rows below; titles above them are neither."""
    rows = _filled_rows(path)
    head = list(islice(rows, headings.HEAD))
    if not head:
        return {}, rows
    texts = [
        {column: shown_value(cell) for column, cell in cells.items() if cell.value is not None}
        for _, cells in head
    ]
    at = headings.place(texts)
    number = head[at][0]
    if at:
        log.info("%s: the columns are named in row %d; what stands above is not read", path, number)
    names = {column: str(name) for column, name in texts[at].items()}
    refuse_repeated(f"{path}:{number}", names.values())
    return names, chain(head[at + 1 :], rows)


def _filled_rows(path: Path) -> Iterator[_Cells]:
    """Yield the rows that hold something, of the first sheet that is shown and has any."""
    import openpyxl  # with lxml a fifth of a second, and few files are workbooks

    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of colours and menus that it does not keep
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with closing(book):
            sheets = [
                sheet for sheet in book.worksheets if sheet.sheet_state == "visible"
            ] or book.worksheets
            for sheet in sheets:
                rows = _rows_of(path, sheet)
                if first := next(rows, None):
                    if others := len(book.worksheets) - 1:
                        beside = "another is" if others == 1 else f"{others} others are"
                        log.info("%s: sheet '%s' is read, %s not", path, shown(sheet.title), beside)
                    yield first
                    yield from rows
                    return
    except _DAMAGE as error:
        raise not_readable(path, "an Excel (.xlsx)", error) from error


def _rows_of(path: Path, sheet: ReadOnlyWorksheet) -> Iterator[_Cells]:
    sheet.reset_dimensions()  # what the file says of its own size is often wrong
    marks = sheet_marks(path, sheet._worksheet_path)  # openpyxl tells them of whole sheets
    if marks.hidden:
        log.info("%s: %s hidden rows are not read", path, f"{len(marks.hidden):,}")
    for number, row in enumerate(sheet.iter_rows(), 1):
        if number > _MOST_ROWS:
            raise DataError(f"{path}:{number}: more rows than Excel has; save the workbook again")
        unvalued = marks.unvalued.get(number, set())
        cells = {at: cell for at, cell in enumerate(row) if cell.value is not None or at in unvalued}
        if cells and number not in marks.hidden:
            yield number, cells


def _check_archive(path: Path) -> None:
    """Raise BadZipFile when a byte of the archive is not what was packed, or it holds more than a workbook.

    What openpyxl reads as a whole is all but the sheets, and of those it reads a row at a time.
    """
    most = min(_LARGEST_BYTES, most_unpacked(path))
    most_elements = _MOST_ELEMENTS + path.stat().st_size // _BYTES_AN_ELEMENT
    with ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > most:
            raise BadZipFile(f"{size:,} bytes unpacked are more than {most:,}")
        for member in archive.infolist():
            elements = 0
            is_sheet = "/worksheets/" in f"/{member.filename}"
            with archive.open(member) as file:  # to its end: then its checksum is compared
                while chunk := file.read(_CHUNK_BYTES):
                    if is_sheet and (row := max(chunk.rfind(b"<row"), chunk.rfind(b":row"))) >= 0:
                        elements, chunk = 0, chunk[row:]
                    elements += chunk.count(b"<")
                    if elements > most_elements:
                        what = "a row" if is_sheet else member.filename
                        raise BadZipFile(f"{shown(what)} has more than {most_elements:,} elements")
