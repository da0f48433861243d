"""A wrong item as the checks of mistakes read it: its words, its numbers, what stands in what."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from arabic_llm.analysis.scores import Item
from arabic_llm.text import numbers as spelled
from arabic_llm.text.measures import SCRIPTS, letters
from arabic_llm.text.normalize import UNSPACED, normalize
from arabic_llm.text.words import words as text_words

TOLD = 3  # letters: shorter words are particles, and stand in every text
_NUMBER = re.compile(r"[\u2212+-]?\d+(?:\.\d+)?")
# Conjunctions, prepositions and articles written onto the word: light10's prefixes (Larkey, Ballesteros and
# Connell 2007), with those that it leaves before the article.
_CLITICS = re.compile(r"^[وف]?[بكل]?(?:ال|لل)?(?=[\u0621-\u064a]{3})")
_ENGLISH_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand"
)
_CHINESE_NUMBERS = "零一二三四五六七八九十百千万两"


@dataclass(frozen=True)
class Case:
    """A wrong item as the checks read it."""

    item: Item
    overused: float | None = None  # of the items where the chosen place is wrong, the share it was given on

    @cached_property
    def answer(self) -> str:
        """Return what was said, in words where a letter was chosen."""
        return self.item.options[self.item.answer_index] if self.item.options else self.item.answer

    @cached_property
    def target(self) -> str:
        """Return what was wanted, in words; of GSM8K's worked solutions their last line."""
        if self.item.options:
            return self.item.options[self.item.target_index]
        return self.item.target.rpartition("####")[2].strip()

    @cached_property
    def said(self) -> tuple[str, ...]:
        """Return the words of the answer."""
        return words(self.answer)

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """Return the words of the target."""
        return words(self.target)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """Return the words of the question."""
        return words(self.item.question)

    @cached_property
    def given(self) -> tuple[str, ...]:
        """Return the words of the context."""
        return words(self.item.context)


def words(text: str) -> tuple[str, ...]:
    """Return the words as matching reads them, without Arabic's written-on ones; a Han letter is a word."""
    return tuple(_CLITICS.sub("", word) for word in text_words(text))


def stands_in(some: tuple[str, ...], text: Iterable[str]) -> bool:
    """Return whether words stand in a text, in a row."""
    return bool(some) and f" {' '.join(some)} " in f" {' '.join(text)} "


def script(text: str) -> str | None:
    """Return the script of most letters of a text, or None where there is none."""
    found = letters(text)
    return next((script for script in SCRIPTS if 2 * found.of(script) > found.total), None)


def is_telling(word: str) -> bool:
    """Return whether a word says of what a text is: no particle."""
    return len(word) >= TOLD or word.isdigit() or bool(UNSPACED.fullmatch(word))


def f1(said: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    """Return the F1 of two lists of words."""
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0


def is_number(matched: str) -> bool:
    """Return whether a text is a number, or a percentage, and nothing else."""
    return bool(_NUMBER.fullmatch(matched.removesuffix("%")))


def numbers(matched: str) -> list[float]:
    """Return the numbers of a text; matching writes a minus as U+2212, which float does not read."""
    return sorted(float(number.replace("\u2212", "-")) for number in _NUMBER.findall(matched))


def in_words(number: str) -> str | None:
    """Return a small whole number in Arabic words, as matching reads them; None for another."""
    is_small = number.isdigit() and len(number) <= TOLD
    return normalize(spelled.in_words(int(number)), "matching") if is_small else None


@functools.cache
def number_words() -> frozenset[str]:
    """Return the words of numbers in Arabic, in both genders and all cases, in English and Chinese."""
    counted = (*range(20), *range(20, 100, 10), *range(100, 1000, 100))
    arabic = words(" ".join(map(spelled.in_words, counted)))
    others = words(f"الف مليون احدي اثنتان ثمان {_ENGLISH_NUMBERS} {_CHINESE_NUMBERS}")
    feminine = (word.removesuffix("ه") for word in arabic)
    oblique = (word[:-2] + "ين" for word in arabic if word.endswith(("ون", "ان")))
    return frozenset((*arabic, *others, *feminine, *oblique))
