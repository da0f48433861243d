"""Rows of a data set: read, checked, normalised, without copies, split; nothing lost without a reason."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.schema import BadRow, BidiControls, ColumnsConfig, DataConfig
from arabic_llm.data import contamination, filters, readers
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.readers import Broken, Record
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.sample import questions
from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """A data set ready to be turned into tokens."""

    train: list[Row]
    dev: list[Row]
    ledger: Ledger


def load(data: DataConfig, data_root: Path, seed: int, test_items: Iterable[str] = ()) -> Rows:
    """Return the rows of a data set, without those that hold one of the test's items.

    Raises DataError for a missing file or column, for a row that cannot be used (unless
    data.on_bad_row is drop), and when no row is left.
    """
    ledger = Ledger(data.name)
    if data.builtin:
        train = list(_kept(questions.training_rows("train"), data, ledger))
        # Its dev rows ask facts of their own: data.dev_share has no say.
        dev = list(_kept(questions.training_rows("dev"), data, Ledger(f"{data.name} dev")))
        return Rows(train, dev, ledger)
    paths = locate(data, data_root)
    read = (row for path in paths for row in _from_file(path, data, ledger))
    clean = list(_kept(_uncontaminated(read, test_items, ledger), data, ledger))
    rows = _without_near_copies(clean, data.cleaning.near_duplicates, seed, ledger)
    place = paths[0] if len(paths) == 1 else paths[0].parent
    if not rows:
        raise DataError(f"{place}: no row is left: {ledger}")
    train, dev = _split(rows, data.dev_share, seed)
    if not train:
        raise DataError(
            f"{place}: all {len(rows)} rows would be dev; lower data.dev_share ({data.dev_share})"
        )
    return Rows(train, dev, ledger)


def source_hash(data: DataConfig, data_root: Path) -> str:
    """Return a hash of the data set as it lies there: of the file, or of the generated rows."""
    if data.builtin:
        return content_hash(questions.training_rows("train"))
    paths = locate(data, data_root)
    return fingerprint([files.sha256(path) for path in paths])


def locate(data: DataConfig, data_root: Path) -> list[Path]:
    """Return the files of a data set: what data.path names, <data_root>/<name>/, the hub's cache, the hub.

    Raises DataError, which says where they may be put and what fetches them.
    """
    if data.path is None and data.hub_id is None:
        raise DataError(f"data.path is not set; with data={data.name} write data.path=my.jsonl")
    typed = Path(data.path or data.name).expanduser()
    for place in (typed, data_root / typed) if data.path else (data_root / typed,):
        if place.is_file():
            return [place]
        if place.is_dir():
            return _inside(place, data)
    if data.hub_id is not None:
        return _from_hub(data, data_root / typed)
    places = f"{typed}" if typed.is_absolute() else f"{typed} nor {data_root / typed}"
    raise DataError(f"data.path: no file {places}; put it there, or set ARABIC_LLM_DATA or data.path")


def _inside(folder: Path, data: DataConfig) -> list[Path]:
    """Return the data files of a folder, by name. Raises DataError when there is none."""
    if found := _found(folder, data):
        return found
    wanted = ", ".join(data.files or [f"*{suffix}" for suffix in readers.READERS])
    raise DataError(f"{folder}: holds no data file ({wanted})")


def _found(folder: Path, data: DataConfig) -> list[Path]:
    paths = (path for pattern in data.files or ["**/*"] for path in folder.glob(pattern))
    return sorted({path for path in paths if path.is_file() and readers.is_data(path)})


def _from_hub(data: DataConfig, place: Path) -> list[Path]:
    from arabic_llm import hub  # a second, and most data sets lie here

    repository = hub.Repository(str(data.hub_id), data.revision, tuple(data.files), "dataset")
    try:
        return _inside(hub.snapshot(repository, lambda f: bool(_found(f, data)), network=True), data)
    except hub.UnreachableError as error:
        why = f" ({error})" if str(error) else ""
        raise DataError(
            f"data={data.name}: {data.hub_id} is not here and cannot be reached{why}; put its files in"
            f" {place}/, or fetch them where there is a network: {hub.command(repository, place)}"
        ) from error


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
            there = ", ".join(str(c) for c in first.values)
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
    if columns.system and (system := values.get(columns.system)):
        messages = [Message("system", str(system)), *messages]
    return Row(record.place, messages=tuple(messages), subject=subject)


def _text(values: dict[str, Any], column: str | None) -> tuple[str, str]:
    """Return (the text of a column, what is wrong with it); a number is text too."""
    value = values.get(str(column))
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "" or (isinstance(value, str) and not value.strip()):
        return "", f"'{column}' is empty"
    return (
        (value, "") if isinstance(value, str) else ("", f"'{column}' is no text ({type(value).__name__})")
    )


def _conversation(values: dict[str, Any], columns: ColumnsConfig) -> list[Message] | str:
    """Return the turns of a record, or what is wrong with them."""
    if columns.messages:
        return _turns(values.get(columns.messages), columns.messages)
    prompt, wrong_prompt = _text(values, columns.prompt)
    response, wrong_response = _text(values, columns.response)
    if wrong := wrong_prompt or wrong_response:
        return wrong
    if columns.context and (context := values.get(columns.context)):
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
        return (
            f"turns of '{column}' do not go (system,) user, assistant, user, assistant: {', '.join(roles)}"
        )
    return messages


def _kept(rows: Iterable[Row], data: DataConfig, ledger: Ledger) -> Iterator[Row]:
    """Yield normalised rows that the filters pass, each content once."""
    seen = set()
    for source in rows:
        mended = source
        if data.cleaning.bidi_controls is BidiControls.clean:
            mended = filters.without_bidi_controls(source)
        row = _normalised(mended, data)
        digest = content_hash([row])
        if any(not m.content for m in row.messages) or not row.words():
            ledger.drop("nothing left after normalisation", row.id)
        elif reason := filters.reason_to_drop(source, row, data.cleaning):
            ledger.drop(reason, row.id)
        elif data.dedup and digest in seen:
            ledger.drop("exact copy", row.id)
        elif data.max_rows is not None and ledger.kept == data.max_rows:
            ledger.drop("beyond data.max_rows", row.id)
        else:
            seen.add(digest)
            ledger.keep()
            if mended is not source:
                ledger.change("bidi controls removed", row.id)
            yield row


def _uncontaminated(rows: Iterable[Row], test_items: Iterable[str], ledger: Ledger) -> Iterator[Row]:
    """Yield the rows that share no item, and no long run of words, with the test."""
    items = contamination.index(test_items)
    for row in rows:
        if items.num_searched and (reason := contamination.contaminated(row, items)):
            ledger.drop(reason, row.id)
        else:
            yield row


def _without_near_copies(rows: list[Row], similarity: float | None, seed: int, ledger: Ledger) -> list[Row]:
    """Return the rows that are not nearly an earlier one; the ledger's examples name both."""
    if similarity is None:
        return rows
    from arabic_llm.data import near

    said = [normalize(row.words(), "matching") for row in rows]
    repeats = near.duplicates(near.signatures(said, seed), similarity).tolist()
    for row, original in zip(rows, repeats, strict=True):
        if original >= 0:
            ledger.drop_kept("near copy", f"{row.id} of {rows[original].id}")
    return [row for row, original in zip(rows, repeats, strict=True) if original < 0]


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
