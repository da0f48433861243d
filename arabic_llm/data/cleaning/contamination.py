"""Contamination: why a training row gives the test away: it holds an item, or a long run of its words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arabic_llm.data.cleaning import near_copies, ngrams
from arabic_llm.data.rows import Row
from arabic_llm.text.normalize import UNSPACED, normalize

LONG_RUN = 13  # words: GPT-3 (2005.14165, appendix C) and the filters since
_SHORTEST_RUN = 5  # a shorter item, found within other words, is chance and not a copy of the test
# As long in Chinese, whose words have 1.5 characters. 13 of them are a slogan or the stem of an exam's
# questions: they name 4 of 4,164 rows of BELLE's kind, and 71 of C-Eval's 1,606 items beside each other;
# 20 name none, and 16, of which 10 are copies.
LONG_RUN_UNSPACED, _SHORTEST_RUN_UNSPACED = 20, 8
_SHORTEST_TURN = 2  # one word ("yes", a letter) asks nothing: as an item it would condemn any row


@dataclass(frozen=True)
class Items:
    """The test's items, all normalised for matching."""

    runs: dict[int, frozenset[int]]  # number of words -> hashes of runs that no row may hold
    openings: frozenset[int]  # of the first 5 words of shorter items: looked for before them
    turns: frozenset[str]  # short items: what no user's turn and no text may be as a whole
    num_unsearchable: int  # items of one word or none

    @property
    def num_searched(self) -> int:
        """Return how many hashes and short items the rows are searched for."""
        return sum(map(len, self.runs.values())) + len(self.turns)


def index(items: Iterable[str]) -> Items:
    """Return what the rows are searched for.

    An item is what the test asks, in one string: best the question with its context and choices,
    since a bare "Which of these is true?" stands in many books.
    """
    runs: dict[int, set[int]] = {}
    openings: set[int] = set()
    turns, num_unsearchable = set(), 0
    for item in items:
        text = normalize(item, "matching")
        num_words = len(text.split())
        shortest, long = _lengths(text)
        if num_words < _SHORTEST_TURN:
            num_unsearchable += 1
        elif num_words < shortest:
            turns.add(text)
        else:
            length = min(num_words, long)  # a longer item is found by any of its runs
            words = ngrams.words([text])
            runs.setdefault(length, set()).update(_hashes(words, length))
            if length not in _LONG:
                openings.add(_hashes(words, _SHORTEST_RUN)[0])
    hashes = {n: frozenset(runs[n]) for n in sorted(runs)}
    return Items(hashes, frozenset(openings), frozenset(turns), num_unsearchable)


def reasons_to_drop(
    rows: Sequence[Row], matched: Sequence[Sequence[str]], items: Items
) -> list[str | None]:
    """Return for each row what contaminated says; `matched` are the turns of each."""
    suspect = _suspects([" ".join(filter(None, turns)) for turns in matched], items)
    return [
        contaminated(row, items, turns) if is_suspect or not items.turns.isdisjoint(turns) else None
        for row, turns, is_suspect in zip(rows, matched, suspect.tolist(), strict=True)
    ]


def _suspects(texts: Sequence[str], items: Items) -> NDArray[np.bool_]:
    """Return which texts [R] hold a long run of an item, or the opening of a shorter one."""
    suspect = np.zeros(len(texts), np.bool_)
    long = [(length, items.runs.get(length, frozenset())) for length in _LONG]
    looked_for = [(_SHORTEST_RUN, items.openings), *long]
    wanted = [(length, np.fromiter(hashes, np.uint64)) for length, hashes in looked_for if hashes]
    for start, stop in near_copies.blocks(texts):
        words = ngrams.words(texts[start:stop])
        for length, known in wanted:
            hashes, counts = words.ngrams(length)
            suspect[start + np.repeat(np.arange(stop - start), counts)[np.isin(hashes, known)]] = True
    return suspect


def contaminated(row: Row, items: Items, matched: Sequence[str] | None = None) -> str | None:
    """Return why the row may not be trained on, or None.

    `matched` are its turns as matching reads them, where they are known. An answer that equals a short
    item is no reason: those are words that people say.
    """
    if matched is None:
        matched = [normalize(text, "matching") for text in row.turns()]
    roles = [m.role for m in row.messages] or ["user"]
    turns = list(zip(roles, matched, strict=True))
    if any(role == "user" and text in items.turns for role, text in turns):
        return "its question is an item of the suite"
    words = ngrams.words([" ".join(text for _, text in turns if text)])
    opens = not items.openings.isdisjoint(_hashes(words, _SHORTEST_RUN))
    for length, hashes in items.runs.items():
        if (opens or length in _LONG) and not hashes.isdisjoint(_hashes(words, length)):
            shares = f"shares {length} {_LONG[length]} with" if length in _LONG else "holds"
            return f"{shares} an item of the suite"
    return None


_LONG = {LONG_RUN: "words", LONG_RUN_UNSPACED: "characters"}


def _lengths(matched: str) -> tuple[int, int]:
    """Return the words of the shortest and of a long run; where most are characters, more of them."""
    is_unspaced = 2 * len(UNSPACED.findall(matched)) > matched.count(" ") + 1
    return (_SHORTEST_RUN_UNSPACED, LONG_RUN_UNSPACED) if is_unspaced else (_SHORTEST_RUN, LONG_RUN)


def _hashes(words: ngrams.Words, num_words: int) -> list[int]:
    hashes: list[int] = words.ngrams(num_words)[0].tolist()
    return hashes
