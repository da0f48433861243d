"""What an answer was told to do and a program can check: IFEval's instructions, as Arabic is written.

Names and arguments are those of IFEval (2311.07911), lm-eval and Arabic IFEval, whose own checks are not
public. A word is found whatever diacritics, tatweel and forms of hamza it is written with; letters are
counted without marks; a sentence ends with the Arabic question mark too; an Arabic comma is a comma.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize

Arguments = Mapping[str, Any]
_WORD = re.compile(r"[^\W_]+")
# Diacritics, the signs of the Quran, tatweel, and what only turns the direction or joins letters.
_MARKS = re.compile(
    "[\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0640\u200c-\u200f\u202a-\u202e\u2066-\u2069]"
)
_SENTENCE_END = re.compile(r"\u061f+|[.!?\u06d4\u2026]+(?=[\s\"'\u00bb\u201d)\]]|$)|\n+")
_QUOTES = ('"\u201c\u201e\u00ab\u2039', '"\u201d\u00bb\u203a')
_FENCE = re.compile(r"^```(?:json)?|```$", re.IGNORECASE)
_YES_NO_MAYBE = ("إجابتي هي نعم", "إجابتي هي لا", "إجابتي هي ربما")
_DIACRITICS = {
    **{"fathatan": "\u064b", "dammatan": "\u064c", "kasratan": "\u064d", "fatha": "\u064e"},
    **{"damma": "\u064f", "kasra": "\u0650", "shadda": "\u0651", "sukun": "\u0652"},
}


def follows(answer: str, instruction: str, arguments: Arguments) -> bool:
    """Return whether an answer does what an instruction says; an empty one follows none.

    Raises DataError for an argument that the instruction lacks, or that is not what it takes.
    """
    try:
        found = CHECKS[instruction](answer, arguments)
    except (KeyError, TypeError, ValueError) as error:
        lacks = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"instruction {instruction} with {dict(arguments)}: {lacks}") from error
    return bool(answer.strip()) and found


def words(text: str) -> list[str]:
    """Return the words of a text: its marks part none of them."""
    return _WORD.findall(_bare(text))


def _bare(text: str) -> str:
    """Return a text without marks; a letter that a mark made of another one is one letter."""
    return _MARKS.sub("", unicodedata.normalize("NFC", text))


def num_sentences(text: str) -> int:
    """Return how many sentences a text has: what stands between ends of sentences and lines."""
    return sum(bool(_WORD.search(part)) for part in _SENTENCE_END.split(text))


def _plain(text: str) -> str:
    """Return a text as words are compared in it."""
    return " ".join(normalize(text, "matching").split())


def _count(text: str, phrase: str) -> int:
    """Return how often a phrase stands in a text, as a whole word or with what Arabic writes onto words."""
    wanted = _plain(phrase)
    if not wanted:
        raise ValueError("an empty keyword")
    return _plain(text).count(wanted)


def _compares(number: int, wanted: Any, relation: str) -> bool:
    """Return whether a number stands in the relation: at least, or less than."""
    if relation not in ("at least", "less than"):
        raise ValueError(f"the relation '{relation}' is neither 'at least' nor 'less than'")
    return number >= int(wanted) if relation == "at least" else number < int(wanted)


def _relation(arguments: Arguments, name: str = "relation") -> str:
    return str(arguments.get(name, "at least"))


def _letter_frequency(answer: str, given: Arguments) -> bool:
    letter, text = _bare(str(given["letter"])).lower(), _bare(answer).lower()
    if len(letter) != 1:
        raise ValueError(f"'{letter}' is not one letter")
    return _compares(text.count(letter), given["let_frequency"], _relation(given, "let_relation"))


def _letter_list(answer: str, given: Arguments) -> bool:
    letters, position = set(given["letters"]), given.get("position", "end")
    parts: dict[str, Callable[[str], str]] = {
        "start": lambda word: word[0],
        "end": lambda word: word[-1],
        "any": lambda word: word,
    }
    count = sum(bool(letters & set(parts[position](word))) for word in words(answer))
    return _compares(count, given.get("frequency", 1), _relation(given))


def _list_existence(answer: str, given: Arguments) -> bool:
    found = [_count(answer, word) > 0 for word in given["keywords"]]
    return any(found) if given.get("mode") == "any" else all(found)


def _tashkeel(answer: str, given: Arguments) -> bool:
    mark = _DIACRITICS[str(given["tashkeel_name"]).strip().lower()]
    return sum(mark in word for word in answer.split()) >= int(given.get("count", 1))


def _language(answer: str, given: Arguments) -> bool:
    """Return whether most letters are of the script of a language: of ar, en, zh; others cannot be told."""
    scripts = {"ar": "[\u0620-\u064a\u066e-\u06d3]", "en": "[A-Za-z]", "zh": "[\u4e00-\u9fff]"}
    letters = re.findall(r"[^\W\d_]", answer)
    return 2 * len(re.findall(scripts[given["language"]], answer)) > len(letters)


def _paragraphs(answer: str, given: Arguments) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", answer)
    inner = [part for part in parts[1:-1] if not part.strip()]
    ends = sum(bool(part.strip()) for part in (parts[0], parts[-1])) if len(parts) > 1 else 1
    return not inner and max(0, len(parts) - 2) + ends == int(given["num_paragraphs"])


def _first_word(answer: str, given: Arguments) -> bool:
    parts = [part for part in re.split(r"\n\n", answer) if part.strip()]
    nth = int(given["nth_paragraph"])
    if nth > len(parts) or len(parts) != int(given["num_paragraphs"]):
        return False
    first, wanted = words(parts[nth - 1])[:1], words(str(given["first_word"]))
    return bool(first) and _plain(first[0]) == _plain(" ".join(wanted))


def _postscript(answer: str, given: Arguments) -> bool:
    marker = str(given["postscript_marker"])
    forms = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    pattern = forms.get(marker) or re.escape(_plain(marker))
    return any(
        re.match(rf"\s*(?:{pattern})", part, re.IGNORECASE) for part in _lines(answer, marker in forms)
    )


def _lines(answer: str, as_is: bool) -> list[str]:
    return [line if as_is else _plain(line) for line in answer.split("\n")]


def _bullets(answer: str, given: Arguments) -> bool:
    return len(re.findall(r"^\s*(?:\*[^*]|-|\u2022).*$", answer, re.MULTILINE)) == int(given["num_bullets"])


def _highlights(answer: str, given: Arguments) -> bool:
    found = [*re.findall(r"\*([^\n*]*)\*", answer), *re.findall(r"\*\*([^\n*]*)\*\*", answer)]
    return sum(bool(text.strip()) for text in found) >= int(given["num_highlights"])


def _sections(answer: str, given: Arguments) -> bool:
    splitter = re.escape(str(given["section_spliter"]).strip())  # so spelled in IFEval
    pieces = re.split(rf"\s?{splitter}\s?[\d\u0660-\u0669]+\s?", answer)
    return len(pieces) - 1 >= int(given["num_sections"])


def _json(answer: str, _: Arguments) -> bool:
    try:
        json.loads(_FENCE.sub("", answer.strip()).strip().removesuffix("```"))
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(answer: str, _: Arguments) -> bool:
    parts = answer.split("******")
    inner_is_empty = any(not part.strip() for part in parts[1:-1])
    kept = [part.strip() for part in parts if part.strip()]
    return not inner_is_empty and len(kept) == 2 and kept[0] != kept[1]  # noqa: PLR2004 (two of them)


def _quotation(answer: str, _: Arguments) -> bool:
    text = answer.strip()
    return len(text) > 1 and text[0] in _QUOTES[0] and text[-1] in _QUOTES[1]


CHECKS: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": lambda a, g: all(_count(a, word) for word in g["keywords"]),
    "keywords:frequency": lambda a, g: _compares(_count(a, g["keyword"]), g["frequency"], _relation(g)),
    "keywords:forbidden_words": lambda a, g: (
        not any(
            _plain(word) in map(_plain, words(a)) if len(str(word).split()) == 1 else _count(a, word)
            for word in g["forbidden_words"]
        )
    ),
    "keywords:letter_frequency": _letter_frequency,
    "keywords:letter_list_freq": _letter_list,
    "keywords:list_existence": _list_existence,
    "language:response_language": _language,
    "length_constraints:number_sentences": lambda a, g: _compares(
        num_sentences(a), g["num_sentences"], _relation(g)
    ),
    "length_constraints:number_words": lambda a, g: _compares(len(words(a)), g["num_words"], _relation(g)),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda a, g: (
        len(re.findall(r"\[.*?\]", a)) >= int(g["num_placeholders"])
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:constrained_response": lambda a, _: any(
        _plain(option) in _plain(a) for option in _YES_NO_MAYBE
    ),
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda a, _: any(
        text.strip()
        for text in re.findall(r"<<([^\n]+?)>>|\u00ab\u00ab([^\n]+?)\u00bb\u00bb", a)
        for text in text
    ),
    "detectable_format:tashkeel": _tashkeel,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda a, g: _plain(a).startswith(_plain(str(g["prompt_to_repeat"]))),
    "startend:end_checker": lambda a, g: _plain(a.strip().strip('"')).endswith(
        _plain(str(g["end_phrase"]))
    ),
    "startend:quotation": _quotation,
    "punctuation:no_comma": lambda a, _: not re.search("[,\u060c]", a),
}
