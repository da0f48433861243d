"""Sentences of a text, exactly as they stand in it, where Arabic abbreviations end none."""

from __future__ import annotations

import re

from arabic_llm.errors import ConfigError

# What is shortened with a point behind it, as a sign between words or before a name.
_ABBREVIATIONS = (
    *("د", "أ", "م", "ص", "ج", "ط", "ت", "ق", "هـ", "ه", "كم", "سم", "مم", "كغ", "كجم", "ملم", "مل"),
    *("أ.د", "ق.م", "ب.م", "ش.م", "ص.ب", "ج.م.ع", "إلخ", "الخ", "ج.م", "ر.س", "د.إ", "ت.ع"),
    *("Dr", "Mr", "Mrs", "Prof", "St", "vs", "etc", "No", "Vol", "pp", "ed"),
)
_SHORTENED = re.compile(rf"(?:^|[\s(«\"])(?:و|ب|ل)?(?:{'|'.join(map(re.escape, _ABBREVIATIONS))})\.\s*\Z")
_YEAR_BEFORE = re.compile(r"\d\s*(?:م|هـ|ه|ق\.م|ب\.م|كم|سم|مم|كغ|كجم|ملم|مل)\.\s*\Z")  # may end a sentence
_OPENS = re.compile(r"\s*[\w«\"(]")
_AFTER_UNIT = re.compile(r"\s*(?:\d|[([])")


def split(text: str, language: str = "ar") -> list[str]:
    """Return the sentences of a text with the space after each: joined, they are the text.

    Raises ConfigError without sentencex.
    """
    try:
        import sentencex
    except ImportError as error:
        raise ConfigError(
            "task=synthesize cuts sentences with sentencex: pip install 'arabic-llm[synthesize]'"
        ) from error
    found: list[str] = []
    place = 0
    for piece in sentencex.segment(language, text):
        start = text.find(piece, place)
        if start < 0:  # a library that changes what it cuts: the rest stays whole
            break
        _append(found, text[place : start + len(piece)])
        place = start + len(piece)
    if place < len(text):
        _append(found, text[place:])
    return found


def _append(found: list[str], piece: str) -> None:
    """Add a piece to the sentences, to the last one where that has not ended."""
    if found and (not piece.strip() or _goes_on(found[-1], piece)):
        found[-1] += piece
    else:
        found.append(piece)


def _goes_on(before: str, after: str) -> bool:
    if _YEAR_BEFORE.search(before):  # 1950 m. is a whole: what comes after it begins anew, or goes on
        return bool(_AFTER_UNIT.match(after))
    return bool(_SHORTENED.search(before) and _OPENS.match(after))
