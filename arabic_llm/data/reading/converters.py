"""Rows made of records that are none yet: message trees, paragraphs of articles, numbered turns."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from arabic_llm.config.data import Shape
from arabic_llm.data.reading.records import Broken, Record, shown

_ROLES = {"prompter": "user", "assistant": "assistant"}
_PAIR = 2  # replies that can be told apart


@dataclass(frozen=True)
class _Message:
    """One message of a tree; the lowest rank is the best."""

    place: str
    id: str
    parent: str | None
    role: str
    text: str
    rank: int | None


@dataclass
class _Forest:
    """The messages of one file that are kept, and who answers whom."""

    kept: dict[str, _Message] = field(default_factory=dict)  # by id, in the order of the file
    parents: dict[str, str | None] = field(default_factory=dict)  # of every message, kept or not
    roots: list[_Message] = field(default_factory=list)  # the first questions
    replies: dict[str, list[_Message]] = field(default_factory=lambda: defaultdict(list))  # by parent


class _UnusableError(Exception):
    """What is wrong with a record."""


def reshape(
    shape: Shape, found: Iterable[Record | Broken], language: str | None
) -> Iterator[Record | Broken]:
    """Yield the rows of one file's records, in a format that data/reading/formats.py recognises.

    What is broken stays so, and what cannot become a row is broken with its reason. Of message trees,
    only messages in `language` are read (None: all of them), and a file's are held in memory.
    """
    if shape is Shape.message_trees:
        return message_trees(found, language)
    if shape is Shape.message_tree_pairs:
        return message_tree_pairs(found, language)
    if shape is Shape.paragraph_questions:
        return paragraph_questions(found)
    return paragraphs(found) if shape is Shape.paragraphs else numbered_turns(found)


def message_trees(found: Iterable[Record | Broken], language: str | None) -> Iterator[Record | Broken]:
    """Yield one conversation a tree, in the layout of OpenAssistant/oasst1: a record is a message.

    A question goes on with its best-ranked reply (the only one needs no rank), an answer with the
    question from which this rule leads furthest; of like ones, the first in the file. There are no more
    paths a tree: they would share their beginning, so that its answers would be learned several times,
    and stand in training and dev at once. A row's place is that of the first question.
    """
    forest = _Forest()
    yield from _grow(forest, found, language)
    for root in forest.roots:
        path = _best_path(root, forest)
        if len(path) > 1:
            yield Record(root.place, {"messages": [_turn(message) for message in path]})
        else:
            why = "none has a rank" if forest.replies[root.id] else "there is none"
            yield Broken(root.place, f"no best reply to the first question: {why}")


def message_tree_pairs(found: Iterable[Record | Broken], language: str | None) -> Iterator[Record | Broken]:
    """Yield, for each question with two or more ranked replies, the best against the worst.

    All that was said before it is the prompt, also answers that are not the best: it is what the
    replies were ranked after. A row's place is that of the question.
    """
    forest = _Forest()
    yield from _grow(forest, found, language)
    for message in (message for root in forest.roots for message in _below(root, forest)):
        ranked = _ranked(forest.replies[message.id])
        if message.role != "user" or len(ranked) < _PAIR:
            continue
        best, worst = ranked[0], ranked[-1]
        if best.rank == worst.rank:
            yield Broken(message.place, "no better reply: all that are ranked share one rank")
            continue
        before = [_turn(said) for said in _thread(message, forest)]
        yield Record(message.place, {"messages": before, "chosen": best.text, "rejected": worst.text})


def paragraphs(found: Iterable[Record | Broken]) -> Iterator[Record | Broken]:
    """Yield the paragraphs of SQuAD v1.1 as raw text, each once, with the title of its article."""
    for item in _paragraphs(found):
        if isinstance(item, Broken):
            yield item
        else:
            title = item.values.get("title")
            told = {"title": title} if isinstance(title, str) else {}
            yield Record(item.place, {"text": item.values["context"], **told})


def paragraph_questions(found: Iterable[Record | Broken]) -> Iterator[Record | Broken]:
    """Yield the questions of SQuAD v1.1, each with its paragraph and the first of its answers."""
    for item in _paragraphs(found):
        asked = None if isinstance(item, Broken) else item.values.get("qas")
        if isinstance(item, Broken):
            yield item
        elif not isinstance(asked, list):
            yield Broken(item.place, "not in SQuAD's layout: 'qas' is no list")
        else:
            for number, question in enumerate(asked, 1):
                yield _of_question(f"{item.place} question {number}", item.values["context"], question)


def numbered_turns(found: Iterable[Record | Broken]) -> Iterator[Record | Broken]:
    """Yield records with columns question1, answer1, question2, answer2, ... as conversations."""
    for item in found:
        if isinstance(item, Broken):
            yield item
            continue
        turns: list[dict[str, Any]] = []
        for number in count(1):
            said = [item.values.get(f"{column}{number}") for column in ("question", "answer")]
            if said == [None, None]:
                break
            turns += ({"role": r, "content": s} for r, s in zip(_ROLES.values(), said, strict=True))
        yield Record(item.place, {"messages": turns}) if turns else Broken(item.place, "no 'question1'")


def _paragraphs(found: Iterable[Record | Broken]) -> Iterator[Record | Broken]:
    """Yield the paragraphs of SQuAD's articles as they stand there; 'context' of each is a text."""
    for item in found:
        if isinstance(item, Broken):
            yield item
            continue
        articles = item.values.get("data")
        if not isinstance(articles, list):
            yield Broken(item.place, "not in SQuAD's layout: 'data' is no list of articles")
            continue
        for number, article in enumerate(articles, 1):
            yield from _of_article(f"{item.place} article {number}", article)


