"""Records become rows that may be learned from, each with what tells its copies; nothing is lost unsaid."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arabic_llm.config.data import BadRow, BidiControls, CleaningConfig, ColumnsConfig, SourceConfig
from arabic_llm.data.cleaning import contamination, filters, near_copies
from arabic_llm.data.cleaning.contamination import Items
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.reading import row_builder
from arabic_llm.data.reading.readers import Broken, Record
from arabic_llm.data.rows import Message, Row
from arabic_llm.errors import DataError
from arabic_llm.text import normalize
from arabic_llm.text.normalize import STEPS

_DIGEST_BYTES = 16  # of SHA-256: two of 2**32 rows are alike by chance once in 2**65 data sets


# What is counted of rows that are kept; of the profile's steps, where they change what is learned.
CHANGES = ("bidi controls removed", *(f"answer changed by {step}" for step in STEPS))

_SHORT_BYTES = 8


@dataclass(frozen=True)
class Chunk:
    """Rows or records of a file in order, and the columns that hold what."""

    items: Sequence[Record | Broken | Row]
    columns: ColumnsConfig


@dataclass(frozen=True)
class Rules:
    """What cleaning goes by: the source's settings, the test's items, the seed of the signatures."""

    source: SourceConfig
    items: Items
    seed: int
    are_signed: bool  # near copies will be looked for


@dataclass(frozen=True)
class Cleaned:
    """The R rows of a chunk that may be learned from, and what became of the others.

    `digests` [R, 4] are two numbers of the words, one of the signs of the answers, one of
    the class (0: none); `signatures` are near.signatures
    [R, P], or [R, 0] where near copies are not looked for; `changes` [R] has a bit of CHANGES for
    whatever makes a row another than its source says.
    """

    rows: list[Row]
    changes: NDArray[np.uint32]
    digests: NDArray[np.uint64]
    signatures: NDArray[np.uint32]
    ledger: Ledger


def clean(chunk: Chunk, rules: Rules) -> Cleaned:
    """Return the rows of a chunk. Raises DataError at a bad one, unless data.on_bad_row is drop."""
    ledger, rows, changes = Ledger(rules.source.name), list[Row](), list[int]()
    for item in chunk.items:
        row = row_builder.as_row(item, chunk.columns) if isinstance(item, Record) else item
        if isinstance(row, Broken):
            _refuse(row, rules.source.on_bad_row)
            ledger.drop(row.reason.partition(":")[0], row.place)
            continue
        whole = row
        if rules.source.cleaning.bidi_controls is BidiControls.clean:
            whole = filters.without_bidi_controls(row)
        tidy = _normalised(whole, rules.source)
        if reason := _reason_to_drop(row, whole, tidy, rules.source.cleaning):
            ledger.drop(reason, row.id)
            continue
        rows.append(tidy)
        changes.append(int(whole is not row) | _changes(whole, tidy, rules.source))
    return _known_apart(rows, changes, rules, ledger)


def _known_apart(rows: Sequence[Row], changes: Sequence[int], rules: Rules, ledger: Ledger) -> Cleaned:
    """Return rows as matching reads them: without the test's items, with what their copies share."""
    matched = [[normalize.normalize(text, "matching") for text in row.turns()] for row in rows]
    reasons: Sequence[str | None] = [None] * len(rows)
    if rules.source.cleaning.drop_test_items and rules.items.num_searched:
        reasons = contamination.reasons_to_drop(rows, matched, rules.items)
    kept = [number for number, reason in enumerate(reasons) if reason is None]
    for row, reason in zip(rows, reasons, strict=True):
        if reason is None:
            ledger.keep()
        else:
            ledger.drop(reason, row.id)
    signed = np.zeros((len(kept), 0), np.uint32)
    if rules.are_signed:
        signed = near_copies.signatures([" ".join(filter(None, matched[n])) for n in kept], rules.seed)
    keys = b"".join(_digest(rows[n], matched[n]) for n in kept)
    return Cleaned(
        [rows[n] for n in kept],
        np.array([changes[n] for n in kept], np.uint32),
        np.frombuffer(keys, np.uint64).reshape(-1, 4),
        signed,
        ledger,
    )


def _refuse(row: Broken, policy: BadRow) -> None:
    if policy is BadRow.stop:
        raise DataError(f"{row.place}: {row.reason}; mend it, or set data.on_bad_row=drop")


def _reason_to_drop(source: Row, whole: Row, tidy: Row, settings: CleaningConfig) -> str | None:
    """Return why a row is dropped: as it came, without its bidi controls, normalised."""
    if _has_lost_words(whole, tidy):
        return "nothing left after normalisation"
    return filters.no_preference(tidy) or filters.reason_to_drop(source, tidy, settings)


def _digest(row: Row, matched: Sequence[str]) -> bytes:
    """Return what two rows share that are copies: the same roles, words, label, and signs of the answers.

    Where matching leaves nothing of a turn (a row of symbols alone), the turn itself counts. Draws go by
    the words; labels that matching reads as one are one class.
    """
    roles = [f"{m.role}{'' if m.supervised else ' read'}" for m in row.messages] or [""]
    turns = (text or plain for text, plain in zip(matched, row.turns(), strict=True))
    parts = [f"{role}\0{text}" for role, text in zip(roles, turns, strict=True)]
    parts += [f"{key}\0{value}" for key in ("rejected", "label", "rating") if (value := getattr(row, key))]
    words = hashlib.sha256("\0\0".join(parts).encode()).digest()[:_DIGEST_BYTES]
    answers = [] if row.label else _learned(row)  # of a labelled text, the label is what is learned
    meant = "\0".join(map(normalize.signs, answers)).strip("\0")
    label = row.label and (normalize.normalize(row.label, "matching") or row.label)
    return words + _short_digest(meant) + _short_digest(label)


def _short_digest(text: str) -> bytes:
    """Return a digest of a text; of nothing, zeros."""
    return hashlib.sha256(text.encode()).digest()[:_SHORT_BYTES] if text else bytes(_SHORT_BYTES)


def _has_lost_words(row: Row, clean: Row) -> bool:
    """Return whether normalisation left nothing of the row, of a turn, or of the rejected answer."""
    return not all(clean.turns()) or bool(row.rejected and not clean.rejected)


def _normalised(row: Row, settings: SourceConfig) -> Row:
    def tidy(text: str) -> str:
        return normalize.normalize(text, settings.profile, settings.without_steps) if text else text

    messages = tuple(Message(m.role, tidy(m.content), m.supervised) for m in row.messages)
    return replace(
        row,
        messages=messages,
        text=tidy(row.text),
        rejected=tidy(row.rejected),
        source=row.source or settings.name,
    )


def _changes(row: Row, tidy: Row, settings: SourceConfig) -> int:
    """Return a bit of CHANGES for each step of the profile that changes what is learned of a row."""
    bits = 0
    for before, after in zip(_learned(row), _learned(tidy), strict=True):
        if before != after:  # few: the steps are gone through once more for them
            for step in normalize.changes(before, settings.profile, settings.without_steps):
                bits |= 1 << CHANGES.index(f"answer changed by {step}")
    return bits


def _learned(row: Row) -> list[str]:
    answers = [m.content for m in row.messages if m.role == "assistant" and m.supervised]
    return [*answers, row.text, row.rejected]


def joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of arrays with the same columns, one array after another."""
    return np.concatenate(arrays) if arrays else np.zeros((0, 4), np.uint64)
