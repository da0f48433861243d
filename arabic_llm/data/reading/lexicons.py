"""What perturbations must know of words: how dialects say them, how diacritised text writes them."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from arabic_llm.data.reading.lines import lines
from arabic_llm.errors import DataError
from arabic_llm.text import perturb

# An empty cell: said as in the standard language.
_DIALECT_WORDS = Path(__file__).parent / "dialect_words.tsv"
_FEWEST_FORMS = 100  # of a text that is really diacritised


@cache
def dialect_words(variety: str) -> dict[str, str]:
    """Return word, or pair of words, of Modern Standard Arabic -> what a variety says instead.

    Function words and other common ones, without those that are often another (ذهب: went, and gold).
    """
    with _DIALECT_WORDS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab"))
    return {row["msa"]: row[variety] for row in rows if row[variety]}


def diacritised_words(path: Path) -> dict[str, str]:
    """Return plain word -> its diacritised form, learned from a text file.

    Raises DataError for a file that is not UTF-8, or has hardly a diacritic.
    """
    found = perturb.common_forms(line.text for line in lines(path))
    if len(found) < _FEWEST_FORMS:
        raise DataError(
            f"task.diacritised_text: {path} shows the diacritics of {len(found)} words only; name a text"
            " written with its diacritics, of some thousand words"
        )
    return found
