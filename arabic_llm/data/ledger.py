"""The count that closes: rows in = rows kept + rows dropped, by reason, with examples of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
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
        self._remember(reason, example)

    def drop_kept(self, reason: str, example: str) -> None:
        """Count a row as dropped that an earlier look had kept."""
        self.kept -= 1
        self.rows_in -= 1
        self.drop(reason, example)

    def change(self, what: str, example: str) -> None:
        """Count a kept row that is not what its source says, and remember where the first few stand."""
        self.changed[what] += 1
        self._remember(what, example)

    def _remember(self, what: str, example: str) -> None:
        examples = self.examples.setdefault(what, [])
        if len(examples) < _NUM_EXAMPLES:
            examples.append(example)

    def __add__(self, other: Ledger) -> Ledger:
        """Return the ledger of this part and the next one, as one pass over both would have counted."""
        both = Ledger(self.stage, self.rows_in + other.rows_in, self.kept + other.kept)
        both.dropped, both.changed = self.dropped + other.dropped, self.changed + other.changed
        for part in (self, other):
            for what, examples in part.examples.items():
                for example in examples:
                    both._remember(what, example)
        return both

    def __str__(self) -> str:
        """Return the ledger as one line. Raises AssertionError when it does not close."""
        if self.rows_in != self.kept + self.dropped.total():
            raise AssertionError(f"{self.stage}: {self.rows_in} in, {self.kept} kept, {self.dropped}")
        lost = f", {self.dropped.total():,} dropped ({_listed(self.dropped)})" if self.dropped else ""
        changed = f", of which changed: {_listed(self.changed)}" if self.changed else ""
        return f"{self.stage}: {self.rows_in:,} rows in, {self.kept:,} kept{changed}{lost}"

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


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return the most frequent first, like ones by name: the order of parts leaves no trace."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in _ordered(counts))
