"""Why rows are left out of a data set: those that cannot be used, and those that are asked for by name."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path

from arabic_llm.config.data import BadRow, DataConfig
from arabic_llm.data.cleaning import contamination
from arabic_llm.data.cleaning.rules import Chunk, Rules, clean
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import row_builder
from arabic_llm.data.reading.locate import sources_of
from arabic_llm.data.reading.readers import Broken, Record
from arabic_llm.data.rows import Row

OTHERWISE = "left out as a copy, by data.max_rows or by data.sample_size"


def rows(
    data: DataConfig, data_root: Path, seed: int, test_items: set[str], wanted: Container[str]
) -> Iterator[Broken]:
    """Yield each bad row of a data set, and of the wanted ids each that cleaning drops, with the reason.

    A wanted row that only its fellows drop (a copy, one too many) is yielded with OTHERWISE: whoever
    has the row knows better.
    """
    items = contamination.index(test_items)
    for source in sources_of(data):
        rules = Rules(source, items, seed, are_signed=False)
        for put in sources.inputs_of(source, data_root, is_said=False):
            for chunk in sources.chunks_of(put, source, is_said=False):
                for item in chunk.items:
                    row = row_builder.as_row(item, chunk.columns) if isinstance(item, Record) else item
                    if isinstance(row, Broken):
                        yield row
                    elif row.id in wanted:
                        yield Broken(row.id, _reason(row, chunk, rules))


def tolerant(data: DataConfig) -> DataConfig:
    """Return the data set as it is read where bad rows are shown and do not end the task."""
    named = {name: replace(source, on_bad_row=BadRow.drop) for name, source in data.sources.items()}
    return replace(data, on_bad_row=BadRow.drop, sources=named)


def _reason(row: Row, chunk: Chunk, rules: Rules) -> str:
    """Return why cleaning drops a row that is looked at by itself."""
    dropped = clean(Chunk([row], chunk.columns), rules).ledger.dropped
    return next(iter(dropped), OTHERWISE)
