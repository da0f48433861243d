"""Bytes as lines: unpacked, decoded, bounded in length; what is wrong with a line is said beside it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import NamedTuple, cast

from arabic_llm.data.reading.records import Broken, Record, shown
from arabic_llm.errors import DataError

# 64 MiB are some six million Arabic words: no row, but a file without line ends, or with an open quote.
LONGEST_LINE_BYTES = 2**26
_SKIPPED_BYTES = 2**20  # at a time, of a line that is too long
_SHOWN_BYTES = 80  # of it
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PACKED = {".gz": ("gzip", _GZIP), ".zst": ("zstd", _ZSTD)}
_TO_UTF8 = "convert it with iconv -f {0} -t UTF-8"
# First bytes, longest first: UTF-32 begins like UTF-16.
_NO_UTF8 = {
    b"\xff\xfe\0\0": "UTF-32, not UTF-8; " + _TO_UTF8.format("UTF-32"),
    b"\0\0\xfe\xff": "UTF-32, not UTF-8; " + _TO_UTF8.format("UTF-32"),
    b"PK\x03\x04": "a zip archive, not text; if it is an Excel file, let its name end in .xlsx",
    b"\xff\xfe": "UTF-16, not UTF-8; " + _TO_UTF8.format("UTF-16"),
    b"\xfe\xff": "UTF-16, not UTF-8; " + _TO_UTF8.format("UTF-16"),
    _GZIP: "gzip bytes, not text; unpack it with gunzip, or let its name end in .gz",
    _ZSTD: "zstd bytes, not text; unpack it with unzstd, or let its name end in .zst",
}


class Line(NamedTuple):
    """One line with its end; bytes that are not UTF-8 stand in it as lone surrogates."""

    number: int
    text: str
    wrong: str = ""
    cut: bool = False  # too long: only a beginning of its text is there


def lines(path: Path, longest_bytes: int = LONGEST_LINE_BYTES) -> Iterator[Line]:
    """Yield the lines of a file, unpacked if its name ends in .gz or .zst; longer ones are cut.

    Raises DataError when the file as a whole is not UTF-8, or damaged as it was packed.
    """
    number = 0
    try:
        with _open(path) as file:
            head = file.peek(max(map(len, _NO_UTF8)))
            for signature, advice in _NO_UTF8.items():
                if head.startswith(signature):
                    raise DataError(f"{path}:1: {advice}")
            while raw := file.readline(longest_bytes + 1):
                number += 1
                too_long = len(raw) > longest_bytes
                yield _beginning(number, raw) if too_long else _line(number, raw)
                while too_long and raw and not raw.endswith(b"\n"):
                    raw = file.readline(_SKIPPED_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}:{number + 1}: damaged gzip file ({error}); copy it again") from error
    except OSError as error:  # so does pyarrow say it
        if path.suffix.lower() != ".zst":
            raise
        raise DataError(
            f"{path}:{number + 1}: damaged zstd file ({shown(error)}); copy it again"
        ) from error


def read_texts(path: Path) -> Iterator[Record | Broken]:
    """Yield one text a line, in the column `text`; blank lines are none."""
    for line in lines(path):
        place = f"{path}:{line.number}"
        if line.wrong:
            yield Broken(place, line.wrong)
        elif line.text.strip():
            yield Record(place, {"text": line.text.rstrip("\r\n")})


def _open(path: Path) -> BufferedReader:
    suffix = path.suffix.lower()
    if suffix not in PACKED:
        return path.open("rb")
    name, signature = PACKED[suffix]
    with path.open("rb") as file:
        head = file.read(len(signature))
    if head and head != signature:
        raise DataError(f"{path}:1: not a {name} file; take {suffix} off its name, or pack it with {name}")
    if name == "gzip":
        return BufferedReader(cast(RawIOBase, gzip.open(path)))
    from pyarrow import input_stream  # half a second, and few files are packed so

    return BufferedReader(cast(RawIOBase, input_stream(str(path), compression="zstd")))


def _beginning(number: int, raw: bytes) -> Line:
    text = raw[:_SHOWN_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
    return Line(number, text, f"line too long: more than {(len(raw) - 1) >> 20} MiB", cut=True)


def _line(number: int, raw: bytes) -> Line:
    wrong = ""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        # Line ends, quotes and commas are ASCII in every Arabic code page: a table keeps its shape.
        text = raw.decode("utf-8", "surrogateescape")
        byte = f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
        wrong = f"not UTF-8: {byte}; save the file as UTF-8, or {_TO_UTF8.format('WINDOWS-1256')}"
    if b"\0" in raw:
        wrong = f"NUL byte: damaged, or UTF-16 without its mark; then {_TO_UTF8.format('UTF-16LE')}"
    return Line(number, text.removeprefix("\ufeff") if number == 1 else text, wrong)
