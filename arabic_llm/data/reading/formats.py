"""Formats of training files, recognised from the names of their columns; a column that is set is taken."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from arabic_llm.config.data import ColumnsConfig
from arabic_llm.data.reading import unclear_formats
from arabic_llm.data.reading.column_names import KEYS, spelling
from arabic_llm.data.reading.rating_words import rating_of
from arabic_llm.data.reading.records import Broken, Record, listed, shown
from arabic_llm.data.reading.turns import UnusableError, as_list, role_of
from arabic_llm.errors import DataError

NUM_RECORDS = 50  # looked at; what stands further down is checked row by row
_READ = (
    "system",
    "messages",
    "prompt",
    "context",
    "history",
    "response",
    "rejected",
    "text",
    "label",
    "rating",
)
_PAIR = 2  # answers: the chosen one and the rejected one

_Answer = tuple[str | None, str | None]  # columns of the answer and of the rejected one


@dataclass(frozen=True)
class Format:
    """What a file is read as: the name people have for it, and its columns."""

    name: str
    columns: ColumnsConfig

    def __str__(self) -> str:
        """Return the name and the columns in the order they are read, each once."""
        columns = dict.fromkeys(getattr(self.columns, key) for key in _READ)
        return f"{self.name} ({listed(column for column in columns if column)})"

    def unread(self, records: Iterable[Record]) -> list[str]:
        """Return the columns that nothing reads; a column without a name is an index."""
        read = {getattr(self.columns, key) for key in (*_READ, "subject")}
        return [column for column in _columns(records) if column and column not in read]


def recognise(path: Path, records: Sequence[Record], given: ColumnsConfig) -> Format:
    """Return what the first records of a file are read as; columns that are given have the last word.

    Prompt and response together are read as they are given, and nothing beside them. A record that
    fits no format is a bad row, if others fit one. Raises DataError when none fits, when a record fits
    two, or when two records fit different ones.
    """
    there = _columns(records)
    _check(path, there, given)
    if not given.messages and not given.text and given.prompt and given.response:
        return Format(_name(records[0].values, given), given)
    fitting = [(record, ways) for record in records if (ways := _fitting(record.values, given))]
    if not fitting:  # where a column is empty in each of them, each is a bad row for that
        fitting = [(record, ways) for record in records if (ways := _fitting(_blanks(record), given))]
    if not fitting:
        raise DataError(unclear_formats.unknown(records[0], there, given))
    first, (found, *_) = fitting[0]
    for record, ways in fitting:
        if len(ways) > 1:
            names = [str(Format(_name(record.values, way), way)) for way in ways]
            raise DataError(unclear_formats.ambiguous(record, names, ways))
        if ways[0] != found:
            both = ((first, found), (record, ways[0]))
            names = [str(Format(_name(one.values, way), way)) for one, way in both]
            raise DataError(unclear_formats.mixed(first, record, names, [found, ways[0]]))
    return _with_optional(Format(_name(first.values, found), found), records)


def without_late_columns(
    head: Sequence[Record | Broken], others: Iterable[Record | Broken], read: ColumnsConfig
) -> Iterator[Record | Broken]:
    """Yield records; one of the `others` is broken where it alone brings what belongs to a prompt.

    Its context, its history or its system message would be lost unsaid: no record of the head, by which
    the format was recognised, has a column of that name.
    """
    yield from head
    roles = [role for role in ("context", "history", "system") if getattr(read, role) is None]
    if not roles or (read.prompt is None and read.messages is None):
        yield from others
        return
    there = set(_columns(record for record in head if isinstance(record, Record)))
    for record in others:
        late = _late(record, roles, there) if isinstance(record, Record) else None
        if late is None:
            yield record
            continue
        yield Broken(
            record.place,
            f"'{late}' stands in none of the first {NUM_RECORDS} rows, and would not be read: give the"
            " first one that column too, empty",
        )


def _late(record: Record, roles: Sequence[str], there: Container[str]) -> str | None:
    """Return a column of a role that says something, and that no record of the head has."""
    for column, value in record.values.items():
        is_new = column not in there and value not in (None, "", [])
        if is_new and any(spelling(str(column)) in KEYS[role] for role in roles):
            return str(column)
    return None


def _blanks(record: Record) -> dict[str, Any]:
    return {column: "" if value is None else value for column, value in record.values.items()}


def _columns(records: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(str(column) for record in records for column in record.values))


def _named(role: str, columns: Iterable[str]) -> list[str]:
    """Return the columns that go by one of the names of a role, however they are spelled."""
    return [column for column in columns if spelling(column) in KEYS[role]]


def _check(path: Path, there: Sequence[str], given: ColumnsConfig) -> None:
    """Refuse a column that is read and nowhere; `context` may be absent."""
    unread = {"context"}
    if given.messages:
        unread |= {"prompt", "text"}
    elif given.text:
        unread |= {"prompt", "history", "response", "rejected", "system"}
    for key in (*_READ, "subject"):
        column = None if key in unread else getattr(given, key)
        if column is not None and column not in there:
            like = get_close_matches(spelling(column), [spelling(name) for name in there], n=1)
            meant = [shown(name) for name in there if spelling(name) in like]
            raise DataError(
                f"{path}: no column '{column}'; there are: {listed(there)}. Set data.columns.{key}="
                + (meant[0] if meant else "<column>")
            )


def _fitting(values: dict[str, Any], given: ColumnsConfig) -> list[ColumnsConfig]:
    """Return every way to read a record; raw text is one only if there is no other."""
    filled = {str(column): value for column, value in values.items() if value is not None}
    if given.text and not given.messages:
        return [given] if given.text in filled else []
    base = replace(given, text=None)
    turns = _pick("messages", given.messages, filled)
    turns = [column for column in turns if given.messages or _turns(filled[column]) is not None]
    prompts = [] if given.messages else _pick("prompt", given.prompt, filled)
    if given.prompt:
        turns = []
    prompts, responses = _alpaca_first(prompts, _pick("response", given.response, filled))
    pairs, plain = _answers(prompts, responses, filled, given)
    if pairs and not given.prompt and not given.messages and _whole_conversations(filled, pairs[0]):
        return [replace(base, response=chosen, rejected=rejected) for chosen, rejected in pairs]
    found = [
        replace(base, messages=column, response=answer[0], rejected=answer[1])
        for column in turns
        for answer in _after_turns(filled[column], pairs, given)
    ]
    found += [
        replace(base, prompt=prompt, response=answer[0], rejected=answer[1])
        for prompt in prompts
        for answer in (*pairs, *plain)
    ]
    if found or given.messages or given.prompt or given.response or given.rejected:
        return found
    return [replace(base, text=column) for column in _pick("text", None, filled)]


def _turns(value: Any) -> list[Any] | None:
    """Return a list of turns, empty where its JSON is broken: as_row says so; None for what is no list."""
    try:
        return as_list(value)
    except UnusableError:
        return []


def _pick(role: str, given: str | None, filled: dict[str, Any]) -> list[str]:
    """Return the columns that can play a role: the given one, or those that go by its name."""
    if given is not None:
        return [given] if given in filled else []
    return _named(role, filled)


def _alpaca_first(prompts: list[str], responses: list[str]) -> tuple[list[str], list[str]]:
    """Return instruction and output alone where both are there, whatever else goes by such a name."""
    instruction = [column for column in prompts if column.strip().casefold() == "instruction"]
    output = [column for column in responses if column.strip().casefold() == "output"]
    return (instruction, output) if instruction and output else (prompts, responses)


def _answers(
    prompts: list[str], responses: list[str], filled: dict[str, Any], given: ColumnsConfig
) -> tuple[list[_Answer], list[_Answer]]:
    """Return the answers that have a rejected one beside them, and those that stand alone."""
    chosen = _named("chosen", filled)
    rejected = _pick("rejected", given.rejected, filled)
    if given.response:
        if chosen and given.response not in chosen and not given.rejected:
            rejected = []  # it belongs to the chosen answer, which is not asked for
        chosen = []
    pairs: list[_Answer] = [(good, bad) for good in chosen or responses for bad in rejected]
    # The reward model files of LLaMA-Factory's OpenAssistant. A list in any other column may be
    # answers that are all right, as the short answers of open questions are.
    ranked = [column for column in responses if _is_ranked_output(prompts, column, filled[column])]
    pairs += [(column, column) for column in ranked if (column, column) not in pairs]
    if given.rejected or (rejected and not chosen):
        return pairs, []
    return pairs, [(column, None) for column in responses if column not in ranked]


def _is_ranked_output(prompts: list[str], column: str, value: Any) -> bool:
    """Return whether `output` beside `instruction` holds several answers, the best first."""
    if column.strip().casefold() != "output" or "instruction" not in [
        p.strip().casefold() for p in prompts
    ]:
        return False
    return isinstance(value, list) and len(value) >= _PAIR and all(isinstance(v, str) for v in value)


def _after_turns(turns: Any, pairs: list[_Answer], given: ColumnsConfig) -> list[_Answer]:
    """Return the answers that follow a conversation: one that has its last answer needs none."""
    if given.response or given.rejected:
        return pairs or ([(given.response, None)] if given.response and not given.rejected else [])
    last = (_turns(turns) or [None])[-1]
    answered = isinstance(last, dict) and role_of(last) != "user"
    return pairs if pairs and not answered else [(None, None)]


def _whole_conversations(filled: dict[str, Any], pair: _Answer) -> bool:
    """Return whether both answers come with all that was said before them."""
    values = [filled[str(column)] for column in pair]
    return all(isinstance(v, list) and len(v) > 1 and isinstance(v[0], dict) for v in values)


def _with_optional(found: Format, records: Sequence[Record]) -> Format:
    """Return the format with the columns that may stand beside those that make it."""
    columns, there = found.columns, _columns(records)
    if columns.text:
        keys: tuple[str, ...] = ("label",)
    else:
        keys = ("system", "context", "history") if columns.prompt else ("system",)
    unset = [key for key in keys if getattr(columns, key) is None]
    named: dict[str, Any] = {key: names[0] for key in unset if (names := _named(key, there))}
    columns = replace(columns, **named)
    if not columns.text and not columns.rejected and columns.rating is None:
        columns = replace(columns, rating=_ratings(there, records, columns.label))
    if columns.rating:
        return Format("rated answers", columns)
    return Format("labelled text" if columns.text and columns.label else found.name, columns)


def _ratings(there: Sequence[str], records: Sequence[Record], label: str | None) -> str | None:
    """Return the column of ratings: one that is called so, and most of whose values are up or down."""
    named = sorted(
        (column for column in _named("rating", there) if column != label),
        key=lambda column: column in _named("label", [column]),
    )
    for column in named:
        values = [record.values[column] for record in records if record.values.get(column) is not None]
        if sum(rating_of(value) is not None for value in values) > len(values) / 2:
            return column
    return None


def _name(values: dict[str, Any], columns: ColumnsConfig) -> str:
    if columns.text:
        return "raw text"
    if columns.rejected:
        return "preference pairs"
    if columns.messages:
        first = (_turns(values.get(columns.messages)) or [None])[0]
        return "ShareGPT" if isinstance(first, dict) and "from" in first else "messages"
    named = [str(column).strip().casefold() for column in (columns.prompt, columns.response)]
    return "Alpaca" if named == ["instruction", "output"] else "prompt and completion"
