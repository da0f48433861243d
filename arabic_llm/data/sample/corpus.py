"""The text that the tiny model is pretrained on: statements of every fact, stories, lists, dialogues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from arabic_llm.data.rows import Message, Row
from arabic_llm.data.sample.facts import Fact, all_facts
from arabic_llm.data.sample.questions import (
    VARIETIES,
    dialect_sentences,
    dialects,
    draws,
    lexicon,
    phrases,
)

_SYSTEMS = ("", "", "", "أنت مساعد مفيد.", "أنت معلم صبور.")
_KINDS: tuple[tuple[str, int], ...] = (  # shares of the documents, in percent
    ("lesson", 66),
    ("story", 12),
    ("prose", 5),
    ("dialect", 7),
    ("other", 2),
    ("chat", 8),
)


def documents(count: int, seed: int) -> Iterator[Row]:
    """Yield `count` documents; chat documents have messages, all others raw text.

    Facts are stated, never asked: no question of `data=sample` or `suite=sample` stands here.
    """
    draw = draws(f"corpus/{seed}")
    facts = _rounds(draw)
    kinds, weights = zip(*_KINDS, strict=True)
    sentences = [s for split in ("train", "dev") for s in dialect_sentences(split)]
    makers: dict[str, Callable[[], str]] = {
        "lesson": lambda: _lesson(facts, draw),
        "story": lambda: _story(draw),
        "prose": lambda: _prose(draw),
        "dialect": lambda: _dialect(sentences, draw),
        "other": lambda: _other(draw),
    }
    for number, kind in enumerate(draw.choices(kinds, weights, k=count)):
        name = f"corpus/{kind}/{number}"
        if kind == "chat":
            yield Row(name, messages=_chat(draw))
        else:
            yield Row(name, text=makers[kind]())


def _rounds(draw: Random) -> Iterator[Fact]:
    """Yield facts for ever: every fact once before any fact twice."""
    facts = list(all_facts())
    while True:
        draw.shuffle(facts)
        yield from facts


def _lesson(facts: Iterator[Fact], draw: Random) -> str:
    """Return statements of a few facts, or now and then of many: a model learns only positions it saw."""
    is_long = draw.random() < 0.08  # noqa: PLR2004 (a twelfth of the lessons, a third of their tokens)
    lines = []
    for fact in (next(facts) for _ in range(draw.randint(12, 24) if is_long else draw.randint(2, 6))):
        statement = draw.choice(phrases()[fact.relation]["statements"])
        lines.append(statement.format(x=fact.x, y=fact.y))
    return draw.choice((" ", "\n")).join(lines)


def _story(draw: Random) -> str:
    words = lexicon()
    is_girl = draw.random() < 0.5  # noqa: PLR2004 (half the heroes)
    name = draw.choice(words["girls"] if is_girl else words["boys"])
    friend = draw.choice([n for n in words["girls"] + words["boys"] if n != name])
    went, found, was = ("ذهبت", "فوجدت", "وكانت") if is_girl else ("ذهب", "فوجد", "وكان")
    feelings = words["feelings_f"] if is_girl else words["feelings"]
    endings = words["endings_f"] if is_girl else words["endings"]
    place, thing = draw.choice(words["places"]), draw.choice(words["things"] + words["animals"])
    middle = draw.choice(
        (
            f"وقال {friend}: {draw.choice(words['sayings'])}.",
            f"وكان معها {friend}." if is_girl else f"وكان معه {friend}.",
            f"فسأل {friend} عن السبب.",
        )
    )
    start = f"{draw.choice(words['times'])} {went} {name} إلى {place} {found} {thing}"
    return f"{start} {was} {draw.choice(feelings)}. {middle} {draw.choice(endings)}."


def _prose(draw: Random) -> str:
    words = lexicon()
    lines = draw.sample(words["plain"], draw.randint(1, 4))
    if draw.random() < 0.3:  # noqa: PLR2004 (a proverb now and then)
        lines.append(draw.choice(words["sayings"]))
    return ". ".join(lines) + "."


def _dialect(sentences: list[tuple[str, str]], draw: Random) -> str:
    variety = draw.choice(VARIETIES)
    own = [sentence for spoken, sentence in sentences if spoken == variety]
    name = dialects()["names"][variety]
    spoken_in = "بالعربية" if variety == "msa" else "باللهجة"
    opening = draw.choice(("", f"{spoken_in} {name}: ", f"هكذا يقال {spoken_in} {name}: "))
    return opening + " ".join(draw.sample(own, draw.randint(2, 5)))


def _other(draw: Random) -> str:
    words = lexicon()
    return " ".join(draw.sample(words[draw.choice(("english", "chinese"))], draw.randint(1, 4)))


def _chat(draw: Random) -> tuple[Message, ...]:
    """Return greetings and repetitions: they show how turns open and end, and answer no question."""
    messages = []
    if system := draw.choice(_SYSTEMS):
        messages.append(Message("system", system))
    for _ in range(draw.choice((1, 1, 1, 2))):
        if draw.random() < 0.4:  # noqa: PLR2004 (two greetings to three repetitions)
            said, answer = draw.choice(lexicon()["dialogues"])
        else:
            fact = draw.choice(all_facts())
            answer = draw.choice((fact.x, fact.y))
            said = draw.choice(("كرر: {}", "قل: {}", "أعد ما أقول: {}", "اكتب هذه الكلمة: {}")).format(
                answer
            )
        messages += [Message("user", said), Message("assistant", answer)]
    return tuple(messages)
