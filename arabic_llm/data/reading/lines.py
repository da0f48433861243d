"""Bytes as lines: unpacked, decoded, bounded in length; what is wrong with a line is said beside it."""

from __future__ import annotations

import gzip
import zlib
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, NamedTuple

from arabic_llm.data.reading.records import Broken, Record, shown
from arabic_llm.errors import DataError

# 64 MiB are some six million Arabic words: no row, but a file without line ends, or with an open quote.
LONGEST_LINE_BYTES = 2**26
_NO_BOUND = 2**40
_PIECE_BYTES, _BUFFER_BYTES = 2**20, 2**16  # read at a time
_MOST_EMPTY = 2**20  # lines: nobody writes so many, and to count a file of them takes minutes
_MOST_UNPACKED, _TIMES_PACKED = (
    2**27,
    20,
)  # texts are packed to a third, tables of one sentence to a twentieth
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

    Raises DataError when the file as a whole is not UTF-8, damaged as it was packed, unpacks to more than
    a file of its size can hold, or goes on with empty lines.
    """
    at, empty = [0], 0
    with _opened(path, at) as file:
        while raw := file.readline(longest_bytes + 1):
            at[0] += 1
            empty = empty + 1 if raw.isspace() else 0
            if empty > _MOST_EMPTY:
                raise DataError(f"{path}:{at[0]}: more than {_MOST_EMPTY:,} empty lines; take them out")
            too_long = len(raw) > longest_bytes
            yield _beginning(at[0], raw) if too_long else _line(at[0], raw)
            while too_long and raw and not raw.endswith(b"\n"):
                raw = file.readline(_PIECE_BYTES)


def texts(path: Path) -> Iterator[str]:
    """Yield the text of a file in pieces, without its mark.

    Raises DataError as `lines` does, and one that names a line which is no text.
    """
    decoder, is_first, is_text = getincrementaldecoder("utf-8")(), True, True
    with _opened(path, [0]) as file:
        while is_text and (raw := file.read(_PIECE_BYTES)):
            try:
                piece = decoder.decode(raw)
            except UnicodeDecodeError:
                is_text = False
                continue
            is_text = b"\0" not in raw
            yield piece.removeprefix("\ufeff") if is_first else piece
            is_first = is_first and not piece
    if not is_text or decoder.getstate()[0]:
        wrong = next(line for line in lines(path, _NO_BOUND) if line.wrong)
        raise DataError(f"{path}:{wrong.number}: {wrong.wrong}")


def read_texts(path: Path) -> Iterator[Record | Broken]:
    """Yield one text a line, in the column `text`; blank lines are none."""
    for line in lines(path):
        place = f"{path}:{line.number}"
        if line.wrong:
            yield Broken(place, line.wrong)
        elif line.text.strip():
            yield Record(place, {"text": line.text.rstrip("\r\n")})


@contextmanager
def _opened(path: Path, at: list[int]) -> Iterator[BufferedReader]:
    """Open a file at its first byte; `at` is the number of the line before the one that is read."""
    try:
        with _open(path) as file:
            head = file.peek(max(map(len, _NO_UTF8)))
            for signature, advice in _NO_UTF8.items():
                if head.startswith(signature):
                    raise DataError(f"{path}:1: {advice}")
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}:{at[0] + 1}: damaged gzip file ({error}); copy it again") from error
    except OSError as error:  # so does pyarrow say it
        if path.suffix.lower() != ".zst":
            raise
        said = shown(error)
        raise DataError(f"{path}:{at[0] + 1}: damaged zstd file ({said}); copy it again") from error


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
        return BufferedReader(_Unpacked(path, gzip.open(path)), _BUFFER_BYTES)
    from pyarrow import input_stream  # half a second, and few files are packed so

    return BufferedReader(_Unpacked(path, input_stream(str(path), compression="zstd")), _BUFFER_BYTES)


class _Unpacked(RawIOBase):
    """The bytes of a packed file, of which there are no more than it can hold if it is one of texts."""

    def __init__(self, path: Path, source: Any) -> None:
        self._path, self._source = path, source
        self._most = most_unpacked(path)
        self._left = self._most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._source.readinto(buffer))
        self._left -= count
        if self._left < 0:
            raise DataError(
                f"{self._path}: unpacks to more than {self._most >> 20:,} MiB, where texts of its size have"
                " a tenth of it; if it is no damage, unpack it and give the file itself"
            )
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


def most_unpacked(path: Path) -> int:
    """Return the bytes that a packed file may unpack to."""
    return _MOST_UNPACKED + _TIMES_PACKED * path.stat().st_size


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
        cure = f"save the file as UTF-8 (in Excel: CSV UTF-8), or {_TO_UTF8.format('WINDOWS-1256')}"
        wrong = f"not UTF-8: {byte}; {cure}"
    if b"\0" in raw:
        wrong = f"NUL byte: damaged, or UTF-16 without its mark; then {_TO_UTF8.format('UTF-16LE')}"
    return Line(number, text.removeprefix("\ufeff") if number == 1 else text, wrong)
