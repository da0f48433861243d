"""The count that closes: rows in = rows kept + rows dropped, by reason, with examples of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

_NUM_EXAMPLES = 5


@dataclass
class Ledger:
    """What happened to every row of one stage."""

    stage: str
    rows_in: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    changed: Counter[str] = field(default_factory=Counter)  # of the kept ones

    def keep(self) -> None:
        """Count a row that goes on."""
        self.rows_in += 1
        self.kept += 1

    def drop(self, reason: str, example: str) -> None:
        """Count a row that does not, and remember where the first few of its kind stand."""
        self.rows_in += 1
        self.dropped[reason] += 1
        self._remember(reason, [example])

    def drop_kept(self, reason: str, count: int, examples: Iterable[str]) -> None:
        """Count rows as dropped that an earlier look had kept; few of the examples are asked for."""
        if count:
            self.kept -= count
            self.dropped[reason] += count
            self._remember(reason, examples)

    def change(self, what: str, count: int, examples: Iterable[str]) -> None:
        """Count kept rows that are not what their source says, and remember where the first few stand."""
        if count:
            self.changed[what] += count
            self._remember(what, examples)

    def add(self, other: Ledger) -> None:
        """Count what another ledger has counted after this one."""
        self.rows_in += other.rows_in
        self.kept += other.kept
        self.dropped += other.dropped
        self.changed += other.changed
        for what, examples in other.examples.items():
            self._remember(what, examples)

    def _remember(self, what: str, examples: Iterable[str]) -> None:
        known = self.examples.setdefault(what, [])
        known += islice(examples, _NUM_EXAMPLES - len(known))

    def __str__(self) -> str:
        """Return the ledger as one line. Raises AssertionError when it does not close."""
        if self.rows_in != self.kept + self.dropped.total():
            raise AssertionError(f"{self.stage}: {self.rows_in} in, {self.kept} kept, {self.dropped}")
        lost = f", {self.dropped.total():,} dropped ({_listed(self.dropped)})" if self.dropped else ""
        changed = f", of which changed: {_listed(self.changed)}" if self.changed else ""
        return f"{self.stage}: {self.rows_in:,} rows in, {self.kept:,} kept{changed}{lost}"

    def where_changed(self) -> list[str]:
        """Return a line for each kind of change: how many rows, and where the first few of them stand."""
        return [
            f"{self.stage}: {count:,} {what}, e.g. {', '.join(self.examples[what])}"
            for what, count in _ordered(self.changed)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return the ledger as JSON holds it."""
        return {
            "stage": self.stage,
            "rows_in": self.rows_in,
            "kept": self.kept,
            "dropped": dict(_ordered(self.dropped)),
            "examples": {what: self.examples[what] for what in sorted(self.examples)},
            "changed": dict(_ordered(self.changed)),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Ledger:
        """Return the ledger that as_dict gave."""
        dropped, changed = Counter(values["dropped"]), Counter(values.get("changed", {}))
        return cls(**{**values, "dropped": dropped, "changed": changed})


def total(stage: str, ledgers: Iterable[Ledger]) -> Ledger:
    """Return what several ledgers have counted together."""
    whole = Ledger(stage)
    for ledger in ledgers:
        whole.add(ledger)
    return whole


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return the most frequent first, like ones by name: the order of parts leaves no trace."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in _ordered(counts))
