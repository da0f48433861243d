"""CSV and TSV, strictly: as many cells as the header has names, and quotes that close."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arabic_llm.data.reading.lines import LONGEST_LINE_BYTES, lines
from arabic_llm.data.reading.records import Broken, Record, refuse_repeated, shown
from arabic_llm.errors import DataError

_LARGEST_CELL = 2**31 - 1  # csv's own limit of 128 Ki characters is a page of a book; ours is the row's


@dataclass
class _Span:
    """The lines of the row that is being read."""

    first: int = 1
    num_characters: int = 0
    wrong_line: int = 0
    wrong: str = ""


def read_csv(path: Path) -> Iterator[Record | Broken]:
    """Yield the rows of a table with commas, or with tabs: then its header has tabs and no comma."""
    header = next((line.text for line in lines(path) if line.text.strip()), "")
    yield from _read_table(path, "\t" if "\t" in header and "," not in header else ",")


def read_tsv(path: Path) -> Iterator[Record | Broken]:
    """Yield the rows of a table with tabs."""
    yield from _read_table(path, "\t")


def _read_table(path: Path, delimiter: str) -> Iterator[Record | Broken]:
    """Yield the rows of a table.

    After a quote that does not close, half a row can look like a whole one: it ends the file.
    """
    header: list[str] | None = None
    for span, cells in _rows(path, delimiter):
        place = f"{path}:{span.first}"
        if header is None:
            if span.wrong:
                raise DataError(f"{path}:{span.wrong_line}: {span.wrong}")
            header = cells
            refuse_repeated(place, header)
        elif span.wrong:
            yield Broken(f"{path}:{span.wrong_line}", span.wrong)
        elif len(cells) == len(header):
            yield Record(place, dict(zip(header, cells, strict=True)))
        else:
            yield Broken(place, f"{len(cells)} cells, but the header has {len(header)}")


def _rows(path: Path, delimiter: str) -> Iterator[tuple[_Span, list[str]]]:
    """Yield rows that have cells, with the lines they stand on."""
    csv.field_size_limit(_LARGEST_CELL)
    spans = [_Span()]  # the last one is of the row that is being read
    rows = csv.reader(_texts(path, spans), delimiter=delimiter, strict=True)
    try:
        for cells in rows:
            span = spans.pop()
            spans.append(_Span(first=rows.line_num + 1))
            if cells:
                yield span, cells
    except csv.Error as error:
        said = shown(error)
        if "new-line character" in said:
            said = "a carriage return inside a line; end lines with LF or CRLF"
        raise DataError(
            f"{path}:{spans[-1].first}: broken table: {said}; in the row that begins here."
            " A cell with a quote, a line end or a delimiter stands in quotes, a quote inside it is doubled"
        ) from error


def _texts(path: Path, spans: list[_Span]) -> Iterator[str]:
    """Yield lines as csv takes them, and note in the last span what is wrong with them."""
    for line in lines(path):
        span = spans[-1]
        span.num_characters += len(line.text)
        if line.cut or span.num_characters > LONGEST_LINE_BYTES:
            raise DataError(
                f"{path}:{span.first}: broken table: the row that begins here is longer than"
                f" {LONGEST_LINE_BYTES >> 20} MiB; close its quotes"
            )
        if line.wrong and not span.wrong:
            span.wrong_line, span.wrong = line.number, line.wrong
        yield line.text
