"""What a text is like, in numbers: its letters by script, how much it repeats, Latin words in a row."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import dtype, ndarray, uint8

SCRIPTS = ("arabic", "han", "latin")

# The first word of the names that Unicode gives to a script's letters.
_FIRST_WORDS = {"ARABIC": "arabic", "CJK": "han", "LATIN": "latin", "FULLWIDTH": "latin"}
_TATWEEL = 0x0640  # a letter to Unicode, but it only stretches its neighbours
_NUM_CODE_POINTS = 0x110000
_LETTERS_END = 0x40000  # planes 4 and above have none
_GRAM = 4  # UTF-16 units: 64 bits, one integer

# Text that is Latin by right: code, addresses, formulas, quotations and titles of books. What opens and
# does not close within a paragraph's length is none of them, and is not searched to the end of the row.
_FOREIGN = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]{1,500}`"
    r"|(?:https?://|www\.)\S+|(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]+"
    r"|\$[^$\n]{1,500}\$|\\\(.{1,500}?\\\)|\\\[.{1,500}?\\\]"
    r"|\"[^\"\n]{1,500}\"|“[^”\n]{1,500}”|«[^»\n]{1,500}»|「[^」\n]{1,500}」|『[^』\n]{1,500}』|《[^》\n]{1,500}》",
    re.DOTALL,
)
_LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_LATIN_WORD = f"[{_LATIN}][{_LATIN}'\u2019-]*"
_LATIN_RUN = re.compile(f"{_LATIN_WORD}(?:[ ,;:]+{_LATIN_WORD})*")


@dataclass(frozen=True)
class Letters:
    """How many letters of each script a text has; digits, marks and punctuation are no letters."""

    arabic: int
    han: int
    latin: int
    other: int

    @property
    def total(self) -> int:
        """Return the number of letters of all scripts."""
        return self.arabic + self.han + self.latin + self.other

    def of(self, *scripts: str) -> int:
        """Return the number of letters of these SCRIPTS."""
        return sum(int(getattr(self, script)) for script in scripts)


def letters(text: str) -> Letters:
    """Return the letters of a text by script.

    Every language of the script counts: Persian and Urdu letters and presentation forms are Arabic.
    Diacritics are marks, and tatweel is none.
    """
    import numpy as np

    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    counts = np.bincount(_script_of_code_points()[points], minlength=len(SCRIPTS) + 2)
    return Letters(*counts[1:].tolist())


def repetition(text: str) -> float:
    """Return the share of a text's 4-grams of characters that it has had before: 1 - distinct / total."""
    import numpy as np

    total = len(text) - _GRAM + 1
    if total < 1:
        return 0.0
    units = text.encode("utf-16-le", "surrogatepass")
    if len(units) != 2 * len(text):  # beyond U+FFFF a character takes two units: number them anew
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        units = np.unique(points, return_inverse=True)[1].astype("<u2").tobytes()
    # Four units read as one integer, at every second byte; equal integers are equal 4-grams.
    grams = np.sort(np.ndarray((total,), "<u8", units, strides=(2,)))
    return 1 - (1 + int(np.count_nonzero(grams[1:] != grams[:-1]))) / total


def latin_words_in_a_row(text: str) -> int:
    """Return the most Latin words that begin with a small letter in one stretch of running text.

    Names and titles begin with capitals, so they do not count; code, addresses, formulas and
    quotations are left out.
    """
    runs = _LATIN_RUN.findall(_FOREIGN.sub("\n", text))
    return max((sum(word[0].islower() for word in run.split()) for run in runs), default=0)


@functools.cache
def _script_of_code_points() -> ndarray[Any, dtype[uint8]]:
    """Return for each code point 0 (no letter), the place of its script in SCRIPTS from 1, or the next."""
    import numpy as np

    table = np.zeros(_NUM_CODE_POINTS, np.uint8)
    for point in range(_LETTERS_END):
        if chr(point).isalpha() and point != _TATWEEL:
            script = _FIRST_WORDS.get(unicodedata.name(chr(point), "").partition(" ")[0])
            table[point] = 1 + (SCRIPTS.index(script) if script else len(SCRIPTS))
    return table
