"""Articles of a data set: raw texts, with the title, address, revision and licence of their records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from arabic_llm.config.data import BadRow, DataConfig, SourceConfig
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import sources
from arabic_llm.data.preparing.selection import Fate
from arabic_llm.data.reading import locate, row_builder
from arabic_llm.data.reading.records import Broken, Record, as_text
from arabic_llm.data.rows import Row
from arabic_llm.data.sample.facts import all_facts
from arabic_llm.data.sample.questions import phrases
from arabic_llm.errors import DataError

_NAMES = {  # as dumps of Wikipedia and their readers call them
    "title": ("title", "page_title"),
    "url": ("url", "page_url", "source_url"),
    "revision": ("revision", "revision_id", "revid", "version"),
    "license": ("license", "licence"),
}
_ALL_NAMES = [name for names in _NAMES.values() for name in names]
_OF_COUNTRIES = ("capital", "continent", "currency", "language")


@dataclass(frozen=True)
class Article:
    """One text, and where it comes from. `id` leads back to its source."""

    id: str
    text: str
    title: str = ""
    url: str = ""
    revision: str = ""
    license: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the article as JSON holds it."""
        return asdict(self)


def of_data(data: DataConfig, data_root: Path, ledger: Ledger) -> Iterator[Article]:
    """Yield the training texts of a data set: what it keeps for its test is asked about by nobody.

    Raises DataError for a record that is broken, unless data.on_bad_row is drop, and for conversations.
    """
    for source in locate.sources_of(data):
        if source.builtin:
            yield from _of_sample(ledger)
            continue
        train = (put for put in sources.inputs_of(source, data_root) if put.given is Fate.train)
        for chunk in (
            chunk for put in train for chunk in sources.chunks_of(put, source, also_read=_ALL_NAMES)
        ):
            for item in chunk.items:
                found = _article(item, chunk.columns, source.license or "")
                if isinstance(found, Broken):
                    _drop(found, source, ledger)
                    continue
                ledger.keep()
                yield replace(found, id=found.id.removeprefix(f"{data_root}/"))


def _article(item: Record | Broken | Row, columns: Any, given: str) -> Article | Broken:
    row = row_builder.as_row(item, columns) if isinstance(item, Record) else item
    if isinstance(row, Broken):
        return row
    if not row.text:
        raise DataError(
            f"{row.id}: a conversation; articles are raw texts: data=arcd, data=wikipedia_ar, or a file"
            " with a column 'text' (data.columns.text=<column>)"
        )
    values = item.values if isinstance(item, Record) else {}
    told = {key: _first(values, names) for key, names in _NAMES.items()}
    return Article(row.id, row.text, **{**told, "license": told["license"] or given})


def _first(values: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := as_text(values.get(name)))), "")


def _drop(broken: Broken, source: SourceConfig, ledger: Ledger) -> None:
    if source.on_bad_row is BadRow.stop:
        raise DataError(f"{broken.place}: {broken.reason}; mend it, or set data.on_bad_row=drop")
    ledger.drop(broken.reason.partition(":")[0], broken.place)


def _of_sample(ledger: Ledger) -> Iterator[Article]:
    """Yield an article a country, of school facts that no test asks, each stated in two ways."""
    facts = [fact for fact in all_facts() if fact.relation in _OF_COUNTRIES and fact.split == "train"]
    for country, own in groupby(facts, key=lambda fact: fact.x):
        known = list(own)
        said = [
            phrases()[fact.relation]["statements"][way].format(x=fact.x, y=fact.y)
            for way in range(2)
            for fact in known
        ]
        ledger.keep()
        yield Article(f"sample/article/{country}", " ".join(said), country, license="Apache-2.0")
