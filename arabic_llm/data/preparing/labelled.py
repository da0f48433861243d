"""Labelled texts of a data set: their classes, how many rows each has, and what cannot be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arabic_llm.config.complaints import typed_list
from arabic_llm.config.data import BadRow, DataConfig
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import kept_rows, sources
from arabic_llm.data.reading.records import listed, shown
from arabic_llm.data.rows import Row
from arabic_llm.data.sample import questions
from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize

_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Labelled:
    """Rows with a text and a label each, and all labels there are, in the order of their classes."""

    name: str
    labels: tuple[str, ...]
    are_ordered: bool
    train: list[Row]
    dev: list[Row]
    test: list[Row]
    ledgers: list[Ledger]

    def classes(self, rows: Sequence[Row]) -> list[int]:
        """Return the class of each row: the index of its label."""
        return [self.labels.index(row.label) for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return split -> label -> how many rows have it."""
        found = {split: Counter(row.label for row in getattr(self, split)) for split in _SPLITS}
        return {split: {label: counts[label] for label in self.labels} for split, counts in found.items()}

    def shares(self) -> Iterator[str]:
        """Yield a line a split: its rows, and the share of each class."""
        for split, counts in self.counts().items():
            whole = sum(counts.values())
            shares = ", ".join(f"{label} {100 * n / whole:.1f}%" for label, n in counts.items() if whole)
            yield f"{split}: {whole:,} rows{': ' if whole else ''}{shares}"

    def notes(self) -> Iterator[str]:
        """Yield what a reader of any score must know: nothing is weighted, texts may come twice."""
        yield "classes are not weighted: every row counts once, and a class of few rows is learned from few"
        repeated, known = self.repetitions()
        if repeated or known:
            yield f"test: {repeated:,} texts repeat another, {known:,} stand in train with another label"

    def repetitions(self) -> tuple[int, int]:
        """Return how many test rows have the text of an earlier one, and of a training row.

        Copies of a test row, label and all, are no training rows any more: selection.py drops them.
        """
        test, train = (
            [normalize(row.text, "matching") or row.text for row in rows]
            for rows in (self.test, self.train)
        )
        trained = set(train)
        return len(test) - len(set(test)), sum(text in trained for text in test)


def load(data: DataConfig, data_root: Path, seed: int, cache_dir: Path | None = None) -> Labelled:
    """Return the labelled rows of a data set; the generated ones are sentences in four varieties of Arabic.

    Raises DataError when rows have no label or no text, when there is nothing to tell apart or to judge
    by, and for a label that no training row has.
    """
    rows = _generated() if data.builtin else kept_rows.load(data, data_root, seed, (), cache_dir)
    splits = [_usable(split, data, rows.ledgers) for split in (rows.train, rows.dev, rows.test)]
    spellings = _spellings(data.labels, splits[0])
    train, dev, test = ([_spelled(row, spellings, rows.ledgers) for row in split] for split in splits)
    if not test:
        raise DataError(f"data={data.name}: no test row; raise data.test_share or set data.test_files")
    known = {row.label for row in train}
    labels = tuple(data.labels or sorted(known))
    for row in (*train, *dev, *test):
        if row.label not in labels:
            there = f"data.labels are: {listed(labels)}" if data.labels else "no training row has it"
            raise DataError(f"{row.id}: label '{shown(row.label)}'; {there}; mend it, or leave the row out")
    if missing := [label for label in labels if label not in known]:
        raise DataError(f"data.labels: no training row has '{missing[0]}'; take it out of the list")
    if len(labels) == 1:
        as_filed = sorted({row.label for split in splits for row in split})
        why = f"every row is '{labels[0]}': there is nothing to tell apart"
        if len(as_filed) > 1:
            why = f"its labels ({listed(as_filed)}) differ in signs alone and are read as one"
            why += f"; {typed_list('data.labels', as_filed)} keeps them apart"
        raise DataError(f"data={data.name}: {why}")
    return Labelled(data.name, labels, data.labels_are_ordered, train, dev, test, rows.ledgers)


def _usable(rows: Sequence[Row], data: DataConfig, ledgers: Sequence[Ledger]) -> list[Row]:
    """Return the rows that have a text and a label. Raises DataError for one that has not."""
    if rows and not any(row.label for row in rows):
        raise DataError(
            f"data={data.name}: its rows have no label; set data.columns.text=<column>"
            " data.columns.label=<column>"
        )
    usable = []
    for row in rows:
        if not row.text:
            raise DataError(f"{row.id}: a conversation, no text; set data.columns.text=<column>")
        if row.label:
            usable.append(row)
        elif data.on_bad_row is BadRow.drop:
            own = next(ledger for ledger in ledgers if ledger.stage == row.source)
            own.drop_kept("no label", 1, [row.id])
        else:
            column = data.columns.label or "label"
            raise DataError(f"{row.id}: '{column}' is empty; mend it, or set data.on_bad_row=drop")
    return usable


def _spellings(given: Sequence[str], rows: Sequence[Row]) -> dict[str, str]:
    """Return the form under which labels are one -> how it is spelled: as given, or in most rows."""
    if given:
        forms = Counter(map(_form, given))
        return {_form(label): label for label in given if forms[_form(label)] == 1}
    counts = Counter(row.label for row in rows)
    return {_form(label): label for label, _ in sorted(counts.items(), key=lambda item: (item[1], item[0]))}


def _form(label: str) -> str:
    return normalize(label, "matching") or label


def _spelled(row: Row, spellings: Mapping[str, str], ledgers: Sequence[Ledger]) -> Row:
    """Return the row with its label as others spell it: a diacritic makes no class of its own."""
    label = spellings.get(_form(row.label), row.label)
    if label == row.label:
        return row
    own = next(ledger for ledger in ledgers if ledger.stage == row.source)
    own.change(f"label spelled '{shown(label)}'", 1, [row.id])
    return replace(row, label=label)


def _generated() -> sources.Rows:
    """Return the sample's sentences, each with its variety of Arabic."""
    train, dev, test = (
        [
            Row(f"sample/dialect/{split}/{number}", text=sentence, label=variety)
            for number, (variety, sentence) in enumerate(questions.dialect_sentences(split))
        ]
        for split in _SPLITS
    )
    num_rows = len(train) + len(dev) + len(test)
    return sources.Rows("sample", train, dev, test, [Ledger("sample", num_rows, num_rows)])
