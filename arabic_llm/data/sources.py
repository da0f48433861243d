"""Rows of a data set: read, checked, normalised, without copies, split; nothing lost without a reason."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.schema import BadRow, BidiControls, ColumnsConfig, DataConfig
from arabic_llm.data import contamination, filters, formats, readers, records
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.readers import Broken, Record
from arabic_llm.data.reading.records import listed
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.sample import questions
from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize

if TYPE_CHECKING:
    from arabic_llm import hub

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """A data set ready to be turned into tokens."""

    train: list[Row]
    dev: list[Row]
    ledger: Ledger


def load(data: DataConfig, data_root: Path, seed: int, test_items: Iterable[str] = ()) -> Rows:
    """Return the rows of a data set, without those that hold one of the test's items.

    Raises DataError for a missing file or column, for a row that cannot be used (unless
    data.on_bad_row is drop), and when no row is left.
    """
    ledger, items = Ledger(data.name), contamination.index(test_items)

    def clean(rows: Iterable[Row], ledger: Ledger) -> list[Row]:
        kept = list(_kept(_uncontaminated(rows, items, ledger), data, ledger))
        return _without_near_copies(kept, data.cleaning.near_duplicates, seed, ledger)

    if data.builtin:
        train = clean(questions.training_rows("train"), ledger)
        # Its dev rows ask facts of their own: data.dev_share has no say.
        dev = clean(questions.training_rows("dev"), Ledger(f"{data.name} dev"))
        return Rows(train, dev, ledger)
    paths = locate(data, data_root)
    rows = clean((row for path in paths for row in _from_file(path, data, ledger)), ledger)
    place = paths[0] if len(paths) == 1 else paths[0].parent
    if not rows:
        raise DataError(f"{place}: no row is left: {ledger}")
    train, dev = _split(rows, data.dev_share, seed)
    if not train:
        raise DataError(
            f"{place}: all {len(rows)} rows would be dev; lower data.dev_share ({data.dev_share})"
        )
    return Rows(train, dev, ledger)


def source_hash(data: DataConfig, data_root: Path) -> str:
    """Return a hash of the data set as it lies there: of the file, or of the generated rows."""
    if data.builtin:
        return content_hash(questions.training_rows("train"))
    paths = locate(data, data_root)
    return fingerprint([files.sha256(path) for path in paths])


def locate(data: DataConfig, data_root: Path) -> list[Path]:
    """Return the files of a data set: what data.path names, <data_root>/<name>/, the hub's cache, the hub.

    Raises DataError, which says where they may be put and what fetches them.
    """
    if data.path is None and data.hub_id is None:
        raise DataError(f"data.path is not set; with data={data.name} write data.path=my.jsonl")
    for place in places(data, data_root):
        if place.is_file():
            return [place]
        if place.is_dir():
            return _inside(place, data)
    if data.hub_id is not None:
        return _from_hub(data, places(data, data_root)[-1])
    typed = Path(data.path or data.name).expanduser()
    looked = f"{typed}" if typed.is_absolute() else f"{typed} nor {data_root / typed}"
    raise DataError(f"data.path: no file {looked}; put it there, or set ARABIC_LLM_DATA or data.path")


def places(data: DataConfig, data_root: Path) -> list[Path]:
    """Return where a data set may lie on this disk; the last is where it is downloaded to."""
    typed = Path(data.path or data.name).expanduser()
    return [typed, data_root / typed] if data.path else [data_root / typed]


def repository(data: DataConfig) -> hub.Repository:
    """Return the files of the hub that make up a data set."""
    from arabic_llm import hub

    patterns = data.files or [f"*{suffix}" for suffix in readers.READERS if not suffix.startswith(".txt")]
    return hub.Repository(str(data.hub_id), data.revision, tuple(patterns), "dataset")


def _inside(folder: Path, data: DataConfig) -> list[Path]:
    """Return the data files of a folder, by name. Raises DataError when there is none."""
    if found := _found(folder, data):
        return found
    wanted = ", ".join(data.files or [f"*{suffix}" for suffix in readers.READERS])
    raise DataError(f"{folder}: holds no data file ({wanted})")


def _found(folder: Path, data: DataConfig) -> list[Path]:
    paths = (path for pattern in data.files or ["**/*"] for path in folder.glob(pattern))
    return sorted({path for path in paths if path.is_file() and readers.is_data(path)})


def _from_hub(data: DataConfig, place: Path) -> list[Path]:
    from arabic_llm import hub  # a second, and most data sets lie here

    wanted = repository(data)
    try:
        return _inside(hub.snapshot(wanted, lambda f: bool(_found(f, data)), network=True), data)
    except hub.UnreachableError as error:
        why = f" ({error})" if str(error) else ""
        raise DataError(
            f"data={data.name}: {data.hub_id} is not here and cannot be reached{why}; put its files in"
            f" {place}/, or {hub.cure(wanted, place, f'data={data.name}')}"
        ) from error


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
    unread = listed(recognised.unread(first))
    log.info("%s: read as %s%s", path, recognised, f"; not read: {unread}" if unread else "")
    context = recognised.columns.context
    if recognised.columns.prompt and context and not any(context in record.values for record in first):
        log.info("%s has no column '%s' (data.columns.context): prompts stand alone", path, context)
    return recognised.columns


def _kept(rows: Iterable[Row], data: DataConfig, ledger: Ledger) -> Iterator[Row]:
    """Yield normalised rows that the filters pass, each content once."""
    seen = set()
    for source in rows:
        mended = source
        if data.cleaning.bidi_controls is BidiControls.clean:
            mended = filters.without_bidi_controls(source)
        row = _normalised(mended, data)
        digest = content_hash([row])
        if _has_lost_words(mended, row):
            ledger.drop("nothing left after normalisation", row.id)
        elif reason := filters.no_preference(row) or filters.reason_to_drop(source, row, data.cleaning):
            ledger.drop(reason, row.id)
        elif data.dedup and digest in seen:
            ledger.drop("exact copy", row.id)
        elif data.max_rows is not None and ledger.kept == data.max_rows:
            ledger.drop("beyond data.max_rows", row.id)
        else:
            seen.add(digest)
            ledger.keep()
            if mended is not source:
                ledger.change("bidi controls removed", row.id)
            yield row


def _uncontaminated(rows: Iterable[Row], items: contamination.Items, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows that share no item, and no long run of words, with the test."""
    for row in rows:
        if items.num_searched and (reason := contamination.contaminated(row, items)):
            ledger.drop(reason, row.id)
        else:
            yield row


def _without_near_copies(rows: list[Row], similarity: float | None, seed: int, ledger: Ledger) -> list[Row]:
    """Return the rows that are not nearly an earlier one; the ledger's examples name both."""
    if similarity is None:
        return rows
    from arabic_llm.data import near

    said = [normalize(row.words(), "matching") for row in rows]
    repeats = near.duplicates(near.signatures(said, seed), similarity).tolist()
    for row, original in zip(rows, repeats, strict=True):
        if original >= 0:
            ledger.drop_kept("near copy", f"{row.id} of {rows[original].id}")
    return [row for row, original in zip(rows, repeats, strict=True) if original < 0]


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
