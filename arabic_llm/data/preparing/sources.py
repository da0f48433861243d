"""Rows of a data set or a mix: read, cleaned, without copies, split; nothing lost without a reason."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arabic_llm.config.data import ColumnsConfig, DataConfig, SourceConfig
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.data import ledger
from arabic_llm.data.cleaning import contamination
from arabic_llm.data.cleaning.rules import Chunk, Cleaned, Rules, clean, joined
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import selection
from arabic_llm.data.preparing.selection import Fate, Part
from arabic_llm.data.reading import converters, formats, locate, readers
from arabic_llm.data.reading.locate import sources_of
from arabic_llm.data.reading.readers import Broken, Record
from arabic_llm.data.reading.records import listed
from arabic_llm.data.rows import Row
from arabic_llm.data.sample import questions
from arabic_llm.errors import ConfigError, DataError

Changes = NDArray[np.uint32]

log = logging.getLogger(__name__)
CHUNK_ROWS = 5000  # cleaned at once: some MiB, and about a second of work


@dataclass(frozen=True)
class Rows:
    """A data set ready to be turned into tokens, and the ledger of each of its sources."""

    name: str
    train: list[Row]
    dev: list[Row]
    test: list[Row]  # never trained on
    ledgers: list[Ledger]

    @property
    def ledger(self) -> Ledger:
        """Return the count of all sources together."""
        return ledger.total(self.name, self.ledgers)

    def lines(self) -> list[str]:
        """Return what became of the rows of each source, and of those that are kept, which are for what."""
        splits = ", ".join(f"{name} {len(getattr(self, name)):,}" for name in ("train", "dev", "test"))
        if len(self.ledgers) == 1:
            return [f"{self.ledgers[0]}: {splits}"]
        return [*map(str, self.ledgers), f"{self.name}, all together: {splits}"]


@dataclass(frozen=True)
class Input:
    """A file of a source (none: its generated rows), and the split that its rows are given to."""

    path: Path | None
    given: Fate
    holds_rows: bool = False  # as task=prepare writes them


def load(data: DataConfig, data_root: Path, seed: int, test_items: Iterable[str] = ()) -> Rows:
    """Return the rows of a data set, where data.cleaning.drop_test_items is set without the test's items.

    Raises DataError for a missing file or column, for a row that cannot be used (unless
    data.on_bad_row is drop), and when no row is left to learn from.
    """
    items = contamination.index(test_items)
    parts, chunks = list[Part](), list[Cleaned]()
    for source in sources_of(data):
        rules, inputs = Rules(source, items, seed, is_signed(data)), inputs_of(source, data_root)
        found = [(put, clean(chunk, rules)) for put in inputs for chunk in chunks_of(put, source)]
        parts.append(
            part_of(source, inputs, [(put.given, chunk.changes, chunk.ledger) for put, chunk in found])
        )
        chunks += [chunk for _, chunk in found]
    rows = [row for chunk in chunks for row in chunk.rows]
    digests = joined([chunk.digests for chunk in chunks])
    signatures = joined([chunk.signatures for chunk in chunks])
    chosen = selection.choose(data, parts, digests, signatures, seed)
    chosen.account(parts, lambda row: rows[row].id)
    refuse_nothing(data, parts, chosen)
    splits = {fate: [rows[row] for row in np.flatnonzero(chosen.fates == fate)] for fate in Fate}
    train, dev, test = (splits[fate] for fate in selection.KEPT)
    return Rows(data.name, train, dev, test, [part.ledger for part in parts])


def is_signed(data: DataConfig) -> bool:
    """Return whether near copies are looked for, so that every row needs a signature."""
    return any(s.cleaning.near_duplicates is not None for s in (data, *sources_of(data)))


def inputs_of(source: SourceConfig, data_root: Path, *, is_said: bool = True) -> list[Input]:
    """Return the files of a source, those that are a split of their own last, and say what is none."""
    if source.builtin:
        return [Input(None, Fate.train), Input(None, Fate.dev)]
    found = locate.locate(source, data_root)
    if isinstance(source, DataConfig) and source.sources and not found.are_prepared:
        raise ConfigError(
            f"data.path={source.path}: data={source.name} is a mix; task=prepare makes its folder"
        )
    for kind in found.passed_over if is_said else ():
        log.warning("%s: not read: %s", source.path or source.name, kind)
    splits = ((Fate.train, found.train), (Fate.dev, found.dev), (Fate.test, found.test))
    return [Input(path, fate, found.are_prepared) for fate, paths in splits for path in paths or ()]


def part_of(
    source: SourceConfig, inputs: Sequence[Input], chunks: Sequence[tuple[Fate, Changes, Ledger]]
) -> Part:
    """Return the part of a source: of its chunks the split, what changed of each row [R], the ledger."""
    given = [np.full(len(changes), fate, np.int8) for fate, changes, _ in chunks]
    whole = ledger.total(source.name, (counted for _, _, counted in chunks))
    is_split = source.builtin or any(put.holds_rows for put in inputs)
    brings = (Fate.dev, Fate.test) if is_split else tuple({put.given for put in inputs})
    paths = [put.path for put in inputs if put.path is not None]
    place = source.name if not paths else str(paths[0] if len(paths) == 1 else paths[0].parent)
    return Part(
        source,
        place,
        np.concatenate([*given, np.zeros(0, np.int8)]),
        brings,
        np.concatenate([*(changes for _, changes, _ in chunks), np.zeros(0, np.uint32)]),
        whole,
    )


def chunks_of(
    put: Input, source: SourceConfig, *, is_said: bool = True, also_read: Collection[str] = ()
) -> Iterator[Chunk]:
    """Yield what stands in an input, in order, and say as what it is read.

    Columns of `also_read` are read by the caller, where they are there. Raises DataError when its format
    is not recognised.
    """
    if put.path is None:
        yield Chunk(questions.generated(source.name, put.given.name), source.columns)
        return
    records = readers.read(put.path, unwrap=source.shape is None)
    if put.holds_rows:
        found: Iterator[Record | Broken | Row] = (_row(record) for record in records)
        columns = source.columns
    else:
        if source.shape is not None:
            records = converters.reshape(source.shape, records, source.language)
        head = _head(records)
        first = [item for item in head if isinstance(item, Record)]
        columns = _columns(put.path, first, source, is_said=is_said, also_read=also_read)
        found = formats.without_late_columns(head, records, columns)
    while items := list(islice(found, CHUNK_ROWS)):
        yield Chunk(items, columns)


def refuse_nothing(data: DataConfig, parts: list[Part], chosen: selection.RowFates) -> None:
    """Raise DataError when no row is left to learn from."""
    if (chosen.fates == Fate.train).any():
        return
    num_rows = np.count_nonzero(np.isin(chosen.fates, (Fate.dev, Fate.test)))
    places = ", ".join(part.place for part in parts)
    if num_rows:
        raise DataError(
            f"{places}: all {num_rows} rows would be dev or test; lower data.dev_share"
            f" ({data.dev_share}) or data.test_share ({data.test_share})"
        )
    raise DataError(f"{places}: no row is left: {'; '.join(str(part.ledger) for part in parts)}")


def source_hash(data: DataConfig, data_root: Path, cache_dir: Path) -> str:
    """Return a hash of a data set as it lies there: of its files, or of the generated rows."""
    hashes = []
    for source in sources_of(data):
        if source.builtin:
            hashes.append(content_hash(questions.generated(source.name, "train")))
        else:
            hashes.append(locate.files_hash(locate.locate(source, data_root), cache_dir))
    return hashes[0] if len(hashes) == 1 else fingerprint(hashes)


def content_hash(rows: Iterable[Row]) -> str:
    """Return a hash of what the rows say, in order: of their content, not of where they were read."""
    digest = hashlib.sha256()
    for row in rows:
        parts = [*(f"{m.role}\0{m.content}" for m in row.messages), row.text]
        parts += [f"read\0{number}" for number, m in enumerate(row.messages) if not m.supervised]
        parts += [
            f"{key}\0{said}" for key in ("rejected", "label", "rating") if (said := getattr(row, key))
        ]
        for part in parts:
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def _row(record: Record | Broken) -> Row | Broken:
    """Return the row that task=prepare wrote."""
    if isinstance(record, Broken):
        return record
    try:
        return Row.from_dict(record.values)
    except (KeyError, TypeError, IndexError):
        return Broken(record.place, "no row of task=prepare")


def _head(found: Iterator[Record | Broken]) -> list[Record | Broken]:
    """Return what comes first, until there are records enough to recognise the format."""
    head: list[Record | Broken] = []
    num_records = 0
    while num_records < formats.NUM_RECORDS and (item := next(found, None)) is not None:
        head.append(item)
        num_records += isinstance(item, Record)
    return head


def _columns(
    path: Path, first: list[Record], source: SourceConfig, *, is_said: bool, also_read: Collection[str]
) -> ColumnsConfig:
    """Return the columns that are read, and say so."""
    if not first:
        return source.columns
    recognised = formats.recognise(path, first, source.columns)
    if not is_said:
        return recognised.columns
    unread = listed([name for name in recognised.unread(first) if name not in also_read])
    log.info("%s: read as %s%s", path, recognised, f"; not read: {unread}" if unread else "")
    context = recognised.columns.context
    if recognised.columns.prompt and context and not any(context in record.values for record in first):
        log.info("%s has no column '%s' (data.columns.context): prompts stand alone", path, context)
    return recognised.columns
