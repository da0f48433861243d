"""Questions without a model: rules that turn statements of a paragraph into questions, the same each time.

They are few and plain, and each is named in its rows: they run the whole path anywhere, and are no
match for questions that a person or a model would ask.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from arabic_llm.synthesis import sentences, telling_rules
from arabic_llm.synthesis import statement_forms as forms
from arabic_llm.synthesis.exchanges import TURNS, Exchange
from arabic_llm.text import normalize

_NUMBER = re.compile(
    r"(?<![\w.,/\-–])(?:\d{1,3}(?:[.,]\d{3})+|\d+(?:[.,]\d+)?|[\u0660-\u0669]+(?:[.,٫٬][\u0660-\u0669]+)?)(?![\w/\-–]|[.,]\d)"
)
_QUOTED = re.compile(r"[«\"“](?P<name>[^«»\"“”\n]{3,60})[»\"”]")
_BLANK = "____"
_SHORTEST, _LONGEST = 4, 80  # words of a sentence that is asked about
_SHORTEST_HALVED = 10  # of one that is asked to be completed
Rule = Callable[[str, str], Exchange | None]


@dataclass(frozen=True)
class _Lesson:
    """The sentences of a paragraph, its article's title, and what has been asked about them."""

    said: list[str]
    title: str
    asked: set[str] = field(default_factory=set)  # as matching reads questions: none comes twice
    told: set[int] = field(default_factory=set)  # places of sentences

    def find(self, rule: Rule, *, untold: bool) -> Iterator[Exchange]:
        """Yield the new questions of a rule; `untold`: about sentences that nothing has been asked of."""
        for place, sentence in enumerate(self.said):
            if (untold and place in self.told) or not _SHORTEST <= len(sentence.split()) <= _LONGEST:
                continue
            one = rule(sentence, self.title)
            key = normalize.normalize(one.question, "matching") if one else ""
            if one is not None and key not in self.asked:
                self.asked.add(key)
                self.told.add(place)
                yield one


def exchanges(text: str, title: str, kind: str, num_pairs: int) -> list[Exchange]:
    """Return the questions that rules find in a paragraph, the telling ones first; of a long one, three.

    Three are a conversation: with fewer of them, there is none. A rule that has a sentence completed is
    used once, and a short paragraph has one such question: they are not to be most of all.
    """
    lesson = _Lesson([_plain(sentence) for sentence in sentences.split(text)], title.strip())
    told = (one for rule in TELLING for one in lesson.find(rule, untold=False))
    completed = (one for rule in COMPLETING for one in islice(lesson.find(rule, untold=True), 1))
    if kind != "long":
        return [*islice(chain(told, islice(completed, 1)), num_pairs)]
    found = [*islice(chain(told, completed), TURNS)]
    return found if len(found) == TURNS else []


def number(sentence: str, title: str) -> Exchange | None:
    """Return a sentence without one of its numbers, which is asked for."""
    numbers = list(_NUMBER.finditer(sentence))
    if not numbers or not _stands_alone(sentence, title):
        return None
    wanted = numbers[-1]
    gap = f"{sentence[: wanted.start()]}{_BLANK}{sentence[wanted.end() :]}"
    question = f"أكمل الجملة الآتية{_about(title, sentence)} بالعدد الناقص: {gap}"
    return Exchange(question, f"العدد الناقص هو {wanted[0]}: {sentence}", "extractive:number")


def quoted(sentence: str, title: str) -> Exchange | None:
    """Return a sentence without a name that it quotes, which is asked for."""
    found = _QUOTED.search(sentence)
    if found is None or not _stands_alone(sentence, title):
        return None
    gap = f"{sentence[: found.start('name')]}{_BLANK}{sentence[found.end('name') :]}"
    question = f"أكمل الجملة الآتية{_about(title, sentence)} بالكلمات الناقصة: {gap}"
    return Exchange(question, f"الكلمات الناقصة هي «{found['name']}»: {sentence}", "extractive:quotation")


def what_follows(sentence: str, title: str) -> Exchange | None:
    """Return a sentence about what the article is on, asked for by its title."""
    if not title or not forms.names(sentence, title):
        return None
    head = " ".join(sentence.split()[:4]).rstrip("،؛:,(")
    if forms.ends_open(head) or forms.is_vague(head):
        return None
    question = f"ماذا تعرف عن {title}؟ ابدأ جوابك بقولك: {head}"
    return Exchange(question, sentence, "extractive:title")


def continuation(sentence: str, title: str) -> Exchange | None:
    """Return a sentence that is to be completed, of which the first half is given."""
    said = sentence.split()
    if not title or len(said) < _SHORTEST_HALVED:
        return None
    half = " ".join(said[: len(said) // 2])
    question = f"أكمل الجملة الآتية{_about(title, half)}: {half} ..."
    return Exchange(question, sentence, "extractive:continuation")


def _plain(sentence: str) -> str:
    """Return a sentence on one line, without the marks of notes and without diacritics."""
    bare = normalize.STEPS["diacritics"](sentence)
    return " ".join(re.sub(r"\[\d{1,3}\]|\(\d{1,2}\)", " ", bare).split())


def _stands_alone(sentence: str, title: str) -> bool:
    """Return whether a sentence says of what it speaks, or its title does."""
    return not forms.is_vague(sentence) or bool(title)


def _about(title: str, sentence: str) -> str:
    return f" عن {title}" if title and not forms.names(sentence, title) else ""


TELLING: tuple[Rule, ...] = (
    *(telling_rules.definition, telling_rules.nominal, telling_rules.born, telling_rules.birthplace),
    *(telling_rules.died, telling_rules.place, telling_rules.own, telling_rules.borders),
    *(telling_rules.date, telling_rules.measure, telling_rules.by_whom, telling_rules.why),
    *(telling_rules.made_of, telling_rules.notable, telling_rules.deed, telling_rules.event),
)
COMPLETING: tuple[Rule, ...] = (quoted, number, what_follows, continuation)
