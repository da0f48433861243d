"""Checks of made rows: each looks at questions, answers and their paragraph, and says None or a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from arabic_llm.config.synthesize_task import QualityConfig
from arabic_llm.data.cleaning import filters
from arabic_llm.data.rows import Message, Row
from arabic_llm.text import refusals
from arabic_llm.text import words as text_words
from arabic_llm.text.measures import letters

Values = dict[str, Any]


@lru_cache(maxsize=64)  # each check reads a row anew, and rows of one paragraph follow each other
def words(text: str) -> tuple[str, ...]:
    """Return the words of a text as matching reads them."""
    return tuple(text_words.words(text))


# As matching leaves a text. What a question says of a text that its reader has not got.
_OF_THE_TEXT = re.compile(
    r"(?:في|من|حسب|وفق|وفقا ل|بحسب|بناء علي|استنادا الي|ب)\s?(?:ال|لل)"
    r"(?:نص|فقره|مقطع|مقال|مقاله|سياق)(?![\u0621-\u064a])"
    r"|(?:النص|الفقره|المقطع|المقال|المقاله)\s"
    r"(?:اعلاه|السابق|السابقه|ادناه|التالي|التاليه|المذكور|المذكوره|المعطي|المعطاه)"
    r"|(?:المذكور|المذكوره|المذكورين|الوارد|الوارده|المشار اليه|المشار اليها)\s(?:اعلاه|سابقا|هنا|في النص)"
    r"|(?<![\u0621-\u064a])اعلاه(?![\u0621-\u064a])"
    r"|(?:الكاتب|المولف)\s(?:في|يقصد)\s?(?:هذا|هذه|النص|الفقره)|هذا النص|هذه الفقره|هذا المقطع|هذا المقال"
    r"|\b(?:in|to|from|by|of) (?:the|this) (?:text|passage|paragraph|article|context)\b"
    r"|\b(?:text|passage|paragraph) above\b|\bmentioned above\b"
)
_NAMELESS = re.compile(  # a question about somebody who is not named, as matching leaves it
    r"(?:من|ما|ماذا|متي|اين|كيف|لماذا|كم|هل)(?: (?:هو|هي|هم|هذا|هذه|ذلك|تلك))?(?: \w+)?"
)
_PREFIXES = ("وال", "فال", "بال", "كال", "ولل", "فلل", "لل", "ال", "و", "ف", "ب", "ل", "ك", "س")
_SUFFIXES = ("هما", "هم", "ها", "هن", "نا", "ات", "ان", "ين", "ون", "ه", "ي", "ا")
_SHORTEST_STEM = 3
_SHORTEST_WORD = 3  # shorter ones say little: of, in, the
_NUMBER = re.compile(r"(?<!\w)[\u2212-]?\d+(?:\.\d+)?")
# Of Persian and Urdu.
_NOT_ARABIC = re.compile("[\u067e\u0686\u0698\u06af\u0679\u0688\u0691\u06ba\u06d2\u06cc\u06a9]")
_MOST_FOREIGN = 0.03  # of the letters: names of Persian kings have some
_SCAFFOLD = {
    *words("العدد الناقص هو الكلمات الناقصة هي أكمل الجملة الآتية نعم لا")
}  # of rules, of any answer
_SHORTEST_QUESTION = 2  # words

Check = Callable[[Values, QualityConfig], str | None]


def reason_to_drop(row: Values, settings: QualityConfig) -> str | None:
    """Return the first reason, in a fixed order, why a made row is not kept."""
    return next((why for check in _CHECKS if (why := check(row, settings)) is not None), None)


def as_row(row: Values) -> Row:
    """Return a made row as a conversation."""
    turns = [
        Message(role, text)
        for exchange in row["exchanges"]
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
    return Row(row["id"], tuple(turns))


def empty(row: Values, settings: QualityConfig) -> str | None:
    """Refuse questions and answers of nothing."""
    said = [text for exchange in row["exchanges"] for text in exchange]
    return None if said and all(words(text) for text in said) else "empty question or answer"


def refused(row: Values, settings: QualityConfig) -> str | None:
    """Refuse answers that refuse."""
    return "answer refuses" if any(refusals.refuses(answer) for _, answer in row["exchanges"]) else None


def wrong_language(row: Values, settings: QualityConfig) -> str | None:
    """Refuse questions and answers that are not in Arabic letters, or in those of Persian and Urdu.

    Sums and dates have no letter, and pass.
    """
    for text in (text for exchange in row["exchanges"] for text in exchange):
        found = letters(text)
        if found.arabic < settings.min_arabic * found.total:
            return f"Arabic letters below {settings.min_arabic}"
        if is_persian_or_urdu(text):
            return "letters of Persian or Urdu"
    return None


def is_persian_or_urdu(text: str) -> bool:
    """Return whether a text in Arabic letters has more of those that Arabic has not than names bring."""
    return len(_NOT_ARABIC.findall(text)) > _MOST_FOREIGN * max(1, letters(text).arabic)


def untranslated(row: Values, settings: QualityConfig) -> str | None:
    """Refuse answers in which a stretch was left in Latin letters."""
    why = filters.untranslated(as_row(row), settings.max_latin_words)
    return "a stretch left untranslated" if why else None


def repetitive(row: Values, settings: QualityConfig) -> str | None:
    """Refuse an answer that says the same again and again."""
    for _, answer in row["exchanges"]:
        if why := filters.too_repetitive(answer, settings.max_repetition):
            return why
    return None


def echo(row: Values, settings: QualityConfig) -> str | None:
    """Refuse an answer that only repeats its question."""
    return filters.echo(as_row(row))


def repeated_question(row: Values, settings: QualityConfig) -> str | None:
    """Refuse a conversation that asks the same twice."""
    asked = [tuple(words(question)) for question, _ in row["exchanges"]]
    return None if len({*asked}) == len(asked) else "asks the same twice"


def leans_on_paragraph(row: Values, settings: QualityConfig) -> str | None:
    """Refuse questions that only who has the paragraph understands; a later turn may lean on the first."""
    for place, (question, _) in enumerate(row["exchanges"]):
        matched = " ".join(words(question))
        if _OF_THE_TEXT.search(matched):
            return "question leans on its paragraph"
        is_short = len(matched.split()) < _SHORTEST_QUESTION or _NAMELESS.fullmatch(matched)
        if place == 0 and is_short and not _names_somebody(question):
            return "question names nobody"
    return None


def _names_somebody(question: str) -> bool:
    """Return whether a short question asks about a name: who is X, where lies X."""
    said = words(question)
    known = {*words("من ما ماذا متى أين كيف لماذا كم هل هو هي هم هذا هذه ذلك تلك")}
    verbs = {*words("ولد ولدت توفي توفيت تأسس تأسست فعل قال كان كانت حدث فاز تقع يقع")}
    return any(word not in known | verbs and len(word) >= _SHORTEST_WORD for word in said)


def ungrounded(row: Values, settings: QualityConfig) -> str | None:
    """Refuse numbers that the paragraph has not got, and answers in other words than its own.

    Its title is part of it. Words of the question do not count: what it makes up, its answer would repeat.
    """
    if not row.get("paragraph"):  # of magpie, of a benchmark: there is none
        return None
    known = words(row["paragraph"]) + words(row["origin"].get("title") or "")
    found = letters(row["paragraph"])
    is_foreign = 2 * found.arabic < found.total  # what was made of it before it was translated
    said = row["translated_from"] if is_foreign and "translated_from" in row else row["exchanges"]
    for question, answer in said:
        if _numbers(words(answer) + words(question)) - _numbers(known):
            return "number that is not in the paragraph"
        if grounded(words(answer), known) < settings.min_grounded:
            return f"answer grounded below {settings.min_grounded}"
    return None


def grounded(answer: Sequence[str], known: Sequence[str]) -> float:
    """Return the share of an answer's words that are known: as matching reads them, without affixes."""
    there, stems = {*known}, {stem(word) for word in known}
    said = [
        w for w in answer if len(w) >= _SHORTEST_WORD and w not in _SCAFFOLD and not _NUMBER.fullmatch(w)
    ]
    if not said:
        return 1.0
    return sum(word in there or stem(word) in stems for word in said) / len(said)


