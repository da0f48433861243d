"""Why an answer is wrong: checks of the answer against what was asked and wanted, each a reason or None."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from arabic_llm.analysis.scorers import chrf
from arabic_llm.analysis.wrong_item import (
    TOLD,
    Case,
    f1,
    in_words,
    is_number,
    is_telling,
    number_words,
    numbers,
    script,
    stands_in,
)
from arabic_llm.text.measures import letters, repetition
from arabic_llm.text.normalize import normalize
from arabic_llm.text.words import words as text_words

# Fewer letters than this in the script that was wanted: an answer in another language. 0.3 and not a half,
# as in data/cleaning/filters.py: a Chinese word has one or two letters, an English one five.
_SCRIPT_SHARE = 0.3
_REPETITION = 0.5  # 4-grams said before: stories of some 270 words reach 0.35 (data/base/cleaning)
_SHARED_WORDS = 0.5  # F1 above it: "جامعة القاهرة" for "جامعة دمشق" shares a half, and is another place
_SHARED_LETTERS = 0.6  # chrF from which one word is another spelling or form of the other
_TIMES_LONGER, _WORDS_LONGER = 3, 5  # than three times what was wanted, and a sentence more
_CLOSE = math.log(2)  # nats: it would have been the answer, had it been twice as likely
_MOST = 0.5  # of the items where a choice is wrong: given on more, it is given whatever is asked
_UNSUPPORTED = 0.5  # of the words: with more of them foreign to the text, the answer is not from there

_INVALID = "[invalid]"  # what lm-eval's filters make of an answer in which they find nothing
_MARKUP = re.compile(
    r"<\|[^|>\n]{0,40}\|?>?|</?(?:s|bos|eos|pad|unk|br|p|div|span|start_of_turn|end_of_turn)\b[^>\n]{0,40}>"
    r"|\[/?INST\]|<<SYS>>|^\W*(?:user|assistant|system|المستخدم|المساعد)\s*:|\ufffd(?=.)",
    re.IGNORECASE | re.DOTALL,
)
_LETTER = re.compile(r"[a-hابجدهو]")
_LOOP = re.compile(r"(?:^| )(\S.{0,80}?)(?: \1){2}(?: |$)")
_OPEN_END = re.compile(r"[،,:;؛(\[{«“、，：；（《\u2013-]\s*$")
_OPEN_WORDS = "و او ثم من في علي الي عن ان التي الذي الذين مع بين the a an of and or with 的 和 或 在"


def empty(case: Case) -> str | None:
    """Find answers without a letter or a digit."""
    return None if any(map(str.isalnum, case.answer)) else "no letter and no digit"


def broken_format(case: Case) -> str | None:
    """Find markup, half characters, and answers that are no number or letter where one was asked for."""
    if case.answer == _INVALID:
        return None if case.item.is_cut else "not in the form that the task reads"
    if (markup := _MARKUP.search(case.answer)) and not _MARKUP.search(case.target):
        return f"holds {markup.group()!r}"
    wanted = normalize(case.target, "matching")
    if is_number(wanted) and not number_words().intersection(case.said):
        return None if any(map(str.isdigit, case.answer)) else "a number was wanted, and none was given"
    if _LETTER.fullmatch(wanted) and not any(_LETTER.fullmatch(word) for word in case.said):
        return "a letter was wanted, and none was given"
    return None


def wrong_language(case: Case) -> str | None:
    """Find answers in another script than the target; languages of one script are not told apart.

    One word may be a name or a symbol (Cu, 北京): beside it the script of the question will do.
    """
    said = letters(case.answer)
    texts = [case.target] if len(case.wanted) > 1 else [case.target, case.item.question]
    wanted = {found for text in texts if (found := script(text))}
    if case.answer == _INVALID or not wanted or said.of(*wanted) >= _SCRIPT_SHARE * said.total:
        return None
    return f"{said.of(*wanted)} of {said.total} letters are {' or '.join(sorted(wanted)).title()}"


def repetitive(case: Case) -> str | None:
    """Find answers that say the same again and again."""
    if loop := _LOOP.search(" ".join(case.said)):
        return f"'{loop.group(1)}' three times in a row"
    share = repetition(case.answer)
    if share > _REPETITION and not is_number(normalize(case.answer, "matching")):
        return f"{share:.0%} of it was said before"
    return None


def near_miss(case: Case) -> str | None:
    """Find answers that share most words with the target, or are its number or its word in another form.

    What is near in words may be far in meaning: another king of the same name is near, too.
    """
    said, wanted = normalize(case.answer, "matching"), normalize(case.target, "matching")
    ours, theirs = numbers(said), numbers(wanted)
    if is_number(wanted):
        is_same = ours == theirs or in_words(wanted) in (said, *said.split())
        return "the same number in another form" if is_same and len(case.said) <= _WORDS_LONGER else None
    if ours != theirs:
        return None  # 1991 is not nearly 1990
    if (shared := f1(case.said, case.wanted)) > _SHARED_WORDS:
        return f"word F1 {shared:.2f}"
    if len(case.said) == len(case.wanted) == 1 and (shared := chrf(said, wanted)) >= _SHARED_LETTERS:
        return f"chrF {shared:.2f}"
    return None


def instruction_not_followed(case: Case) -> str | None:
    """Find answers that repeat the question, wrap the answer in others, or go on and on."""
    said, wanted, asked = len(case.said), len(case.wanted), len(case.asked)
    if asked >= TOLD and stands_in(case.asked, case.said):
        return "repeats the question"
    if stands_in(case.wanted, case.said):
        return f"the answer stands among {said - wanted} other words"
    if said > _TIMES_LONGER * wanted + _WORDS_LONGER:
        return f"{said} words where {wanted} were wanted"
    return None


def cut(case: Case) -> str | None:
    """Find answers that the limit of tokens ended, or that end where no sentence does."""
    if case.item.is_cut:
        return "ended by the limit of tokens"
    said = text_words(case.answer)
    if _OPEN_END.search(case.answer) or (len(said) > 1 and said[-1] in _OPEN_WORDS.split()):
        return f"ends with '{case.answer.split()[-1]}'"
    return None


def entity_confused(case: Case) -> str | None:
    """Find answers that stand, word for word, in the context or the question, and are another entity."""
    if not any(map(is_telling, case.said)) or stands_in(case.wanted, case.said):
        return None
    if stands_in(case.said, case.given):
        return "stands in the context"
    return "stands in the question" if stands_in(case.said, case.asked) else None


def unsupported(case: Case) -> str | None:
    """Find answers most of whose words stand neither in the context nor in the question."""
    telling = [word for word in case.said if is_telling(word)]
    foreign = [word for word in telling if word not in case.given and word not in case.asked]
    if case.given and len(foreign) > _UNSUPPORTED * len(telling):
        return f"{len(foreign)} of {len(telling)} words stand neither in the context nor in the question"
    return None


def one_answer_for_all(case: Case) -> str | None:
    """Find choices that are given whatever is asked: on most of the items where they are wrong."""
    if case.overused is None or case.overused <= _MOST:
        return None
    return f"chosen on {case.overused:.0%} of the items where it is wrong: {case.item.answer}"


def undecided(case: Case) -> str | None:
    """Find items where every choice would have been the answer, had it been twice as likely."""
    if case.item.lacked and max(case.item.lacked) < _CLOSE:
        return f"all choices lie within {max(case.item.lacked):.2f} nats"
    return None


def close_second(case: Case) -> str | None:
    """Find choices that were hardly likelier than the right one, or share most of its words."""
    if case.item.lacked and (lacked := case.item.lacked[case.item.target_index]) < _CLOSE:
        return f"the right choice lacked {lacked:.2f} nats"
    return near_miss(case)


def wrong_of_the_text(case: Case) -> str | None:
    """Find choices that stand in the context or the question, where the right one does not."""
    if any(stands_in(case.wanted, text) for text in (case.given, case.asked)):
        return None
    return entity_confused(case)


FOUND_BY = {  # kind -> what its checks find: in tables, and in what a judge is told
    "empty": "answers without a letter or a digit.",
    "broken format": "markup, half characters, and answers that are no number or letter where one was asked"
    " for.",
    "wrong language": "answers in another script than the target; languages of one script are not told"
    " apart.",
    "repetition": "answers that say the same again and again.",
    "near miss": "answers that share most words with the target, or are its number or its word in another"
    " form. Or: choices that were hardly likelier than the right one, or share most of its words.",
    "instruction not followed": "answers that repeat the question, wrap the answer in others, or go on and"
    " on.",
    "cut": "answers that the limit of tokens ended, or that end where no sentence does.",
    "entity confused": "answers that stand, word for word, in the context or the question, and are another"
    " entity. Or: choices that stand in the context or the question, where the right one does not.",
    "unsupported by the context": "answers most of whose words stand neither in the context nor in the"
    " question.",
    "one answer for all": "choices that are given whatever is asked: on most of the items where they are"
    " wrong.",
    "undecided": "items where every choice would have been the answer, had it been twice as likely.",
}
Check = Callable[[Case], str | None]
GENERATED: dict[str, Check] = {
    "empty": empty,
    "broken format": broken_format,
    "wrong language": wrong_language,
    "repetition": repetitive,
    "near miss": near_miss,
    "instruction not followed": instruction_not_followed,
    "cut": cut,
    "entity confused": entity_confused,
    "unsupported by the context": unsupported,
}
CHOSEN: dict[str, Check] = {
    "one answer for all": one_answer_for_all,
    "undecided": undecided,
    "near miss": close_second,
    "entity confused": wrong_of_the_text,
}
