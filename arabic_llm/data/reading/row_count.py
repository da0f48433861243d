"""How many rows a data set has to train on, as far as a glance at the disk can say: for the plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from arabic_llm.config.data import DataConfig, Shape, SourceConfig
from arabic_llm.data.reading import converters, formats, locate, readers
from arabic_llm.data.reading.parquet import num_rows
from arabic_llm.data.reading.records import Broken, Record
from arabic_llm.data.sample import questions
from arabic_llm.errors import DataError

_HEAD_BYTES = 2**25  # of a larger file only so much is counted: a hundredth of a second
_PARSED_BYTES = 2**21  # of a file that must be parsed to be counted
_QUOTED = (".csv", ".tsv")  # records end with a line, outside quotes
_LINES = (".jsonl", ".json", *_QUOTED)


@dataclass(frozen=True)
class Extent:
    """Rows of the train split, how surely, and who says so."""

    rows: int
    surely: str  # "" (task=prepare has counted), "up to " (filters may drop some), "about " (extrapolated)
    origin: str
    are_texts: bool = False  # raw ones: several are packed into a sequence, or one is cut into several
    tokens: int | None = None  # in an epoch, without a chat template's own; None: nobody has counted


@dataclass(frozen=True)
class _Part:
    extent: Extent
    brings_dev: bool  # so that none are drawn
    brings_test: bool


_OF_ARTICLES = (Shape.paragraphs, Shape.paragraph_questions)  # many rows a record


def of(data: DataConfig, data_root: Path, made: Path, config: dict[str, Any], model: str) -> Extent:
    """Return what training on a data set sees of it.

    `made` is where task=prepare leaves it; what lies there counts where it was made of this `config`, the
    run's values by group. Raises DataError, which says what is missing and what would count it.
    """
    sources = locate.sources_of(data)
    if _is_made_of(made, sources, config):
        return _prepared(made, model)
    parts = [_part(source, data_root, model, data.name) for source in sources]
    said = {part.extent.surely for part in parts}
    surely = next(words for words in ("about ", "up to ", "") if words in said)
    if len(parts) == 1 and not surely:
        return parts[0].extent
    origin = parts[0].extent.origin if len(parts) == 1 else f"{len(parts)} sources of data={data.name}"
    are_texts = any(part.extent.are_texts for part in parts)
    return Extent(_without_drawn(data, parts), surely, origin, are_texts)


def _is_made_of(folder: Path, sources: list[SourceConfig], config: dict[str, Any]) -> bool:
    """Return whether task=prepare has left there the very rows that this configuration gives."""
    if not (folder / locate.PREPARED).is_file():
        return False
    before = locate.prepared(folder).get("config") or {}
    reads_suite = any(source.cleaning.drop_test_items for source in sources)
    return all(before.get(key) == config[key] for key in ("data", "seed", *["suite"] * reads_suite))


def _prepared(folder: Path, model: str) -> Extent:
    said = locate.prepared(folder)
    train = {name: split["rows"] for name, split in said["splits"].items() if name.endswith("train.jsonl")}
    tokens = said.get("tokens", {})  # absent from folders of earlier versions
    known = tokens.get("train") if tokens.get("model") == model else None
    first = next(readers.read(folder / next(iter(train))))
    are_texts = isinstance(first, Record) and bool(
        first.values.get("text") and not first.values.get("label")
    )
    return Extent(sum(train.values()), "", str(folder / locate.PREPARED), are_texts, known)


def _part(source: SourceConfig, data_root: Path, model: str, whole: str) -> _Part:
    """Return the rows of a source of `whole` before filters, without its own dev and test splits."""
    if source.builtin:
        rows = questions.num_generated(source.name, "train")
        return _Part(Extent(_bounded(rows, source), "up to ", f"data={source.name}"), True, True)
    if (found := locate.here(source, data_root, verified=False)) is None:
        looked = " nor ".join(dict.fromkeys(map(str, locate.candidates(source, data_root))))
        cure = f"task=download data={whole} brings it" if source.hub_id else "put it there"
        raise DataError(f"data={source.name}: nothing is at {looked}; {cure}, or set data.path")
    if found.are_prepared:
        return _Part(_prepared(found.train[0].parent, model), True, True)
    counted = [_count(path, source) for path in found.train]
    surely = "about " if any(is_guess for _, is_guess in counted) else "up to "
    origin = str(found.train[0] if len(found.train) == 1 else found.train[0].parent)
    rows, are_texts = sum(rows for rows, _ in counted), _holds_texts(found.train[0], source)
    extent = Extent(_bounded(rows, source), surely, origin, are_texts)
    return _Part(extent, found.dev is not None, found.test is not None)


def _bounded(rows: int, source: SourceConfig) -> int:
    return min(bound for bound in (rows, source.max_rows, source.sample_size) if bound is not None)


def _count(path: Path, source: SourceConfig) -> tuple[int, bool]:
    """Return the records of a file, and whether they are extrapolated.

    Raises DataError where they would have to be parsed, and are too many for a glance.
    """
    size, suffix = path.stat().st_size, path.suffix.lower()
    if suffix == ".parquet":
        return num_rows(path), False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    begins = head.lstrip()[:1] if suffix == ".json" else b""
    is_array = begins == b"[" or (begins == b"{" and size <= _PARSED_BYTES)  # it may be one object, of rows
    if suffix not in _LINES or is_array or source.shape in _OF_ARTICLES:
        if size > _PARSED_BYTES or suffix == ".xlsx":
            raise DataError(f"{path} must be read to count its rows: dry_run=true task=sft does")
        return sum(1 for _ in _records(path, source)), False
    if suffix in _QUOTED:
        head = b"".join(head.split(b'"')[::2])
    lines = head.count(b"\n") + (not head.endswith(b"\n")) - (suffix in _QUOTED)  # the header
    return (lines, False) if size <= _HEAD_BYTES else (round(lines * size / _HEAD_BYTES), True)


def _records(path: Path, source: SourceConfig) -> Iterator[Record | Broken]:
    records = readers.read(path, unwrap=source.shape is None)
    return records if source.shape is None else converters.reshape(source.shape, records, source.language)


def _holds_texts(path: Path, source: SourceConfig) -> bool:
    """Return whether the records of a file are raw texts. Raises DataError for a format we do not know."""
    columns = source.columns
    if path.suffix.lower() != ".parquet":  # whose first rows take as long as the whole plan
        head = islice(_records(path, source), formats.NUM_RECORDS)
        if first := [record for record in head if isinstance(record, Record)]:
            columns = formats.recognise(path, first, columns).columns
    return columns.text is not None and columns.label is None


def _without_drawn(data: DataConfig, parts: list[_Part]) -> int:
    """Return the rows that are left when dev and test are drawn (data/preparing/selection.py)."""
    rows = [part.extent.rows for part in parts]
    left = sum(rows)
    for share, brings in (
        (data.test_share, [part.brings_test for part in parts]),
        (data.dev_share, [part.brings_dev for part in parts]),
    ):
        open_to_it = sum(r for r, has in zip(rows, brings, strict=True) if not has)
        left -= min(open_to_it, round(share * sum(rows)))
    return left
