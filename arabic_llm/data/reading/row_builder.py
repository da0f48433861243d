"""One record of a file as a row: its conversation or its text, or what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from arabic_llm.config.data import ColumnsConfig
from arabic_llm.data.reading import turns
from arabic_llm.data.reading.rating_words import rating_of
from arabic_llm.data.reading.records import Broken, Record, as_text, shown
from arabic_llm.data.reading.turns import UnusableError
from arabic_llm.data.rows import Message, Row
from arabic_llm.text.words import says_nothing

# Of a row: a book of a million words has six million; cleaning takes some forty bytes for each.
LONGEST_CHARACTERS = 2**23
_PAIR = 2  # a question and its answer, or a better answer and a worse one


def as_row(record: Record, columns: ColumnsConfig) -> Row | Broken:
    """Return the row of a record, or what is wrong with it.

    A labelled text has no answer to learn: it is raw text, and its label is kept in `label`.
    """
    values = record.values
    subject = str(values.get(columns.subject) or "") if columns.subject else ""
    label = values.get(columns.label) if columns.label else None
    if isinstance(label, dict | list):
        return Broken(record.place, f"'{columns.label}' is no label ({type(label).__name__}): one a row")
    if isinstance(label, float) and label.is_integer():
        label = int(label)  # a class that is a number is called the same in every file
    label = "" if _is_nothing(label) else " ".join((as_text(label) or str(label)).split())
    try:
        if columns.text and not columns.messages:
            text = _text(values.get(columns.text), columns.text)
            return _bounded(Row(record.place, text=text, subject=subject, label=label))
        messages, rejected = _conversation(values, columns)
        rating = _rating(values, columns.rating)
    except UnusableError as error:
        return Broken(record.place, str(error))
    return _bounded(
        Row(record.place, tuple(messages), subject=subject, rejected=rejected, label=label, rating=rating)
    )


def _bounded(row: Row) -> Row | Broken:
    """Return a row, or that it is too long for one."""
    if sum(map(len, (*row.turns(), row.rejected))) > LONGEST_CHARACTERS:
        most = f"more than {LONGEST_CHARACTERS >> 20} Mi characters"
        return Broken(row.id, f"too long for one row: {most}; cut it into its chapters")
    return row


def _conversation(values: dict[str, Any], columns: ColumnsConfig) -> tuple[list[Message], str]:
    """Return the turns that are learned from, and the rejected answer if there is one.

    An answer of several turns that begins with a question brings all that was said before it: nothing
    else opens the conversation, and what stands beside it has to stand in it.
    """
    answer = values.get(str(columns.response))
    first = answer[0] if isinstance(answer, list) and len(answer) > 1 else None
    whole = isinstance(first, dict) and turns.role_of(first) != "assistant"
    turns.refuse_unread_columns(values, columns.unread_keys)
    messages = [] if whole else _opening(values, columns)
    rejected = ""
    if columns.response and columns.response == columns.rejected:
        best, worst = _best_and_worst(answer, columns.response)
        messages, rejected = [*messages, Message("assistant", best)], worst
    elif columns.response:
        chosen = _answer(answer, columns.response, columns.unread_keys)
        if whole:
            _refuse_lost(values, columns, chosen)
        if columns.rejected:
            worse = _answer(values.get(columns.rejected), columns.rejected, columns.unread_keys)
            if worse[:-1] != chosen[:-1]:
                raise UnusableError(
                    f"'{columns.response}' and '{columns.rejected}' answer two different conversations"
                )
            rejected = worse[-1].content
        messages = [*messages, *chosen]
    if columns.system and (system := _optional(values.get(columns.system), columns.system)):
        messages = [Message("system", system), *messages]
    opening = columns.messages or columns.prompt or columns.response
    messages = _in_order(messages, str(columns.response if whole else opening))
    _refuse_nothing_to_learn(messages[-1:] if rejected else messages)
    return messages, rejected


def _refuse_lost(values: dict[str, Any], columns: ColumnsConfig, conversation: list[Message]) -> None:
    """Raise UnusableError where what opens a conversation is not in the one that is read instead."""
    said = [message.content.strip() for message in conversation[:-1]]
    for column in (columns.messages or columns.prompt, columns.context, columns.history):
        value = values.get(str(column))
        if column is None or _is_nothing(value) or value == []:
            continue
        if column == columns.history:
            beside = [message.content for message in _history(value, column)]
        elif turns.as_list(value) is not None:
            beside = [message.content for message in turns.read(value, column, columns.unread_keys)]
        else:
            beside = [_text(value, column)]
        if any(text.strip() not in said for text in beside):
            raise UnusableError(
                f"'{column}' would be lost: '{columns.response}' is a conversation of its own, without it"
            )


def _opening(values: dict[str, Any], columns: ColumnsConfig) -> list[Message]:
    """Return what is said before the answer; of a conversation with its answers in it, all of it."""
    column = str(columns.messages or columns.prompt)
    value = values.get(column)
    if columns.messages or isinstance(value, list):
        for beside in (columns.context, columns.history) if not columns.messages else ():
            if beside and not (_is_nothing(said := values.get(beside)) or said == []):
                raise UnusableError(f"'{beside}' has no place beside '{column}', which is a conversation")
        return turns.read(value, column, columns.unread_keys)
    prompt = _text(value, column)
    if columns.context and (context := _optional(values.get(columns.context), columns.context)):
        prompt = f"{prompt}\n\n{context}"
    return [*_history(values.get(str(columns.history)), columns.history), Message("user", prompt)]


def _text(value: Any, column: str) -> str:
    """Return the text of a column; a number or a date is text too."""
    if _is_nothing(value):
        raise UnusableError(f"'{column}' is empty")
    said = as_text(value)
    if said is None:
        raise UnusableError(f"'{column}' is no text ({type(value).__name__})")
    return said


def _optional(value: Any, column: str) -> str:
    """Return the text of a column that may be absent or empty."""
    return "" if _is_nothing(value) else _text(value, column)


def _is_nothing(value: Any) -> bool:
    """Return whether a cell says nothing; NaN is how pandas writes that."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or (isinstance(value, str) and says_nothing(value))


