"""Rows of a data set: read, checked, normalised, without copies, split; nothing lost without a reason."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.config.schema import BadRow, ColumnsConfig, DataConfig
from arabic_llm.data import readers
from arabic_llm.data.formats.records import shown
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.readers import Broken, Record
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.sample import questions
from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize

log = logging.getLogger(__name__)
_EMPTY = "'{}' is empty"
_MOST_NAMES = 30  # of columns, in one message


@dataclass(frozen=True)
class Rows:
    """A data set ready to be turned into tokens."""

    train: list[Row]
    dev: list[Row]
    ledger: Ledger


def load(data: DataConfig, data_root: Path, seed: int) -> Rows:
    """Return the rows of a data set.

    Raises DataError for a missing file or column, for a row that cannot be used (unless
    data.on_bad_row is drop), and when no row is left.
    """
    ledger = Ledger(data.name)
    if data.builtin:
        train = list(_kept(questions.training_rows("train"), data, ledger))
        # Its dev rows ask facts of their own: data.dev_share has no say.
        dev = list(_kept(questions.training_rows("dev"), data, Ledger(f"{data.name} dev")))
        return Rows(train, dev, ledger)
    path = locate(data, data_root)
    rows = list(_kept(_from_file(path, data, ledger), data, ledger))
    if not rows:
        raise DataError(f"{path}: no row is left: {ledger}")
    train, dev = _split(rows, data.dev_share, seed)
    if not train:
        raise DataError(
            f"{path}: all {len(rows)} rows would be dev; lower data.dev_share ({data.dev_share})"
        )
    return Rows(train, dev, ledger)


def source_hash(data: DataConfig, data_root: Path) -> str:
    """Return a hash of the data set as it lies there: of the file, or of the generated rows."""
    if data.builtin:
        return content_hash(questions.training_rows("train"))
    return files.sha256(locate(data, data_root))[:16]


def locate(data: DataConfig, data_root: Path) -> Path:
    """Return the data set's file: as typed, or under data_root.

    Raises DataError that names both places.
    """
    if data.path is None:
        raise DataError(f"data.path is not set; with data={data.name} write data.path=my.jsonl")
    typed = Path(data.path).expanduser()
    under_root = data_root / typed
    for path in (typed, under_root):
        if path.is_file():
            return path
    places = f"{typed}" if typed.is_absolute() else f"{typed} nor {under_root}"
    raise DataError(f"data.path: no file {places}; put it there, or set ARABIC_LLM_DATA or data.path")


def content_hash(rows: Iterable[Row]) -> str:
    """Return a hash of what the rows say, in order: of their content, not of where they were read."""
    digest = hashlib.sha256()
    for row in rows:
        for part in (*(f"{m.role}\0{m.content}" for m in row.messages), row.text):
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def _from_file(path: Path, data: DataConfig, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows of a file; what cannot be used stops the run, or is counted."""
    columns_known = False
    for record in readers.read(path):
        if isinstance(record, Record) and not columns_known:
            _check_columns(path, record, data.columns)
            columns_known = True
        row = record if isinstance(record, Broken) else _as_row(record, data.columns)
        if isinstance(row, Row):
            yield row
        elif data.on_bad_row is BadRow.stop:
            raise DataError(f"{row.place}: {row.reason}; mend it, or set data.on_bad_row=drop")
        else:
            ledger.drop(row.reason.partition(":")[0], row.place)


def _check_columns(path: Path, first: Record, columns: ColumnsConfig) -> None:
    """Refuse a file without the columns that are read; `context` may be absent."""
    if columns.messages:
        read = ["messages"]
    elif columns.text:
        read = ["text"]
    else:
        read = ["prompt", "response", "system"]
    for key in (*read, "subject"):
        column = getattr(columns, key)
        if column is None and key in ("prompt", "response"):
            raise DataError(f"data.columns.{key} is not set (nor data.columns.messages, nor .text)")
        if column is not None and column not in first.values:
            there = ", ".join(shown(name) for name in [*first.values][:_MOST_NAMES])
            raise DataError(
                f"{path}: no column '{column}'; there are: {there}. Set data.columns.{key}=<column>"
            )
    if "prompt" in read and columns.context and columns.context not in first.values:
        log.info("%s has no column '%s' (data.columns.context): prompts stand alone", path, columns.context)


