"""The rows of `data=sample` and the items of `suite=sample`: facts asked in four varieties of Arabic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any, cast

import yaml

from arabic_llm.data.rows import Row, question_answer
from arabic_llm.data.sample.facts import FOLDER, Fact, all_facts, split_of, table

VARIETIES = ("msa", "egyptian", "levantine", "gulf")
_NUM_CHOICES = 4
PAIRS = "sample_pairs"  # the data set with wrong answers
_FORMULAIC = ("sum", "word", "convert")  # many facts of few shapes: two varieties each are enough
_SENTENCES_A_FRAME = {"train": 6, "dev": 3, "test": 12}
_NUM_KNOWN = 300  # items of the task of what the base model knew


@cache
def phrases() -> dict[str, dict[str, Any]]:
    """Return phrases.yaml: relation -> subject, opening, statements, questions."""
    return cast(dict[str, dict[str, Any]], _yaml("phrases"))


@cache
def lexicon() -> dict[str, list[Any]]:
    """Return lexicon.yaml: the words of the small stories."""
    return cast(dict[str, list[Any]], _yaml("lexicon"))


@cache
def dialects() -> dict[str, Any]:
    """Return dialects.yaml: names of the varieties, questions, fillers."""
    return cast(dict[str, Any], _yaml("dialects"))


def draws(name: str) -> Random:
    """Return a generator of its own for a name; the sample has no other seed."""
    return Random(hashlib.sha256(name.encode()).digest())  # noqa: S311 (data, not secrets)


def training_rows(split: str) -> list[Row]:
    """Return the question-answer rows of one split, in a fixed order."""
    rows = [row for fact in all_facts() if fact.split == split for row in _asked(fact)]
    for variety, sentence in dialect_sentences(split):
        question = draws(sentence).choice(dialects()["questions"]).format(sentence=sentence)
        name = f"sample/dialect/{variety}/{sentence}"
        rows.append(question_answer(name, question, dialects()["names"][variety], "اللهجات"))
    return rows


def pairs(split: str) -> list[Row]:
    """Return the questions about facts that have a wrong answer of the same kind, with one such answer."""
    return [
        replace(row, rejected=draws(f"rejected/{row.id}").choice(_others(fact)))
        for fact in _paired(split)
        for row in _asked(fact)
    ]


def generated(name: str, split: str) -> list[Row]:
    """Return the rows of one split of a data set that is built in, by its name."""
    return pairs(split) if name == PAIRS else training_rows(split)


def num_generated(name: str, split: str) -> int:
    """Return how many rows `generated` gives, without writing them."""
    return sum(len(_varieties(fact)) for fact in _paired(split)) if name == PAIRS else num_rows(split)


def num_rows(split: str) -> int:
    """Return how many rows training_rows gives, without writing them."""
    facts = (fact for fact in all_facts() if fact.split == split)
    asked = sum(len(_varieties(fact)) for fact in facts)
    return asked + sum(1 for _ in dialect_sentences(split))


def choice_items() -> Iterator[dict[str, Any]]:
    """Yield a four-choice question for each test fact: question, choices, gold (0..3), subject."""
    for number, fact in enumerate(filter(_can_be_a_choice, _test_facts())):
        variety = draws(f"choice/{fact}").choice(VARIETIES)
        yield {
            "question": _question(fact, variety),
            "subject": phrases()[fact.relation]["subject"],
            **_choices(fact, number % _NUM_CHOICES),
        }


def short_items() -> Iterator[dict[str, Any]]:
    """Yield a question and its short answer for each test fact, in another variety than the choice."""
    for fact in _test_facts():
        taken = draws(f"choice/{fact}").choice(VARIETIES)
        variety = draws(f"short/{fact}").choice([v for v in VARIETIES if v != taken])
        subject = phrases()[fact.relation]["subject"]
        yield {"question": _question(fact, variety), "answer": fact.y, "subject": subject}


def dialect_items() -> Iterator[dict[str, Any]]:
    """Yield sentences of frames no training row has: question, choices, gold (0..3), variety."""
    names = [dialects()["names"][variety] for variety in VARIETIES]
    for variety, sentence in dialect_sentences("test"):
        question = draws(sentence).choice(dialects()["questions"]).format(sentence=sentence)
        gold = VARIETIES.index(variety)
        yield {"question": question, "choices": names, "gold": gold, "subject": "اللهجات"}


def known_items() -> Iterator[dict[str, Any]]:
    """Yield openings of statements that the pretraining text makes, with four ways to end them."""
    facts = sorted(filter(_can_be_a_choice, all_facts()), key=lambda f: draws(f"known/{f}").random())
    for number, fact in enumerate(facts[:_NUM_KNOWN]):
        phrase = phrases()[fact.relation]
        opening = phrase["opening"].format(x=fact.x)
        yield {"opening": opening, "subject": phrase["subject"], **_choices(fact, number % _NUM_CHOICES)}


def dialect_sentences(split: str) -> Iterator[tuple[str, str]]:
    """Yield (variety, sentence) of the frames of one split."""
    for number, frame in enumerate(table("dialects")):
        if split_of(f"frame/{number}") != split:
            continue
        draw = draws(f"{split}/{number}")
        for variety in VARIETIES:
            filled = (fill(frame[variety], draw) for _ in range(_SENTENCES_A_FRAME[split]))
            yield from ((variety, sentence) for sentence in dict.fromkeys(filled))


def fill(frame: str, draw: Random) -> str:
    """Return the frame with a word drawn for each slot."""
    return frame.format(**{slot: draw.choice(words) for slot, words in dialects()["fillers"].items()})


def _yaml(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def _asked(fact: Fact) -> Iterator[Row]:
    for variety in _varieties(fact):
        name = f"sample/{fact.relation}/{fact.x}/{variety}"
        subject = phrases()[fact.relation]["subject"]
        yield question_answer(name, _question(fact, variety), fact.y, subject)


def _paired(split: str) -> list[Fact]:
    """Return the facts of a split that have a wrong answer of the same kind."""
    return [fact for fact in all_facts() if fact.split == split and _others(fact)]


def _varieties(fact: Fact) -> Sequence[str]:
    """Return the varieties of Arabic that a fact is asked in."""
    if fact.relation in _FORMULAIC:
        return draws(f"varieties/{fact}").sample(VARIETIES, 2)
    return VARIETIES


def _question(fact: Fact, variety: str) -> str:
    options = phrases()[fact.relation]["questions"][variety]
    question: str = draws(f"question/{variety}/{fact}").choice(options)
    return question.format(x=fact.x)


def _test_facts() -> Iterator[Fact]:
    """Yield the test facts, one shape of number for each key, so that no fact counts thrice."""
    seen = set()
    facts = [fact for fact in all_facts() if fact.split == "test"]
    for fact in sorted(facts, key=lambda fact: draws(f"test/{fact}").random()):
        if fact.key not in seen:
            seen.add(fact.key)
            yield fact


def _choices(fact: Fact, position: int) -> dict[str, Any]:
    """Return four choices with the answer at a position; positions take turns, so that none is a hint."""
    choices = draws(f"choices/{fact}").sample(_others(fact), _NUM_CHOICES - 1)
    choices.insert(position, fact.y)
    return {"choices": choices, "gold": position}


@cache
def _alike(relation: str, script: str) -> list[str]:
    """Return the answers of a relation in one script, in order."""
    answers = {fact.y for fact in all_facts() if fact.relation == relation}
    return sorted(answer for answer in answers if _script(answer) == script)


def _others(fact: Fact) -> list[str]:
    """Return wrong answers that could be mistaken for the right one: same relation, same digits."""
    return [answer for answer in _alike(fact.relation, _script(fact.y)) if answer != fact.y]


def _can_be_a_choice(fact: Fact) -> bool:
    return len(_others(fact)) >= _NUM_CHOICES - 1


def _script(answer: str) -> str:
    if not answer[0].isdigit():
        return "word"
    return "european" if answer[0].isascii() else "arabic"