def _answer(value: Any, column: str, unread: Collection[str]) -> list[Message]:
    """Return an answer: a text, a turn, or a list of turns of which it is the last."""
    if isinstance(value, dict):
        return turns.read([value], column, unread)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return turns.read(value, column, unread)
    return [Message("assistant", _text(value, column))]


def _best_and_worst(value: Any, column: str) -> tuple[str, str]:
    """Return the first and the last of answers that are ordered from the best to the worst."""
    if not isinstance(value, list) or len(value) < _PAIR:
        raise UnusableError(f"'{column}' is no list of answers, the best first")
    return _text(value[0], column), _text(value[-1], column)


def _rating(values: dict[str, Any], column: str | None) -> str:
    """Return what somebody thought of the answer, or nothing."""
    if column is None or _is_nothing(value := values.get(column)):
        return ""
    if (found := rating_of(value)) is None:
        raise UnusableError(
            f"'{column}' is no rating: {shown(repr(value))} is neither up nor down (true or false, 1 or 0);"
            " a class is named by data.columns.label"
        )
    return found


def _history(value: Any, column: str | None) -> list[Message]:
    """Return the turns of a list of [question, answer]; nothing is no history."""
    if not value:
        return []
    pairs = value if isinstance(value, list) else [value]
    if not all(isinstance(pair, list) and len(pair) == _PAIR for pair in pairs):
        raise UnusableError(f"'{column}' is no list of [question, answer]")
    roles = ("user", "assistant")
    return [
        Message(role, _text(said, str(column)))
        for pair in pairs
        for role, said in zip(roles, pair, strict=True)
    ]


def _in_order(messages: list[Message], column: str) -> list[Message]:
    """Return a conversation that goes to and fro and ends with an answer."""
    roles = [m.role for m in messages]
    spoken = roles[1:] if roles[0] == "system" else roles
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise UnusableError(
            f"turns of '{column}' do not go (system,) user, assistant, user, assistant:"
            f" {shown(', '.join(roles))}"
        )
    return messages


def _refuse_nothing_to_learn(messages: list[Message]) -> None:
    if not any(m.role == "assistant" and m.supervised for m in messages):
        raise UnusableError("no answer is learned: each is marked so")
