"""What requests share: their inputs sorted as the rows of a trie, so that no shared token is run twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np


@dataclass(frozen=True)
class Request:
    """Ids the model reads, and the ids whose probability is asked: the last is predicted by the last read.

    A context's own tokens are read only; an answer of n tokens is predicted by the n last ids read.
    """

    read: Sequence[int]
    targets: Sequence[int]


@dataclass(frozen=True)
class Wanted:
    """One target of one request; `at` says which of the request's targets it is."""

    request: int
    at: int
    target: int


class Trie:
    """Rows are the distinct inputs, sorted; row i shares its `shared[i]` first ids with the row before it.

    A row owns the positions after those; a pass over rows [low, high) from depth d (ids that all of them
    share and that are cached) runs each of their other ids once.
    """

    def __init__(self, requests: Sequence[Request], asked: Iterable[int]) -> None:
        """Sort the inputs of all requests; only those in `asked` want their probabilities.

        Answers known from before stay in the trie: the passes, and so the rounding, are those of a run
        that was never stopped.
        """
        # As big-endian bytes, rows sort as their ids do.
        keys = [np.array(request.read, dtype=">u4").tobytes() for request in requests]
        rows = sorted(set(keys))
        self.rows = [np.frombuffer(key, dtype=">u4").astype(np.int64) for key in rows]
        self.shared = [0, *(_common(*pair) for pair in pairwise(rows))][: len(rows)]
        lengths = [len(row) for row in self.rows]
        self._own_before = [0, *accumulate(n - s for n, s in zip(lengths, self.shared, strict=True))]
        by_key = defaultdict(list)
        for index in asked:
            by_key[keys[index]].append(index)
        self.wanted = self._wanted(requests, [by_key[key] for key in rows])
        self._wanted_before = [0, *accumulate(len(positions) for positions in self.wanted)]

    def _wanted(
        self, requests: Sequence[Request], by_row: list[list[int]]
    ) -> list[dict[int, list[Wanted]]]:
        """Return, for each row, position -> what is wanted of it; a shared position has one owner."""
        wanted: list[dict[int, list[Wanted]]] = [{} for _ in self.rows]
        owner = np.zeros(max((len(row) for row in self.rows), default=0), dtype=np.int64)
        for index, row in enumerate(self.rows):
            owner[self.shared[index] : len(row)] = index
            for request in by_row[index]:
                targets = requests[request].targets
                for at, target in enumerate(targets):
                    position = len(row) - len(targets) + at
                    wanted[int(owner[position])].setdefault(position, []).append(
                        Wanted(request, at, target)
                    )
        return wanted

    def is_wanted(self, low: int, high: int) -> bool:
        """Return whether anything is wanted of the rows."""
        return self._wanted_before[high] > self._wanted_before[low]

    def size(self, low: int, high: int, depth: int) -> int:
        """Return how many ids a pass over the rows runs."""
        own = self._own_before[high] - self._own_before[low + 1]
        return len(self.rows[low]) - depth + own

    def common(self, low: int, high: int) -> int:
        """Return how many first ids all the rows share."""
        return min(self.shared[low + 1 : high], default=len(self.rows[low]))

    def parts(self, low: int, high: int, depth: int, budget: int) -> Iterator[tuple[int, int]]:
        """Yield the rows in runs of at most `budget` ids, cut where least is shared; a longer one alone."""
        least, start = self.common(low, high), low
        ends = [index for index in range(low + 1, high) if self.shared[index] == least]
        for child, end in pairwise([low, *ends, high]):
            if child > start and self.size(start, end, depth) > budget:
                yield start, child
                start = child
        yield start, high


def _common(first: bytes, second: bytes) -> int:
    """Return how many ids (of 4 bytes) two rows begin with alike."""
    low, high = 0, min(len(first), len(second)) // 4
    while low < high:
        middle = (low + high + 1) // 2
        if first[: 4 * middle] == second[: 4 * middle]:
            low = middle
        else:
            high = middle - 1
    return low