def _of_article(place: str, article: Any) -> Iterator[Record | Broken]:
    found = article.get("paragraphs") if isinstance(article, dict) else None
    if not isinstance(found, list):
        yield Broken(place, "not in SQuAD's layout: 'paragraphs' is no list")
        return
    for number, paragraph in enumerate(found, 1):
        context = paragraph.get("context") if isinstance(paragraph, dict) else None
        where = f"{place} paragraph {number}"
        if isinstance(context, str) and context.strip():
            yield Record(where, {"title": article.get("title"), **paragraph})
        else:
            yield Broken(where, "not in SQuAD's layout: 'context' is no text")


def _of_question(place: str, context: str, asked: Any) -> Record | Broken:
    question = asked.get("question") if isinstance(asked, dict) else None
    answers = asked.get("answers") if isinstance(asked, dict) else None
    first = answers[0] if isinstance(answers, list) and answers else None
    answer = first.get("text") if isinstance(first, dict) else None
    for name, text in (("question", question), ("answers", answer)):
        if not isinstance(text, str) or not text.strip():
            return Broken(place, f"not in SQuAD's layout: '{name}' holds no text")
    return Record(place, {"context": context, "question": question, "answer": answer})


def _grow(forest: _Forest, found: Iterable[Record | Broken], language: str | None) -> Iterator[Broken]:
    """Fill the forest; yield what is broken, and what hangs on no tree.

    What answers a message that is not kept is left out with it: it says nothing alone.
    """
    yield from _gather(forest, found, language)
    checked: set[str] = set()
    for message in forest.kept.values():
        if wrong := _wrong_above(message, forest, checked):
            yield Broken(message.place, wrong)
        elif message.parent is None:
            forest.roots.append(message)
        else:
            forest.replies[message.parent].append(message)


def _gather(forest: _Forest, found: Iterable[Record | Broken], language: str | None) -> Iterator[Broken]:
    """Note the messages of a file, and keep those that are read; yield what is broken."""
    for item in found:
        if isinstance(item, Broken):
            yield item
            continue
        try:
            name, parent = _text(item, "message_id"), _optional(item, "parent_id", str)
            if name in forest.parents:
                raise _UnusableError(f"a message stands twice: '{shown(name)}'")
            forest.parents[name] = parent
            if _is_kept(item, language):
                forest.kept[name] = _message(item, name, parent)
        except _UnusableError as error:
            yield Broken(item.place, str(error))


