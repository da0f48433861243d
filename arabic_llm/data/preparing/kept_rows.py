"""Rows, read or generated and cleaned once for like runs: the jobs of a sweep, stages, the same again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

from arabic_llm import files
from arabic_llm.config.data import DataConfig
from arabic_llm.config.fingerprint import code_hash, fingerprint, library_version
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import selection, sources
from arabic_llm.data.preparing.sources import Rows
from arabic_llm.data.reading import locate
from arabic_llm.data.rows import Message, Row
from arabic_llm.errors import DamagedError

# What makes rows, of the same files.
_CODE = (
    *("config/data.py", "data/ledger.py", "data/rows.py"),
    *("data/cleaning", "data/preparing", "data/reading", "data/sample", "text"),
)
_LIBRARIES = ("numpy", "pyarrow")
_ANY = "surrogatepass"  # names of files may hold bytes that are no text
_SAID_BY = logging.getLogger("arabic_llm.data")


def load(
    data: DataConfig, data_root: Path, seed: int, test_items: Iterable[str], cache_dir: Path | None
) -> Rows:
    """Return the rows of a data set as sources.load does; a second run reads what the first one wrote.

    It says what the first one said of the files. Without cache_dir, as in a dry run, nothing is kept.
    Raises what sources.load raises.
    """
    items = sorted(test_items)
    if cache_dir is None:
        return sources.load(data, data_root, seed, items)
    of_files = [source for source in locate.sources_of(data) if not source.builtin]
    found = [locate.locate(source, data_root) for source in of_files]
    key = {
        "data": asdict(data),
        "seed": seed,
        "test_items": items,
        "files": [(str(one), locate.files_hash(one, cache_dir)) for one in found],
        "code": code_hash(_CODE),
        "libraries": [library_version(name) for name in _LIBRARIES],
    }
    path = cache_dir / "rows" / f"{fingerprint(key)}.jsonl"
    if (before := files.kept(_note_of(path), lambda note: _read(path, note, data.name))) is not None:
        return before
    with _heard() as said:
        rows = sources.load(data, data_root, seed, items)
    _write(path, rows, said)
    return rows


class _Ear(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Yield what is said meanwhile of the files: as what they are read."""
    ear = _Ear()
    _SAID_BY.addHandler(ear)
    try:
        yield ear.said
    finally:
        _SAID_BY.removeHandler(ear)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _write(path: Path, rows: Rows, said: list[str]) -> None:
    splits = {fate.name: getattr(rows, fate.name) for fate in selection.KEPT}
    with files.writing(path) as file:
        for row in chain(*splits.values()):
            values = {**vars(row), "messages": [vars(turn) for turn in row.messages]}
            line = json.dumps(values, ensure_ascii=False)
            file.write(line.encode("utf-8", _ANY) + b"\n")
    note = {
        "rows": files.sha256(path),
        "splits": {name: len(own) for name, own in splits.items()},
        "ledgers": [ledger.as_dict() for ledger in rows.ledgers],
        "said": said,
    }
    files.write_state(_note_of(path), note)


def _read(path: Path, note: Path, name: str) -> Rows:
    """Return what _write wrote, and say what was said. Raises DamagedError when it is no longer that."""
    known = files.read_state(note)
    if not path.is_file() or files.sha256(path) != known["rows"]:
        raise DamagedError(f"{path} is gone or damaged")
    with path.open(encoding="utf-8", errors=_ANY, newline="\n") as lines:
        rows = map(_row, lines)
        splits = {split: list(islice(rows, number)) for split, number in known["splits"].items()}
    for line in known["said"]:
        _SAID_BY.info("%s", line)
    return Rows(name, **splits, ledgers=[Ledger.from_dict(one) for one in known["ledgers"]])


def _row(line: str) -> Row:
    values = json.loads(line)
    return Row(**{**values, "messages": tuple(Message(**turn) for turn in values["messages"])})
