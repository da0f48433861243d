"""Cleaning filters: each looks at what a row says and answers None, or the reason to drop it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from arabic_llm.config.data import BidiControls, CleaningConfig
from arabic_llm.data.rows import Message, Row
from arabic_llm.text import refusals
from arabic_llm.text.measures import latin_words_in_a_row, letters, repetition
from arabic_llm.text.normalize import BIDI_CONTROLS, STEPS, normalize, signs
from arabic_llm.text.words import words

# An answer with fewer letters of these is a translation into English, or about English. 0.3 and not a
# half: a Chinese word has one or two letters, an English one five.
_ANSWER_SCRIPTS, _ANSWER_SHARE = ("arabic", "han"), 0.3

_OPENING, _UNSURE = 64, 8  # characters; a number or a mark that is cut off at the end may read otherwise


def reason_to_drop(source: Row, row: Row, cleaning: CleaningConfig) -> str | None:
    """Return the first reason, in a fixed order, why a row is dropped.

    `source` is the row as it came, `row` the one normalised: the decoder profile removes bidi
    controls, so they can only be found before.
    """
    said = row.words()
    return (
        bidi_controls(source, cleaning.bidi_controls)
        or wrong_length(said, cleaning.min_chars, cleaning.max_chars)
        or too_repetitive(said, cleaning.max_repetition)
        or wrong_script(said, cleaning)
        or untranslated(row, cleaning.max_latin_words)
        or (echo(row) if cleaning.drop_echoes else None)
        or nearly_equal(row, cleaning.min_answer_distance)
        or (refused(row) if cleaning.drop_refused else None)
    )


def without_bidi_controls(row: Row) -> Row:
    """Return the row without embeddings, overrides and isolates: itself when it has none."""
    if not BIDI_CONTROLS.search(row.words() + row.rejected):
        return row
    clean = STEPS["bidi_controls"]
    turns = tuple(Message(m.role, clean(m.content), m.supervised) for m in row.messages)
    return replace(row, messages=turns, text=clean(row.text), rejected=clean(row.rejected))


def bidi_controls(source: Row, policy: BidiControls | None) -> str | None:
    """Refuse embeddings, overrides and isolates, which are not seen where the text is read."""
    if policy is BidiControls.drop and BIDI_CONTROLS.search(source.words() + source.rejected):
        return "bidi controls in the source"
    return None


def wrong_length(said: str, min_chars: int | None, max_chars: int | None) -> str | None:
    """Refuse what is too short to teach anything, and what is longer than wanted."""
    if min_chars is not None and len(said) < min_chars:
        return f"shorter than {min_chars} characters"
    if max_chars is not None and len(said) > max_chars:
        return f"longer than {max_chars} characters"
    return None


def too_repetitive(said: str, max_repetition: float | None) -> str | None:
    """Refuse text that says the same again and again."""
    if max_repetition is not None and repetition(said) > max_repetition:
        return f"4-grams repeated above {max_repetition}"
    return None


def wrong_script(said: str, cleaning: CleaningConfig) -> str | None:
    """Refuse text in other scripts than the wanted ones; sums and dates without a letter pass."""
    if cleaning.min_script_share is None:
        return None
    found = letters(said)
    if found.of(*cleaning.scripts) >= cleaning.min_script_share * found.total:
        return None
    if cleaning.allow_english_fallback and found.latin > found.total / 2:
        return None
    return f"share of {' and '.join(cleaning.scripts)} letters below {cleaning.min_script_share}"


def untranslated(row: Row, max_latin_words: int | None) -> str | None:
    """Refuse an Arabic or Chinese answer, or raw text, in which a stretch was left in English."""
    if max_latin_words is None:
        return None
    for text in [m.content for m in row.messages if m.role == "assistant"] or [row.text]:
        found = letters(text)  # first: words are searched for eight times as long, and need letters
        may_hold = found.latin > max_latin_words
        is_answer = found.of(*_ANSWER_SCRIPTS) >= _ANSWER_SHARE * found.total
        if may_hold and is_answer and latin_words_in_a_row(text) > max_latin_words:
            return f"more than {max_latin_words} Latin words in a row"
    return None


def echo(row: Row) -> str | None:
    """Refuse an answer that is its question, once or several times, as matching reads both."""
    for question, answer in _exchanges(row):
        if _begin_alike(question, answer):
            asked, answered = (words(text) for text in (question, answer))
            times = len(answered) // max(1, len(asked))
            is_echo = bool(times) and answered == asked * times
            if is_echo and signs(answer) in ("", signs(question) * times):  # diacritics are an answer
                return "answer only repeats the question"
    return None


def no_preference(row: Row) -> str | None:
    """Refuse a preference between two answers that say one thing; rows without one pass."""
    chosen = row.messages[-1].content if row.rejected else ""
    if row.rejected and _one(chosen) == _one(row.rejected):
        return "chosen equals rejected"
    return None


def nearly_equal(row: Row, min_distance: float | None) -> str | None:
    """Refuse a preference between two answers that are a few edits apart (Levenshtein); equal ones too."""
    if min_distance is None or not row.rejected:
        return None
    from rapidfuzz.distance import Levenshtein  # few data sets hold pairs

    answers = row.messages[-1].content, row.rejected
    if Levenshtein.normalized_distance(*answers, score_cutoff=min_distance) < min_distance:
        return f"chosen and rejected differ in less than {min_distance} of their characters"
    return None


def refused(row: Row) -> str | None:
    """Refuse a preference over an answer that only refuses to answer."""
    return "rejected answer refuses" if row.rejected and refusals.refuses(row.rejected) else None


def _one(text: str) -> tuple[str, str]:
    """Return what two texts share that say one thing, with the same diacritics and signs."""
    return normalize(text, "matching") or text, signs(text)


def _exchanges(row: Row) -> Iterator[tuple[str, str]]:
    """Yield each (question, answer) of a conversation."""
    for before, turn in zip(row.messages, row.messages[1:], strict=False):
        if (before.role, turn.role) == ("user", "assistant"):
            yield before.content, turn.content


def _begin_alike(one: str, other: str) -> bool:
    """Return whether one text may begin with the other: a whole story takes matching ten times as long."""
    first, second = (normalize(text[:_OPENING], "matching") for text in (one, other))
    sure = max(0, min(len(first), len(second)) - _UNSURE)
    return first[:sure] == second[:sure]
