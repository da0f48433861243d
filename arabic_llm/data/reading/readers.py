"""Strict readers: JSON, tables, texts, workbooks, Parquet; every record comes with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from arabic_llm.data.reading.csv_files import read_csv, read_tsv
from arabic_llm.data.reading.json_files import read_json, read_json_lines
from arabic_llm.data.reading.lines import PACKED, read_texts
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
    **{f"{suffix}{packed}": reader for packed in PACKED for suffix, reader in _TEXT_READERS.items()},
    ".parquet": read_parquet,
    ".xlsx": read_workbook,
}
IN_FOLDERS = tuple(suffix for suffix in READERS if not suffix.startswith(".txt"))  # unless they are named
# What datasets lays beside rows.
_ABOUT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_AS_TABLE = " (save its table as .xlsx, its text as .txt)"
_KINDS = {
    ".bin": " (numbers of a model or a tokenizer, not text: name the files that they were made from)",
    ".arrow": " (write them as Parquet: datasets.load_from_disk(folder).to_parquet(file))",
    ".pkl": " (to open one runs code: write it as Parquet or JSON)",
    ".xls": " (of Excel before 2007: save it as .xlsx)",
    **dict.fromkeys((".ods", ".xlsm", ".xlsb"), " (save it as .xlsx)"),
    **dict.fromkeys((".doc", ".docx", ".odt", ".pdf"), _AS_TABLE),
    **dict.fromkeys((".zip", ".rar", ".7z", ".tar", ".tgz"), " (unpack it)"),
}
_NO_ROWS = ("readme", "license", "licence", "copying", "notice", "requirements")  # as .txt, beside rows


_POINTER = b"version https://git-lfs.github.com/spec/"


def read(path: Path, *, unwrap: bool = False) -> Iterator[Record | Broken]:
    """Yield the records of a file in order, and in their place what is broken.

    A JSON object that wraps rows is read as its rows, where it is to be unwrapped.
    Raises DataError when the file is missing, of a kind we do not read, or damaged as a whole.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    reader = READERS.get(_suffix(path))
    if reader is None:
        kind = _KINDS.get(path.suffix.lower(), "")
        raise DataError(
            f"{path}: cannot read '{_suffix(path)}' files{kind}; there are: {', '.join(READERS)}"
        )
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise DataError(f"{path}: a pointer of Git LFS, not the file; fetch that with git lfs pull")
    yield from read_json(path, unwrap=unwrap) if reader is read_json else reader(path)


def is_data(path: Path, *, is_text: bool) -> bool:
    """Return whether a file found in a folder is read; a .txt, a licence more often, where it `is_text`."""
    kinds = READERS if is_text else IN_FOLDERS
    return _suffix(path) in kinds and path.name.lower() not in _ABOUT_DATA


def unread_kind(path: Path) -> str | None:
    """Return what reads a file of a folder that may well hold rows and is not read; None: it holds none."""
    if (suffix := _suffix(path)).startswith(".txt"):
        holds_rows = not path.name.lower().startswith(_NO_ROWS)
        return " (data.files=['**/*.txt'] reads them)" if holds_rows else None
    return _KINDS.get(suffix)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() + suffix if suffix in PACKED else suffix