def _as_row(record: Record, columns: ColumnsConfig) -> Row | Broken:
    values = record.values
    subject = str(values.get(columns.subject) or "") if columns.subject else ""
    if columns.text and not columns.messages:
        text, wrong = _text(values, columns.text)
        return Broken(record.place, wrong) if wrong else Row(record.place, text=text, subject=subject)
    messages = _conversation(values, columns)
    if isinstance(messages, str):
        return Broken(record.place, messages)
    system, wrong = _optional(values, columns.system)
    if wrong:
        return Broken(record.place, wrong)
    if system:
        messages = [Message("system", system), *messages]
    return Row(record.place, messages=tuple(messages), subject=subject)


def _text(values: dict[str, Any], column: str | None) -> tuple[str, str]:
    """Return (the text of a column, what is wrong with it); a number is text too."""
    value = values.get(str(column))
    if isinstance(value, float) and math.isnan(value):
        value = None  # how pandas writes that there is none
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != math.inf:
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        return "", _EMPTY.format(column)
    return (
        (value, "") if isinstance(value, str) else ("", f"'{column}' is no text ({type(value).__name__})")
    )


def _optional(values: dict[str, Any], column: str | None) -> tuple[str, str]:
    """Return what _text does, of a column that may be unset, absent or empty."""
    text, wrong = _text(values, column) if column else ("", "")
    return text, "" if wrong == _EMPTY.format(column) else wrong


def _conversation(values: dict[str, Any], columns: ColumnsConfig) -> list[Message] | str:
    """Return the turns of a record, or what is wrong with them."""
    if columns.messages:
        return _turns(values.get(columns.messages), columns.messages)
    prompt, wrong_prompt = _text(values, columns.prompt)
    response, wrong_response = _text(values, columns.response)
    context, wrong_context = _optional(values, columns.context)
    if wrong := wrong_prompt or wrong_response or wrong_context:
        return wrong
    if context:
        prompt = f"{prompt}\n\n{context}"
    return [Message("user", prompt), Message("assistant", response)]


def _turns(value: Any, column: str) -> list[Message] | str:
    """Return the turns of a list of {role, content}, or what is wrong with them."""
    if not isinstance(value, list) or not value:
        return f"'{column}' is no list of turns"
    messages = []
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            return f"'{column}' holds a turn without role and content"
        if not turn["content"].strip():
            return f"'{column}' holds an empty turn"
        messages.append(Message(str(turn.get("role")), turn["content"]))
    roles = [m.role for m in messages]
    spoken = roles[1:] if roles[0] == "system" else roles
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        found = shown(", ".join(roles))
        return f"turns of '{column}' do not go (system,) user, assistant, user, assistant: {found}"
    return messages


def _kept(rows: Iterable[Row], data: DataConfig, ledger: Ledger) -> Iterator[Row]:
    """Yield normalised rows, each content once."""
    seen = set()
    for row in rows:
        clean = _normalised(row, data)
        digest = content_hash([clean])
        if any(not m.content for m in clean.messages) or not clean.words():
            ledger.drop("nothing left after normalisation", row.id)
        elif data.dedup and digest in seen:
            ledger.drop("exact copy", row.id)
        elif data.max_rows is not None and ledger.kept == data.max_rows:
            ledger.drop("beyond data.max_rows", row.id)
        else:
            seen.add(digest)
            ledger.keep()
            yield clean


def _normalised(row: Row, data: DataConfig) -> Row:
    def clean(text: str) -> str:
        return normalize(text, data.profile, data.without_steps)

    messages = tuple(Message(m.role, clean(m.content)) for m in row.messages)
    return Row(row.id, messages, clean(row.text), row.subject)


def _split(rows: list[Row], dev_share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (train, dev) in file order; which row goes where follows from the seed and its content."""

    def key(row: Row) -> str:
        return hashlib.sha256(f"split/{seed}/{content_hash([row])}".encode()).hexdigest()

    chosen = {id(row) for row in sorted(rows, key=key)[: round(len(rows) * dev_share)]}
    return [r for r in rows if id(r) not in chosen], [r for r in rows if id(r) in chosen]
