"""Near duplicates: MinHash signatures of word 5-grams, and the kept row that each other row repeats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from arabic_llm.data.cleaning import ngrams

# Shapes: R rows, P permutations = NUM_BANDS * BAND_SIZE, G n-grams of a block, E edges (pairs of rows).
NGRAM_WORDS = 5
# 14 bands of 8, the defaults of datatrove's MinhashConfig: two rows of Jaccard J share a band with
# probability 1 - (1 - J**8)**14: 0.05 at 0.5, 0.56 at 0.7, 0.92 at 0.8, 0.9996 at 0.9.
NUM_BANDS = 14
BAND_SIZE = 8
NUM_PERMUTATIONS = NUM_BANDS * BAND_SIZE
NO_WORDS = np.uint32(0xFFFFFFFF)  # the whole signature of a row without words

# Characters signed at once: 112 passes over about 2**16 n-grams of 4 bytes stay in a cache of 1 MiB.
_BLOCK_CHARACTERS = 400_000
_BLOCK_PAIRS = 8192
# A band where rows are alike but not alike enough is compared with this many first rows of each bucket;
# what is left then is kept. Without a bound, boilerplate would cost the square of its rows.
_MAX_LEADERS = 64


def signatures(texts: Sequence[str], seed: int) -> NDArray[np.uint32]:
    """Return the signatures [R, P] of texts as normalize(text, "matching") gives them.

    The share of equal entries of two signatures estimates the Jaccard similarity J of their sets of
    word 5-grams, with a standard error of sqrt(J (1 - J) / 112). A row of 1 to 4 words is one n-gram of
    all of them, so it is like another only when it is equal. Rows do not see each other: any batches
    give the same signatures, one batch after another.
    """
    out = np.full((len(texts), NUM_PERMUTATIONS), NO_WORDS, np.uint32)
    for start, stop in blocks(texts):
        hashes, counts = ngrams.words(texts[start:stop]).ngrams(NGRAM_WORDS)
        _sign((hashes >> np.uint64(32)).astype(np.uint32), counts, seed, out[start:stop])
    return out


def band_keys(signed: NDArray[np.uint32], band: int) -> NDArray[np.uint64]:
    """Return the keys [R] of one band of signatures [R, P]: equal where its 8 entries are."""
    entries = signed[:, band * BAND_SIZE : (band + 1) * BAND_SIZE]
    keys = np.zeros(len(entries), np.uint64)
    for column in range(BAND_SIZE):
        keys ^= entries[:, column]
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def duplicates(
    signed: NDArray[np.uint32], similarity: float = 0.8, among: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return for each row of signatures [R, P] the index of the row it repeats, or -1: those are kept.

    `among` are the rows that are looked at, the first to be kept first (none: all, in order).
    A row repeats a kept row before it when both share a band, or both share one with a row between that
    is dropped, and their signatures are equal in `similarity` of their entries. So whatever is dropped
    is that like something kept: no chain of small changes drops a row unlike all that stay.
    The signatures may be a np.memmap; beside them this takes about 80 bytes a row.
    """
    among = np.arange(len(signed)) if among is None else among
    repeats = np.full(len(signed), -1, np.int64)
    edges = np.zeros((0,), np.uint64)  # later place in `among` << 32 | earlier place
    for band in range(NUM_BANDS):
        edges = np.union1d(edges, _edges(signed, band, similarity, among))
    later, earlier = edges >> np.uint64(32), edges & np.uint64(0xFFFFFFFF)
    for row, other in zip(among[later].tolist(), among[earlier].tolist(), strict=True):
        if repeats[row] >= 0:
            continue
        kept = repeats[other] if repeats[other] >= 0 else other
        # What is like a copy is not always like its original.
        if kept == other or _alike(signed, np.array([row]), np.array([kept]), similarity)[0]:
            repeats[row] = kept
    return repeats


def blocks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of runs of rows with about _BLOCK_CHARACTERS; a longer row is one of its own."""
    start, characters = 0, 0
    for row, text in enumerate(texts):
        if row > start and characters + len(text) > _BLOCK_CHARACTERS:
            yield start, row
            start, characters = row, 0
        characters += len(text) + 1
    if texts:
        yield start, len(texts)


def _sign(
    hashes: NDArray[np.uint32],
    counts: NDArray[np.intp],
    seed: int,
    out: NDArray[np.uint32],
) -> None:
    """Write the least hash of each row under each permutation h -> a h + b modulo 2**32, a odd.

    `hashes` [G] stand row by row, `counts` [R] of them each; `out` is [R, P].
    """
    has_words = counts > 0
    if not has_words.any():
        return
    offsets = (np.cumsum(counts) - counts)[has_words]
    least = np.empty((NUM_PERMUTATIONS, len(offsets)), np.uint32)
    permuted = np.empty_like(hashes)
    for permutation, (factor, shift) in enumerate(zip(*_permutations(seed), strict=True)):
        np.multiply(hashes, factor, out=permuted)
        np.add(permuted, shift, out=permuted)
        np.minimum.reduceat(permuted, offsets, out=least[permutation])
    out[has_words] = least.T


@lru_cache(maxsize=1)
def _permutations(seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    digest = hashlib.sha256(f"minhash/{seed}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest, "big"))
    factors, shifts = draw.integers(0, 1 << 32, (2, NUM_PERMUTATIONS), dtype=np.uint32)
    return factors | np.uint32(1), shifts


def _edges(
    signed: NDArray[np.uint32], band: int, similarity: float, among: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return (later place << 32 | earlier place) in `among` of rows that share a band and are alike."""
    keys = band_keys(signed, band)[among]
    rows = np.argsort(keys, kind="stable")  # in a bucket, rows stand in the order of `among`
    keys = keys[rows]
    no_words = band_keys(np.full((1, NUM_PERMUTATIONS), NO_WORDS), band)
    rows, keys = rows[keys != no_words], keys[keys != no_words]
    found = [np.zeros(0, np.uint64)]
    for _ in range(_MAX_LEADERS):
        is_first = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
        leaders = rows[is_first][np.cumsum(is_first) - 1][~is_first]
        rows, keys = rows[~is_first], keys[~is_first]
        if not len(rows):
            break
        alike = _alike(signed, among[rows], among[leaders], similarity)
        found.append((rows[alike].astype(np.uint64) << np.uint64(32)) | leaders[alike].astype(np.uint64))
        rows, keys = rows[~alike], keys[~alike]
    return np.concatenate(found)


def _alike(
    signed: NDArray[np.uint32],
    rows: NDArray[np.intp],
    others: NDArray[np.intp],
    similarity: float,
) -> NDArray[np.bool_]:
    """Return for each pair whether its signatures agree in that share of their entries."""
    enough = math.ceil(similarity * NUM_PERMUTATIONS)
    alike = np.empty(len(rows), np.bool_)
    for start in range(0, len(rows), _BLOCK_PAIRS):
        block = slice(start, start + _BLOCK_PAIRS)
        equal = signed[rows[block]] == signed[others[block]]
        alike[block] = np.count_nonzero(equal, axis=1) >= enough
    return alike
