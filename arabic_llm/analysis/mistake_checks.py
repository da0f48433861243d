"""Why an answer is wrong: checks of the answer against what was asked and wanted, each a reason or None."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from arabic_llm.analysis.scorers import chrf
from arabic_llm.analysis.scores import Item
from arabic_llm.text.measures import SCRIPTS, letters, repetition
from arabic_llm.text.normalize import UNSPACED, normalize
from arabic_llm.text.numbers import in_words
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
_TOLD = 3  # letters: shorter words are particles, and stand in every text

_INVALID = "[invalid]"  # what lm-eval's filters make of an answer in which they find nothing
_MARKUP = re.compile(
    r"<\|[^|>\n]{0,40}\|?>?|</?(?:s|bos|eos|pad|unk|br|p|div|span|start_of_turn|end_of_turn)\b[^>\n]{0,40}>"
    r"|\[/?INST\]|<<SYS>>|^\W*(?:user|assistant|system|المستخدم|المساعد)\s*:|\ufffd(?=.)",
    re.IGNORECASE | re.DOTALL,
)
_NUMBER = re.compile(r"[\u2212+-]?\d+(?:\.\d+)?")
_LETTER = re.compile(r"[a-hابجدهو]")
_LOOP = re.compile(r"(?:^| )(\S.{0,80}?)(?: \1){2}(?: |$)")
# Conjunctions, prepositions and articles written onto the word: light10's prefixes (Larkey, Ballesteros and
# Connell 2007), with those that it leaves before the article.
_CLITICS = re.compile(r"^[وف]?[بكل]?(?:ال|لل)?(?=[\u0621-\u064a]{3})")
_OPEN_END = re.compile(r"[،,:;؛(\[{«“、，：；（《\u2013-]\s*$")
_OPEN_WORDS = "و او ثم من في علي الي عن ان التي الذي الذين مع بين the a an of and or with 的 和 或 在"
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
    if _is_number(wanted) and not _number_words().intersection(case.said):
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
    wanted = {script for text in texts if (script := _script(text))}
    if case.answer == _INVALID or not wanted or said.of(*wanted) >= _SCRIPT_SHARE * said.total:
        return None
    return f"{said.of(*wanted)} of {said.total} letters are {' or '.join(sorted(wanted)).title()}"


def repetitive(case: Case) -> str | None:
    """Find answers that say the same again and again."""
    if loop := _LOOP.search(" ".join(case.said)):
        return f"'{loop.group(1)}' three times in a row"
    share = repetition(case.answer)
    if share > _REPETITION and not _is_number(normalize(case.answer, "matching")):
        return f"{share:.0%} of it was said before"
    return None


def near_miss(case: Case) -> str | None:
    """Find answers that share most words with the target, or are its number or its word in another form.

    What is near in words may be far in meaning: another king of the same name is near, too.
    """
    said, wanted = normalize(case.answer, "matching"), normalize(case.target, "matching")
    numbers = [_numbers(text) for text in (said, wanted)]
    if _is_number(wanted):
        is_same = numbers[0] == numbers[1] or _in_words(wanted) in (said, *said.split())
        return "the same number in another form" if is_same and len(case.said) <= _WORDS_LONGER else None
    if numbers[0] != numbers[1]:
        return None  # 1991 is not nearly 1990
    if (shared := _f1(case.said, case.wanted)) > _SHARED_WORDS:
        return f"word F1 {shared:.2f}"
    if len(case.said) == len(case.wanted) == 1 and (shared := chrf(said, wanted)) >= _SHARED_LETTERS:
        return f"chrF {shared:.2f}"
    return None


def instruction_not_followed(case: Case) -> str | None:
    """Find answers that repeat the question, wrap the answer in others, or go on and on."""
    said, wanted, asked = len(case.said), len(case.wanted), len(case.asked)
    if asked >= _TOLD and stands_in(case.asked, case.said):
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
    if not any(map(_is_telling, case.said)) or stands_in(case.wanted, case.said):
        return None
    if stands_in(case.said, case.given):
        return "stands in the context"
    return "stands in the question" if stands_in(case.said, case.asked) else None


def unsupported(case: Case) -> str | None:
    """Find answers most of whose words stand neither in the context nor in the question."""
    telling = [word for word in case.said if _is_telling(word)]
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


def stands_in(some: tuple[str, ...], text: Iterable[str]) -> bool:
    """Return whether words stand in a text, in a row."""
    return bool(some) and f" {' '.join(some)} " in f" {' '.join(text)} "


def _script(text: str) -> str | None:
    """Return the script of most letters of a text, or None where there is none."""
    found = letters(text)
    return next((script for script in SCRIPTS if 2 * found.of(script) > found.total), None)


def _is_telling(word: str) -> bool:
    return len(word) >= _TOLD or word.isdigit() or bool(UNSPACED.fullmatch(word))


def _f1(said: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0


def _is_number(matched: str) -> bool:
    return bool(_NUMBER.fullmatch(matched.removesuffix("%")))


def _numbers(matched: str) -> list[float]:
    """Return the numbers of a text; matching writes a minus as U+2212, which float does not read."""
    return sorted(float(number.replace("\u2212", "-")) for number in _NUMBER.findall(matched))


def _in_words(number: str) -> str | None:
    is_small = number.isdigit() and len(number) <= _TOLD
    return normalize(in_words(int(number)), "matching") if is_small else None


@functools.cache
def _number_words() -> frozenset[str]:
    """Return the words of numbers in Arabic, in both genders and all cases, in English and Chinese."""
    counted = (*range(20), *range(20, 100, 10), *range(100, 1000, 100))
    arabic = words(" ".join(map(in_words, counted)))
    others = words(f"الف مليون احدي اثنتان ثمان {_ENGLISH_NUMBERS} {_CHINESE_NUMBERS}")
    feminine = (word.removesuffix("ه") for word in arabic)
    oblique = (word[:-2] + "ين" for word in arabic if word.endswith(("ون", "ان")))
    return frozenset((*arabic, *others, *feminine, *oblique))


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
