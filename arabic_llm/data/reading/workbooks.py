"""Excel workbooks (.xlsx): the first sheet that is shown, under its header; places are row numbers."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from arabic_llm.data.reading.cell_values import hidden_rows, shown_value
from arabic_llm.data.reading.column_names import KNOWN_NAMES, SECOND_HEADER, is_header, spelling
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
        failed = [column for column in names if column in cells and cells[column].data_type == "e"]
        if failed:
            what = f"{cells[failed[0]].value} in '{names[failed[0]]}'"
            yield Broken(place, f"a formula that failed: {shown(what)}")
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


def _table(path: Path) -> tuple[dict[int, str], Iterator[_Cells]]:
    """Return the names of the columns, and the rows below; a title of one cell above them is neither."""
    rows = _filled_rows(path)
    (number, cells), second = next(rows, (0, {})), next(rows, None)
    names, below = _names(cells), _names(second[1] if second else {})
    if second and len(names) == 1 and sum(spelling(name) in KNOWN_NAMES for name in below.values()) > 1:
        log.info("%s:%d: the title above the table is not read", path, number)
        number, names, second = second[0], below, None
    refuse_repeated(f"{path}:{number}", names.values())
    return names, chain([second] if second else [], rows)


def _names(cells: dict[int, ReadOnlyCell]) -> dict[int, str]:
    return {column: str(shown_value(cell)) for column, cell in cells.items()}


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
                        log.info(
                            "%s: sheet '%s' is read, %d others are not", path, shown(sheet.title), others
                        )
                    yield first
                    yield from rows
                    return
    except _DAMAGE as error:
        raise not_readable(path, "an Excel (.xlsx)", error) from error


def _rows_of(path: Path, sheet: ReadOnlyWorksheet) -> Iterator[_Cells]:
    sheet.reset_dimensions()  # what the file says of its own size is often wrong
    if hidden := hidden_rows(path, sheet._worksheet_path):  # openpyxl tells them of whole sheets
        log.info("%s: %s hidden rows are not read", path, f"{len(hidden):,}")
    for number, row in enumerate(sheet.iter_rows(), 1):
        if number > _MOST_ROWS:
            raise DataError(f"{path}:{number}: more rows than Excel has; save the workbook again")
        cells = {column: cell for column, cell in enumerate(row) if cell.value is not None}
        if cells and number not in hidden:
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
