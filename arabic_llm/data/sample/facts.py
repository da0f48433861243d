"""School facts (x has y), and which are kept for the test: without a seed, so model and test agree."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from arabic_llm.text.numbers import in_words, to_arabic_indic

FOLDER = Path(__file__).parent
SPLITS = ("train", "dev", "test")
_SHARES = (0.70, 0.06, 0.24)  # of facts; a test of some 450 facts shows differences of 5 points

# Unit names with what one of them holds: plural for 3 to 10, smaller unit, how many.
_UNITS = (
    ("أمتار", "بالسنتيمتر", 100),
    ("كيلومترات", "بالمتر", 1000),
    ("كيلوغرامات", "بالغرام", 1000),
    ("لترات", "بالمليلتر", 1000),
    ("ساعات", "بالدقائق", 60),
    ("دقائق", "بالثواني", 60),
    ("أيام", "بالساعات", 24),
    ("أسابيع", "بالأيام", 7),
    ("سنوات", "بالأشهر", 12),
    ("قرون", "بالسنوات", 100),
    ("عقود", "بالسنوات", 10),
    ("سنتيمترات", "بالمليمتر", 10),
)


@dataclass(frozen=True)
class Fact:
    """x has y, in one relation of phrases.yaml; facts of one key stand in the same split."""

    relation: str
    x: str
    y: str
    key: str

    @property
    def split(self) -> str:
        """Return train, dev or test: a pure function of the key."""
        return split_of(self.key)


def split_of(key: str) -> str:
    """Return the split of a key: the same on every machine, whatever the seed."""
    point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    for split, share in zip(SPLITS, _SHARES, strict=True):
        if point < share:
            return split
        point -= share
    return SPLITS[-1]


@cache
def all_facts() -> tuple[Fact, ...]:
    """Return every fact, in a fixed order."""
    return (*_tables(), *_sums(), *_number_words(), *_conversions())


def table(name: str) -> list[dict[str, str]]:
    """Return the rows of facts/<name>.tsv as dictionaries; an empty cell is a fact we do not state."""
    with (FOLDER / "facts" / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _tables() -> Iterator[Fact]:
    columns = {
        "countries": ("country", ("capital", "continent", "currency", "language")),
        "plurals": ("singular", ("plural",)),
        "opposites": ("word", ("opposite",)),
        "synonyms": ("word", ("synonym",)),
        "animals": ("animal", ("kind", "sound", "young", "home")),
    }
    for name, (subject, relations) in columns.items():
        for row in table(name):
            for relation in relations:
                if row[relation]:
                    x = row[subject]
                    yield Fact(relation, x, row[relation], f"{relation}/{x}")
    for row in table("science"):
        yield Fact(row["relation"], row["x"], row["y"], f"{row['relation']}/{row['x']}")


def _sums() -> Iterator[Fact]:
    additions = [(a, "+", b, a + b) for a in range(1, 11) for b in range(1, 11)]
    subtractions = [(a, "−", b, a - b) for a in range(2, 13) for b in range(1, a)]
    products = [(a, "×", b, a * b) for a in range(2, 10) for b in range(2, 10)]
    names = {"+": "زائد", "−": "ناقص", "×": "في"}
    for a, sign, b, result in (*additions, *subtractions, *products):
        # 3 + 4 and 4 + 3 are one fact: asking one in training would teach the answer of the other.
        first, second = (a, b) if sign == "−" else sorted((a, b))
        key = f"sum/{first}{sign}{second}"
        yield Fact("sum", f"{a} {sign} {b}", str(result), key)
        arabic = to_arabic_indic(f"{a} {sign} {b}")
        yield Fact("sum", arabic, to_arabic_indic(str(result)), key)
        spoken = f"{in_words(a)} {names[sign]} {in_words(b)}"
        yield Fact("sum", spoken, in_words(result), key)


def _number_words() -> Iterator[Fact]:
    for number in range(1, 101):
        for digits in (str(number), to_arabic_indic(str(number))):
            yield Fact("word", digits, in_words(number), f"word/{number}")


def _conversions() -> Iterator[Fact]:
    for plural, smaller, size in _UNITS:
        for count in range(3, 11):  # from 3 to 10 the counted noun is plural, whatever its gender
            x, y = f"{count} {plural} {smaller}", str(count * size)
            key = f"convert/{x}"
            yield Fact("convert", x, y, key)
            yield Fact("convert", to_arabic_indic(x), to_arabic_indic(y), key)
