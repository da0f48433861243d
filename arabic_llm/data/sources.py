"""Rows of a data set: read, checked, normalised, without copies, split; nothing lost without a reason."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from arabic_llm import files
from arabic_llm.config.schema import BadRow, ColumnsConfig, DataConfig
from arabic_llm.data import formats, readers, records
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.readers import Broken, Record
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.sample import questions
from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """A data set ready to be turned into tokens."""

    train: list[Row]
    dev: list[Row]
    ledger: Ledger


def load(data: DataConfig, data_root: Path, seed: int) -> Rows:
    """Return the rows of a data set.

    Raises DataError for a missing file or column, for a row that cannot be used (unless
    data.on_bad_row is drop), and when no row is left.
    """
    ledger = Ledger(data.name)
    if data.builtin:
        train = list(_kept(questions.training_rows("train"), data, ledger))
        # Its dev rows ask facts of their own: data.dev_share has no say.
        dev = list(_kept(questions.training_rows("dev"), data, Ledger(f"{data.name} dev")))
        return Rows(train, dev, ledger)
    path = locate(data, data_root)
    rows = list(_kept(_from_file(path, data, ledger), data, ledger))
    if not rows:
        raise DataError(f"{path}: no row is left: {ledger}")
    train, dev = _split(rows, data.dev_share, seed)
    if not train:
        raise DataError(
            f"{path}: all {len(rows)} rows would be dev; lower data.dev_share ({data.dev_share})"
        )
    return Rows(train, dev, ledger)


def source_hash(data: DataConfig, data_root: Path) -> str:
    """Return a hash of the data set as it lies there: of the file, or of the generated rows."""
    if data.builtin:
        return content_hash(questions.training_rows("train"))
    return files.sha256(locate(data, data_root))[:16]


def locate(data: DataConfig, data_root: Path) -> Path:
    """Return the data set's file: as typed, or under data_root.

    Raises DataError that names both places.
    """
    if data.path is None:
        raise DataError(f"data.path is not set; with data={data.name} write data.path=my.jsonl")
    typed = Path(data.path).expanduser()
    under_root = data_root / typed
    for path in (typed, under_root):
        if path.is_file():
            return path
    places = f"{typed}" if typed.is_absolute() else f"{typed} nor {under_root}"
    raise DataError(f"data.path: no file {places}; put it there, or set ARABIC_LLM_DATA or data.path")


def content_hash(rows: Iterable[Row]) -> str:
    """Return a hash of what the rows say, in order: of their content, not of where they were read."""
    digest = hashlib.sha256()
    for row in rows:
        parts = [*(f"{m.role}\0{m.content}" for m in row.messages), row.text]
        parts += [f"{key}\0{said}" for key in ("rejected", "label") if (said := getattr(row, key))]
        for part in parts:
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def _from_file(path: Path, data: DataConfig, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows of a file; what cannot be used stops the run, or is counted."""
    found = readers.read(path)
    head = _head(found)
    columns = _columns(path, [item for item in head if isinstance(item, Record)], data)
    for item in chain(head, found):
        row = item if isinstance(item, Broken) else records.as_row(item, columns)
        if isinstance(row, Row):
            yield row
        elif data.on_bad_row is BadRow.stop:
            raise DataError(f"{row.place}: {row.reason}; mend it, or set data.on_bad_row=drop")
        else:
            ledger.drop(row.reason.partition(":")[0], row.place)


def _head(found: Iterator[Record | Broken]) -> list[Record | Broken]:
    """Return what comes first, until there are records enough to recognise the format."""
    head: list[Record | Broken] = []
    num_records = 0
    while num_records < formats.NUM_RECORDS and (item := next(found, None)) is not None:
        head.append(item)
        num_records += isinstance(item, Record)
    return head


def _columns(path: Path, first: list[Record], data: DataConfig) -> ColumnsConfig:
    """Return the columns that are read, and say so."""
    if not first:
        return data.columns
    recognised = formats.recognise(path, first, data.columns)
    unread = ", ".join(recognised.unread(first))
    log.info("%s: read as %s%s", path, recognised, f"; not read: {unread}" if unread else "")
    context = recognised.columns.context
    if recognised.columns.prompt and context and not any(context in record.values for record in first):
        log.info("%s has no column '%s' (data.columns.context): prompts stand alone", path, context)
    return recognised.columns


def _kept(rows: Iterable[Row], data: DataConfig, ledger: Ledger) -> Iterator[Row]:
    """Yield normalised rows, each content once."""
    seen = set()
    for row in rows:
        clean = _normalised(row, data)
        digest = content_hash([clean])
        if _has_lost_words(row, clean):
            ledger.drop("nothing left after normalisation", row.id)
        elif row.rejected and clean.rejected == clean.messages[-1].content:
            ledger.drop("chosen equals rejected", row.id)
        elif data.dedup and digest in seen:
            ledger.drop("exact copy", row.id)
        elif data.max_rows is not None and ledger.kept == data.max_rows:
            ledger.drop("beyond data.max_rows", row.id)
        else:
            seen.add(digest)
            ledger.keep()
            yield clean


def _has_lost_words(row: Row, clean: Row) -> bool:
    """Return whether normalisation left nothing of the row, of a turn, or of the rejected answer."""
    hollow = any(not m.content for m in clean.messages) or not clean.words()
    return hollow or bool(row.rejected and not clean.rejected)


def _normalised(row: Row, data: DataConfig) -> Row:
    def clean(text: str) -> str:
        return normalize(text, data.profile, data.without_steps)

    messages = tuple(Message(m.role, clean(m.content)) for m in row.messages)
    return replace(row, messages=messages, text=clean(row.text), rejected=clean(row.rejected))


def _split(rows: list[Row], dev_share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (train, dev) in file order; which row goes where follows from the seed and its content."""

    def key(row: Row) -> str:
        return hashlib.sha256(f"split/{seed}/{content_hash([row])}".encode()).hexdigest()

    chosen = {id(row) for row in sorted(rows, key=key)[: round(len(rows) * dev_share)]}
    return [r for r in rows if id(r) not in chosen], [r for r in rows if id(r) in chosen]