@lru_cache(maxsize=2**16)  # words come again: a tenth of the time
def stem(word: str) -> str:
    """Return a word without one prefix and one suffix, where three letters stay."""
    for prefix in _PREFIXES:
        if word.startswith(prefix) and len(word) - len(prefix) >= _SHORTEST_STEM:
            word = word[len(prefix) :]
            break
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            return word[: -len(suffix)]
    return word


def _numbers(said: Sequence[str]) -> set[str]:
    return {number.lstrip("\u2212-") for word in said for number in _NUMBER.findall(word)}


def translated_length(row: Values, settings: QualityConfig) -> str | None:
    """Refuse translations that are much shorter or longer than what was translated."""
    for (asked, answered), (question, answer) in zip(
        row.get("translated_from", ()), row["exchanges"], strict=False
    ):
        for before, after in ((asked, question), (answered, answer)):
            ratio = len(after) / max(1, len(before))
            if not settings.min_length_ratio <= ratio <= settings.max_length_ratio:
                return "translation of another length"
    return None


def lost_in_translation(row: Values, settings: QualityConfig) -> str | None:
    """Refuse translations that lost a number, an address, code or a placeholder."""
    return "translation lost what was protected" if row.get("lost") else None


_CHECKS: tuple[Check, ...] = (
    *(empty, refused, lost_in_translation, wrong_language, untranslated, translated_length),
    *(repetitive, echo, repeated_question, leans_on_paragraph, ungrounded),
)
