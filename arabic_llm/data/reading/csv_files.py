"""CSV and TSV, strictly: as many cells as the header has names, and quotes that close."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from arabic_llm.data.reading import headings
from arabic_llm.data.reading.column_names import KNOWN_NAMES, SECOND_HEADER, is_header, spelling
from arabic_llm.data.reading.lines import lines
from arabic_llm.data.reading.records import Broken, Record, refuse_repeated, shown, told
from arabic_llm.errors import DataError

log = logging.getLogger(__name__)

_DELIMITERS = (",", ";", "\t", "|")
# Semicolons and commas of Arabic and Chinese: delimiters where the header says so, else punctuation.
_OTHERS = ("\u061b", "\u060c", "\uff1b", "\uff0c")
_SEPARATOR = re.compile(r"\"?sep ?=(.)\"?", re.IGNORECASE)
_SPACE_BEFORE_QUOTE = r'(?:(?<!")"|\w){} +"(?!")'  # "a", "b"; not inside of a cell
_HEAD, _HEAD_CHARACTERS = 20, 2**16  # lines, and of each, from which a table's delimiter is told
_MOST_COLUMNS = 2**14  # Excel's; names that stand for themselves are kept for each row
_MOST_DELIMITERS = 2**21  # of a row, the commas in its texts too: a book of six million words
_MOST_CHARACTERS = 2**25  # of a row: csv holds it three times, in four bytes each where one of them is rare
_LARGEST_CELL = 2**31 - 1  # csv's own limit of 128 Ki characters is a page of a book; ours is the row's


@dataclass
class _Span:
    """The lines of the row that is being read."""

    first: int = 1
    num_characters: int = 0
    num_delimiters: int = 0
    wrong_line: int = 0
    wrong: str = ""


def read_csv(path: Path) -> Iterator[Record | Broken]:
    """Yield the rows of a table with commas, semicolons (Arabic ones too), tabs or bars between cells."""
    head = _head(path)
    named = _SEPARATOR.fullmatch(head[0].rstrip("\r\n")) if head else None
    yield from _read_table(path, named[1] if named else _delimiter(head), has_separator=named is not None)


def read_tsv(path: Path) -> Iterator[Record | Broken]:
    """Yield the rows of a table with tabs; one whose header has none is read as any other."""
    if "\t" in "".join(_head(path)[:1]):
        yield from _read_table(path, "\t")
    else:
        yield from read_csv(path)


def _head(path: Path) -> list[str]:
    filled = (line for line in lines(path) if line.text.strip())
    return [line.text[:_HEAD_CHARACTERS] for line in islice(filled, _HEAD)]


def _delimiter(head: Sequence[str]) -> str:
    """Return what stands between the cells: by the names in the header, then by rows of its width."""
    csv.field_size_limit(_LARGEST_CELL)
    found = []
    for place, delimiter in enumerate((*_DELIMITERS, *_OTHERS)):
        try:
            rows = [row for row in csv.reader(head, delimiter=delimiter) if row]
        except csv.Error:  # said of its line when the table is read
            continue
        header = rows[_header(rows)] if rows else []
        if len(header) > 1:
            known = sum(spelling(name) in KNOWN_NAMES for name in header)
            alike = sum(len(row) == len(header) for row in rows)
            if delimiter in _DELIMITERS or known > 1:
                found.append((known, alike, -place, delimiter))
    return max(found)[-1] if found else ","


def _read_table(path: Path, delimiter: str, *, has_separator: bool = False) -> Iterator[Record | Broken]:
    """Yield the rows of a table; none is a header that comes again, where files were joined, or empty.

    After a quote that does not close, half a row can look like a whole one: it ends the file.
    """
    spaced = re.compile(_SPACE_BEFORE_QUOTE.format(re.escape(delimiter)))
    is_spaced = any(map(spaced.search, _head(path)))
    rows = islice(_rows(path, delimiter, is_spaced=is_spaced), int(has_separator), None)  # Excel's "sep=;"
    head = list(islice(rows, headings.HEAD))
    if not head:
        return
    at = _header([cells for _, cells in head])
    header = _named(path, at, *head[at])
    names = list(map(spelling, header))
    for span, cells in chain(head[at + 1 :], rows):
        place = f"{path}:{span.first}"
        if span.wrong:
            yield Broken(f"{path}:{span.wrong_line}", span.wrong)
        elif len(cells) != len(header):
            yield Broken(place, f"{len(cells)} cells, but the header has {len(header)}")
        elif not is_header(cells, names):
            yield Record(place, {name: told(cell) for name, cell in zip(header, cells, strict=True)})
        elif list(map(spelling, cells)) != names:
            yield Broken(place, SECOND_HEADER)


def _named(path: Path, at: int, span: _Span, header: list[str]) -> list[str]:
    """Return the names of the columns, and say where they stand. Raises DataError where they are wrong."""
    if at:
        log.info("%s: the columns are named in line %d; what stands above is not read", path, span.first)
    if span.wrong:
        raise DataError(f"{path}:{span.wrong_line}: {span.wrong}")
    _check_header(f"{path}:{span.first}", header)
    return header


def _header(rows: Sequence[Sequence[str]]) -> int:
    """Return which of the first rows names the columns."""
    filled = [{column: cell for column, cell in enumerate(row) if cell.strip()} for row in rows]
    widths = {len(row) for row in rows}
    return headings.place(filled, is_padded=len(widths) == 1)


def _check_header(place: str, header: Sequence[str]) -> None:
    if len(header) > _MOST_COLUMNS:
        raise DataError(f"{place}: {len(header):,} columns; no table has more than {_MOST_COLUMNS:,}")
    refuse_repeated(place, header)


def _rows(path: Path, delimiter: str, *, is_spaced: bool) -> Iterator[tuple[_Span, list[str]]]:
    """Yield rows that have cells, with the lines they stand on."""
    csv.field_size_limit(_LARGEST_CELL)
    spans = [_Span()]  # the last one is of the row that is being read
    texts = _texts(path, delimiter, spans)
    rows = csv.reader(texts, delimiter=delimiter, strict=True, skipinitialspace=is_spaced)
    try:
        for cells in rows:
            span = spans.pop()
            spans.append(_Span(first=rows.line_num + 1))
            if any(map(str.strip, cells)):
                yield span, cells
    except csv.Error as error:
        said = shown(error)
        if "new-line character" in said:
            said = "a carriage return inside a line; end lines with LF or CRLF"
        raise DataError(
            f"{path}:{spans[-1].first}: broken table: {said}; in the row that begins here."
            " A cell with a quote, a line end or a delimiter stands in quotes, a quote inside it is doubled"
        ) from error


def _texts(path: Path, delimiter: str, spans: list[_Span]) -> Iterator[str]:
    """Yield lines as csv takes them, and note in the last span what is wrong with them."""
    for line in lines(path):
        span = spans[-1]
        # The first line of a row may begin with the mark of a file that was joined behind another.
        text = line.text if span.num_characters else line.text.removeprefix("\ufeff")
        span.num_characters += len(line.text)
        span.num_delimiters += line.text.count(delimiter)
        if span.num_delimiters > _MOST_DELIMITERS:
            raise DataError(
                f"{path}:{span.first}: broken table: the row that begins here has more than"
                f" {_MOST_DELIMITERS:,} delimiters; close its quotes, or take them out"
            )
        if line.cut or span.num_characters > _MOST_CHARACTERS:
            raise DataError(
                f"{path}:{span.first}: broken table: the row that begins here is longer than"
                f" {_MOST_CHARACTERS >> 20} Mi characters; close its quotes"
            )
        if line.wrong and not span.wrong:
            span.wrong_line, span.wrong = line.number, line.wrong
        yield text
