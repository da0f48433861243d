"""Strict readers: JSON, tables, texts, workbooks, Parquet; every record comes with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from arabic_llm.data.reading.csv_files import read_csv, read_tsv
from arabic_llm.data.reading.json_files import read_json, read_json_lines
from arabic_llm.data.reading.lines import read_texts
from arabic_llm.data.reading.parquet import read_parquet
from arabic_llm.data.reading.records import Broken, Record
from arabic_llm.data.reading.workbooks import read_workbook
from arabic_llm.errors import DataError

__all__ = ["READERS", "Broken", "Record", "is_data", "read"]

Reader = Callable[[Path], Iterator[Record | Broken]]

_TEXT_READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".txt": read_texts,
}
READERS: dict[str, Reader] = {
    **_TEXT_READERS,
    **{f"{suffix}.gz": reader for suffix, reader in _TEXT_READERS.items()},
    ".parquet": read_parquet,
    ".xlsx": read_workbook,
}


def read(path: Path) -> Iterator[Record | Broken]:
    """Yield the records of a file in order, and in their place what is broken.

    Raises DataError when the file is missing, of a kind we do not read, or damaged as a whole.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    reader = READERS.get(_suffix(path))
    if reader is None:
        raise DataError(f"{path}: cannot read '{_suffix(path)}' files; there are: {', '.join(READERS)}")
    yield from reader(path)


def is_data(path: Path) -> bool:
    """Return whether a file found in a folder is read; a .txt there is a licence more often than data."""
    return _suffix(path) in READERS and not _suffix(path).startswith(".txt")


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() + suffix if suffix == ".gz" else suffix
