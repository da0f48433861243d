"""Which cleaned rows stay, and in which split: copies, near copies, samples, shares, over all sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from arabic_llm.config.data import DataConfig, SourceConfig
from arabic_llm.data.cleaning import near_copies
from arabic_llm.data.cleaning.rules import CHANGES
from arabic_llm.data.ledger import Ledger

# Shapes: R rows of all sources, source after source; P permutations of near.signatures.


class Fate(IntEnum):
    """What becomes of a cleaned row."""

    train = 0
    dev = 1
    test = 2
    held_out = 3
    copy = 4
    near_copy = 5
    beyond = 6
    unsampled = 7


KEPT = (Fate.train, Fate.dev, Fate.test)
_FEWEST_OF_A_CLASS = 3  # rows: one for each split
REASONS = {
    Fate.held_out: "also in the dev or test split",
    Fate.copy: "exact copy",
    Fate.near_copy: "near copy",
    Fate.beyond: "beyond data.max_rows",
    Fate.unsampled: "not in the sample of data.sample_size",
}


@dataclass(frozen=True)
class Part:
    """The cleaned rows of one source, and what became of those that are not among them.

    `given` [R] holds the split that the source itself puts a row in (Fate.dev, Fate.test), else
    Fate.train; `brings` are the splits that it has of its own, so that none are drawn from it;
    `changes` [R] has a bit for each of CHANGES.
    """

    source: SourceConfig
    place: str  # the file or folder, for messages
    given: NDArray[np.int8]
    brings: tuple[Fate, ...]
    changes: NDArray[np.uint32]
    ledger: Ledger


@dataclass(frozen=True)
class RowFates:
    """`fates` [R] of all rows, and for copies `originals` [R]: the row they repeat, else -1."""

    fates: NDArray[np.int8]
    originals: NDArray[np.int64]

    def account(self, parts: Sequence[Part], name: Callable[[int], str]) -> None:
        """Write drops and changes into the ledger of each source; `name` gives the id of a row."""
        for part, rows in _ranges(parts):
            for fate, reason in REASONS.items():
                dropped = rows[self.fates[rows] == fate]
                part.ledger.drop_kept(reason, len(dropped), (self._example(row, name) for row in dropped))
            is_kept = np.isin(self.fates[rows], KEPT)
            for bit, what in enumerate(CHANGES):
                changed = rows[is_kept & (part.changes & np.uint32(1 << bit) > 0)]
                part.ledger.change(what, len(changed), map(name, changed))

    def _example(self, row: int, name: Callable[[int], str]) -> str:
        is_near = self.fates[row] == Fate.near_copy
        return f"{name(row)} of {name(self.originals[row])}" if is_near else name(row)


def choose(
    data: DataConfig,
    parts: Sequence[Part],
    digests: NDArray[np.uint64],
    signatures: NDArray[np.uint32],
    seed: int,
) -> RowFates:
    """Return the fates of rows with digests [R, 4] and signatures [R, P] of cleaning.Cleaned.

    Each source is looked at as if it stood alone; then the rows of a mix that are left, all together.
    Which rows are drawn follows from the seed and what they say, not from where they stand.
    """
    fates = np.concatenate([part.given for part in parts]) if parts else np.zeros(0, np.int8)
    chosen = RowFates(fates, np.full(len(fates), -1, np.int64))
    for part, rows in _ranges(parts):
        _drop_copies(chosen, rows, digests, dedup=part.source.dedup)
        _drop_near_copies(chosen, rows, signatures, part.source.cleaning.near_duplicates)
        _drop_the_rest(chosen, rows, digests, part.source, seed)
    if data.sources:
        everything = np.arange(len(fates))
        _drop_copies(chosen, everything, digests, dedup=data.dedup)
        _drop_near_copies(chosen, everything, signatures, data.cleaning.near_duplicates)
    _split(chosen, parts, digests, data, seed)
    return chosen


def _ranges(parts: Sequence[Part]) -> Iterator[tuple[Part, NDArray[np.int64]]]:
    start = 0
    for part in parts:
        yield part, np.arange(start, start + len(part.given))
        start += len(part.given)


def _first_to_be_kept_first(chosen: RowFates, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that are still kept: test rows, then dev rows, then training rows."""
    fates = chosen.fates[rows]
    return np.concatenate([rows[fates == fate] for fate in (Fate.test, Fate.dev, Fate.train)])


def _drop_copies(
    chosen: RowFates, rows: NDArray[np.int64], digests: NDArray[np.uint64], *, dedup: bool
) -> None:
    """Drop training rows that repeat a row of a given split, and each training row but its first.

    What a given split holds in other diacritics or signs gives it away too; a copy has the same.
    """
    repeats, originals = _repeats(chosen, rows, digests[:, :2])
    is_given = chosen.fates[originals] != Fate.train
    _drop(chosen, repeats[is_given], originals[is_given], Fate.held_out)
    if dedup:
        repeats, originals = _repeats(chosen, rows, digests[:, :3])
        is_ours = chosen.fates[originals] == Fate.train
        _drop(chosen, repeats[is_ours], originals[is_ours], Fate.copy)


