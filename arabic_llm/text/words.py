"""What a word is, in every count and comparison: what stands between spaces; of Chinese, each character."""

from __future__ import annotations

import re

from arabic_llm.text.normalize import UNSPACED, normalize

# White space, and characters that only format what stands beside them: nobody sees them alone.
_UNSEEN = re.compile(
    "[\\s\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff]*"
)
# In running text a sign of punctuation beside a Chinese character is not part of a word, nor one itself.
_PIECE = re.compile(r"\w[^\s]*|[^\w\s]+\w[^\s]*")


def words(text: str) -> list[str]:
    """Return the words of a text as matching reads them."""
    return normalize(text, "matching").split()


def says_nothing(text: str) -> bool:
    """Return whether nothing of a text is seen."""
    return not text or (not text[0].isalnum() and _UNSEEN.fullmatch(text) is not None)


def count_words(text: str) -> int:
    """Return how many words stand in a text as it is written."""
    if text.isascii() or not UNSPACED.search(text):
        return len(text.split())
    return len(_PIECE.findall(UNSPACED.sub(r" \g<0> ", text)))
