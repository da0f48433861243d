"""64-bit hashes of all word n-grams of many texts at once: what two texts share, without a Python loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Shapes: R rows, U characters of all rows, W words of all rows, G n-grams of all rows.
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)
_SPACE, _END_OF_ROW = ord(" "), ord("\n")
_MIX = np.uint64(0xFF51AFD7ED558CCD)  # MurmurHash3's 64-bit finaliser
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Words:
    """Rows of words, as running sums from which the hash of any run of words is one subtraction.

    A run of words is the sum of c[i] * BASE**i over its characters, divided by BASE**(its start):
    the same words have the same hash wherever they stand (Karp and Rabin 1987, modulo 2**64).
    """

    sums: NDArray[np.uint64]  # [U + 1] of c[i] * BASE**i, over the characters before each place
    starts: NDArray[np.intp]  # [W] where each word begins
    ends: NDArray[np.intp]  # [W] where it ends
    counts: NDArray[np.intp]  # [R] words of each row

    def ngrams(self, num_words: int) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        """Return (hashes [G], how many of them each row has [R]), row by row.

        A row with fewer words is one n-gram of all its words; a row without words has none.
        """
        counts = np.maximum(self.counts - (num_words - 1), np.minimum(self.counts, 1))
        row_ends = np.cumsum(self.counts)
        to_word = row_ends - self.counts - (np.cumsum(counts) - counts)  # [R] n-gram -> its first word
        first = np.arange(counts.sum()) + np.repeat(to_word, counts)
        last = np.minimum(first + (num_words - 1), np.repeat(row_ends - 1, counts))
        starts = self.starts[first]
        hashes = self.sums[self.ends[last]]
        hashes -= self.sums[starts]
        hashes *= _powers(_INVERSE, len(self.sums))[starts]
        # The low bits of such a sum know only the low bits of the characters: mix before use.
        hashes ^= hashes >> _HALF
        hashes *= _MIX
        hashes ^= hashes >> _HALF
        return hashes, counts


def words(texts: Sequence[str]) -> Words:
    r"""Return the words of texts as normalize(text, "matching") gives them: one space between words.

    Raises ValueError when a text holds a line break, which that profile never leaves.
    """
    # surrogatepass: JSON may hold half a surrogate pair, which is a character like any other here.
    joined = "\n".join((*texts, "")).encode("utf-32-le", "surrogatepass")
    characters = np.frombuffer(joined, dtype="<u4")  # [U]
    row_ends = np.flatnonzero(characters == _END_OF_ROW)
    if len(row_ends) != len(texts):
        raise ValueError("a text holds a line break; normalise it for matching first")
    is_gap = characters <= _SPACE
    edges = np.flatnonzero(is_gap[1:] != is_gap[:-1]) + 1
    if not is_gap[:1].all():
        edges = np.concatenate([[0], edges])
    starts, ends = edges[::2], edges[1::2]
    counts = np.searchsorted(starts, row_ends)
    counts[1:] -= counts[:-1].copy()
    sums = np.zeros(len(characters) + 1, np.uint64)
    np.cumsum(characters * _powers(_BASE, len(sums))[:-1], out=sums[1:])
    return Words(sums, starts, ends, counts)


def _powers(base: int, length: int) -> NDArray[np.uint64]:
    """Return base**0, base**1, ... modulo 2**64."""
    return _power_table(base, 1 << max(16, (length - 1).bit_length()))[:length]


@lru_cache(maxsize=4)
def _power_table(base: int, length: int) -> NDArray[np.uint64]:
    table = np.full(length, base, np.uint64)
    table[0] = 1
    return np.cumprod(table, dtype=np.uint64)