def _repeats(
    chosen: RowFates, rows: NDArray[np.int64], digests: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that are still kept and repeat one, and which."""
    rows = _first_to_be_kept_first(chosen, rows)
    order = np.lexsort(digests[rows].T[::-1])  # stable: of copies, the first comes first
    ranked = digests[rows[order]]
    is_first = np.concatenate([[True], (ranked[1:] != ranked[:-1]).any(axis=1)])[: len(rows)]
    originals = rows[order[is_first][np.cumsum(is_first) - 1]]
    return rows[order][~is_first], originals[~is_first]


def _drop_near_copies(
    chosen: RowFates, rows: NDArray[np.int64], signatures: NDArray[np.uint32], similarity: float | None
) -> None:
    if similarity is not None:
        rows = _first_to_be_kept_first(chosen, rows)
        originals = near_copies.duplicates(signatures, similarity, rows)
        repeats = np.flatnonzero(originals >= 0)
        _drop(chosen, repeats, originals[repeats], Fate.near_copy)


def _drop(chosen: RowFates, rows: NDArray[np.int64], originals: NDArray[np.int64], fate: Fate) -> None:
    """Drop rows, but none of a split that was given: those stay as they were published."""
    is_ours = chosen.fates[rows] == Fate.train
    chosen.fates[rows[is_ours]] = fate
    chosen.originals[rows[is_ours]] = originals[is_ours]


def _drop_the_rest(
    chosen: RowFates, rows: NDArray[np.int64], digests: NDArray[np.uint64], source: SourceConfig, seed: int
) -> None:
    """Drop training rows beyond the first max_rows, and those that the sample has no room for."""
    kept = rows[chosen.fates[rows] == Fate.train]
    if source.max_rows is not None:
        chosen.fates[kept[source.max_rows :]] = Fate.beyond
        kept = kept[: source.max_rows]
    if source.sample_size is not None:
        drawn = _drawn(digests, kept, f"sample/{seed}")
        chosen.fates[drawn[source.sample_size :]] = Fate.unsampled


def _split(
    chosen: RowFates, parts: Sequence[Part], digests: NDArray[np.uint64], data: DataConfig, seed: int
) -> None:
    """Draw test and dev rows, as shares of all training rows, from sources that bring none."""
    num_rows = int(np.count_nonzero(chosen.fates == Fate.train))
    shares = {Fate.test: data.test_share, Fate.dev: data.dev_share}
    for fate, share in shares.items():
        open_to_it = [
            rows[chosen.fates[rows] == Fate.train]
            for part, rows in _ranges(parts)
            if fate not in part.brings
        ]
        drawn = _drawn(digests, np.concatenate([*open_to_it, np.zeros(0, np.int64)]), f"{fate.name}/{seed}")
        chosen.fates[_of_each_class(drawn, digests[drawn, 3], round(share * num_rows))] = fate


def _of_each_class(rows: NDArray[np.int64], classes: NDArray[np.uint64], num: int) -> NDArray[np.int64]:
    """Return the first `num` rows, in their order, but of each class its share; without classes the first.

    Remainders go to the largest. A class that has rows enough is in it, if need be beside `num`, but of
    very many classes no more than twice so many.
    """
    if not classes.any():
        return rows[:num]
    names, of_row, counts = np.unique(classes, return_inverse=True, return_counts=True)
    exact = counts * (num / len(rows))
    wanted = np.maximum(np.floor(exact).astype(np.int64), counts >= _FEWEST_OF_A_CLASS)
    total = min(max(num, int(wanted.sum())), 2 * num, len(rows))
    while step := int(np.sign(total - wanted.sum())):
        neediest = np.lexsort((names, step * (wanted - exact)))
        is_open = wanted < counts if step > 0 else wanted > 0
        wanted[neediest[is_open[neediest]][0]] += step
    by_class = np.argsort(of_row, kind="stable")
    place = np.empty(len(rows), np.int64)  # of a row among those of its class
    place[by_class] = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen: NDArray[np.int64] = rows[place < wanted[of_row]]
    return chosen


def _drawn(digests: NDArray[np.uint64], rows: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Return rows in an order that follows from the name and their digests.

    Those are SHA-256 already: the finaliser of splitmix64 (Steele, Lea and Flood 2014) makes an order
    of them that has nothing to do with that of another name.
    """
    key = np.uint64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    mixed = digests[rows, 0] ^ key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    ordered: NDArray[np.int64] = rows[np.lexsort((digests[rows, 2], mixed ^ (mixed >> np.uint64(31))))]
    return ordered
