"""All rows of a run as token rows: encoded once for like runs, counted, refused when too many are lost."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow
from pyarrow import parquet
from tqdm import tqdm

from arabic_llm import files
from arabic_llm.config.data import DataConfig
from arabic_llm.config.fingerprint import code_hash, fingerprint
from arabic_llm.config.task import Form
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing.sources import content_hash
from arabic_llm.data.rows import Row
from arabic_llm.data.tokens import chat, preference_rows
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import DamagedError, DataError

# What makes ids and labels of the same rows.
_MODULES = (
    *("chat", "chat_template", "preference_rows", "rendering", "template_checks", "token_rows"),
    "unmarked",
)
_CODE = tuple(f"data/tokens/{name}.py" for name in _MODULES)
_APART = "learned answer by answer, as the chat template asks for each"
_COLUMNS = ("id", "input_ids", "labels", "kind", "was_cut", "source", "was_changed")
_OF_KIND = {"pair": ("rejected_ids", "rejected_labels"), "rated": ("is_desirable",)}


@dataclass(frozen=True)
class TokenRows:
    """The sequences of a run and the count of what became of its rows."""

    rows: list[TokenRow]
    ledger: Ledger
    too_long: list[int] = field(default_factory=list)  # tokens of each row that was dropped for them


def encode(
    codec: Codec,
    rows: Sequence[Row],
    data: DataConfig,
    max_length: int,
    cache_dir: Path | None,
    *,
    form: Form = Form.answers,
) -> TokenRows:
    """Return the rows as sequences of at most max_length tokens, in the form that is learned.

    A second run with the same rows, tokenizer, template and length reads what the first one wrote
    in cache_dir; a dry run has none.
    """
    key = {
        "rows": content_hash(rows),
        "ids": fingerprint([(row.id, row.source) for row in rows]),
        "tokenizer": tokenizer_hash(codec),
        "template": codec.template_hash,
        "tokens": [codec.end_of_text_id, codec.tokenizer.special_tokens_map, codec.control_tokens],
        "code": code_hash(_CODE),
        "max_length": max_length,
        "overflow": data.overflow,
        "form": form,
    }
    path = cache_dir / "tokens" / f"{fingerprint(key)}.parquet" if cache_dir else None
    if path is not None and (before := files.kept(_note_of(path), lambda note: _read(path, note))):
        return before
    encoded = _encode_now(preference_rows.encoder(codec, form, data.overflow), rows, max_length)
    if path is not None:
        _write(path, encoded)
    return encoded


def tokenizer_hash(codec: Codec) -> str:
    """Return a hash of the tokenizer's vocabulary and rules."""
    rules = codec.tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(rules.encode()).hexdigest()[:16]


def data_hash(rows: Sequence[TokenRow]) -> str:
    """Return a hash of every id and label, in order: what the model really trains on."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.as_bytes())
    return digest.hexdigest()[:16]


def _encode_now(
    encoded_as: Callable[..., list[TokenRow] | str], rows: Sequence[Row], max_length: int
) -> TokenRows:
    ledger, encoded, too_long = Ledger("tokens"), [], []
    for row in tqdm(rows, desc="encoding", unit="row", leave=False, delay=2):
        result = encoded_as(row, max_length=max_length)
        if isinstance(result, str):
            ledger.drop(result, row.id)
            whole = encoded_as(row, max_length=sys.maxsize)
            too_long += (
                [] if isinstance(whole, str) else [max(len(ids) for one in whole for ids, _ in one.sides())]
            )
        else:
            ledger.keep()
            is_apart = bool(row.messages) and len(result) > 1 and result[0].kind == "chat"
            ledger.change(_APART, is_apart, [row.id])
            changed = any(one.was_changed for one in result)
            ledger.change("answer changed by the chat template", changed, [row.id])
            encoded += result
    return TokenRows(encoded, ledger, too_long)


def refuse_great_loss(encoded: Sequence[TokenRows], data: DataConfig, max_length: int) -> None:
    """Raise DataError when more than data.max_lost_share of all rows is dropped, or all of the first."""
    ledgers = [one.ledger for one in encoded]
    rows_in = sum(ledger.rows_in for ledger in ledgers)
    dropped = sum((ledger.dropped for ledger in ledgers), Counter[str]())
    lost = dropped.total()
    if lost > data.max_lost_share * rows_in or not ledgers[0].kept:
        reason, count = dropped.most_common(1)[0]
        first = next(ledger.examples[reason][0] for ledger in ledgers if ledger.dropped[reason])
        raise DataError(
            f"data={data.name}: {lost:,} of {rows_in:,} rows would be lost, {count:,} of them: {reason}"
            f" (the first: {first}). {_cure(encoded, data, max_length, (reason, lost))} data.max_lost_share"
            f" (now {data.max_lost_share})"
        )


def _cure(encoded: Sequence[TokenRows], data: DataConfig, max_length: int, why: tuple[str, int]) -> str:
    """Return what to set so that fewer rows are lost, up to the last word before the share."""
    reason, lost = why
    if reason.startswith("the chat template"):
        return "Choose another model.chat_template, mend it or those rows, or raise"
    if reason == chat.RATED_DOWN:
        return "task=kto learns from such rows too; or raise"
    if reason == preference_rows.NO_RATING:
        return (
            "Take rows that are rated or have a worse answer: data=sample_pairs has them, and"
            " data.columns.rating names yours; or raise"
        )
    if reason == preference_rows.NO_PAIR:
        return (
            "Take rows with a worse answer beside the better one: data=sample_pairs has them, and"
            " data.columns.rejected names yours; or raise"
        )
    lengths = sorted((length for one in encoded for length in one.too_long), reverse=True)
    if not lengths:
        return "Mend these rows, or raise"
    rows_in = sum(one.ledger.rows_in for one in encoded)
    spared = max(0, int(data.max_lost_share * rows_in) - (lost - len(lengths)))
    enough = lengths[min(spared, len(lengths) - 1)]
    some = f"{enough}, which holds enough of them, or {lengths[0]}, which holds all"
    holds = some if enough < lengths[0] else f"{enough}, which holds all"
    cut = "" if reason.startswith(preference_rows.TOO_LONG) else " set data.overflow=cut;"
    return f"Raise task.max_length (now {max_length}) to {holds};{cut} or raise"


def _note_of(path: Path) -> Path:
    """Return the file with the ledger of some token rows and the hash of theirs, written after it."""
    return path.with_suffix(".json")


def _write(path: Path, encoded: TokenRows) -> None:
    names = (*_COLUMNS, *_OF_KIND.get(encoded.rows[0].kind if encoded.rows else "", ()))
    columns = {name: [getattr(row, name) for row in encoded.rows] for name in names}
    with files.writing(path) as file:
        parquet.write_table(pyarrow.table(columns), file)
    note = {"rows": files.sha256(path), "ledger": encoded.ledger.as_dict(), "too_long": encoded.too_long}
    files.write_state(_note_of(path), note)


def _read(path: Path, note: Path) -> TokenRows:
    """Return what _write wrote. Raises DamagedError when it is no longer that."""
    said = files.read_state(note)
    if not path.is_file() or files.sha256(path) != said["rows"]:
        raise DamagedError(f"{path} is gone or damaged")
    rows = [TokenRow(**values) for values in parquet.read_table(path).to_pylist()]
    return TokenRows(rows, Ledger.from_dict(said["ledger"]), said["too_long"])