def _is_kept(item: Record, language: str | None) -> bool:
    """Return whether a message is in the language, not deleted, and was not turned down in review."""
    if language is not None and _text(item, "lang") != language:
        return False
    return not _optional(item, "deleted", bool) and _optional(item, "review_result", bool) is not False


def _message(item: Record, name: str, parent: str | None) -> _Message:
    role = _text(item, "role")
    if role not in _ROLES:
        raise _UnusableError(f"'role' is neither prompter nor assistant: '{shown(role)}'")
    return _Message(item.place, name, parent, _ROLES[role], _text(item, "text"), _rank(item))


def _rank(item: Record) -> int | None:
    """Return a message's rank; a table in which some are missing holds floats."""
    rank = item.values.get("rank")
    if rank is None or (isinstance(rank, float) and math.isnan(rank)):
        return None
    if isinstance(rank, bool) or not isinstance(rank, int | float) or rank % 1:
        raise _UnusableError(f"'rank' is no whole number: {shown(rank)}")
    return int(rank)


def _text(item: Record, column: str) -> str:
    value = item.values.get(column)
    if not isinstance(value, str) or not value.strip():
        raise _UnusableError(f"'{column}' is no text: {shown(value)}")
    return value


def _optional(item: Record, column: str, kind: type) -> Any:
    value = item.values.get(column)
    if value is not None and not isinstance(value, kind):
        raise _UnusableError(f"'{column}' is no {kind.__name__}: {shown(value)}")
    return value


def _wrong_above(message: _Message, forest: _Forest, checked: set[str]) -> str:
    """Return why a message is no part of a tree, or nothing; a circle is said of its first message."""
    if message.parent is None:
        return "" if message.role == "user" else "a tree begins with an answer"
    if message.parent not in forest.parents:
        return f"no such parent: '{shown(message.parent)}' is not in this file"
    above = forest.kept.get(message.parent)
    if above and above.role == message.role:
        return f"turns do not alternate: '{message.role}' answers '{above.role}'"
    way: set[str] = set()  # up, as far as it was not gone before
    name: str | None = message.id
    while name is not None and name not in checked and name not in way:
        way.add(name)
        name = forest.parents.get(name)
    checked |= way
    return "answers in a circle: above this message there is no first question" if name in way else ""


def _below(root: _Message, forest: _Forest) -> list[_Message]:
    """Return a tree's messages, each after the one that it answers."""
    found = [root]
    for message in found:  # grows as it is read: no tree is too deep
        found += forest.replies[message.id]
    return found


def _thread(message: _Message, forest: _Forest) -> list[_Message]:
    """Return all that was said, from the first question to a message."""
    found = [message]
    while found[-1].parent is not None:
        found.append(forest.kept[found[-1].parent])
    return found[::-1]


def _best_path(root: _Message, forest: _Forest) -> list[_Message]:
    """Return the conversation that a tree becomes, to its last answer; without one, the root alone."""
    lengths: dict[str, int] = {}  # of the path from a message on; 0: a question without a best reply
    following: dict[str, _Message] = {}
    for message in reversed(_below(root, forest)):
        replies = [reply for reply in forest.replies[message.id] if lengths[reply.id]]
        if message.role == "user" and len(replies) > 1:
            replies = _ranked(replies)[:1]
        best = max(replies, key=lambda reply: lengths[reply.id], default=None)
        lengths[message.id] = 1 + lengths[best.id] if best else int(message.role == "assistant")
        if best:
            following[message.id] = best
    path = [root]
    while path[-1].id in following:
        path.append(following[path[-1].id])
    return path


def _ranked(replies: Iterable[_Message]) -> list[_Message]:
    """Return the replies that have a rank, the best first."""
    ranked = ((reply.rank, reply) for reply in replies if reply.rank is not None)
    return [reply for _, reply in sorted(ranked, key=lambda pair: pair[0])]


def _turn(message: _Message) -> dict[str, str]:
    return {"role": message.role, "content": message.text}
