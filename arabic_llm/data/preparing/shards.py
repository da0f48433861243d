"""Cleaned chunks on the disk: rows, what tells them apart, their tokens and words, and their ledger."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arabic_llm import files
from arabic_llm.data.cleaning.rules import Chunk, Cleaned, Rules, clean
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing.selection import Fate
from arabic_llm.data.preparing.token_counts import TokenCounter
from arabic_llm.data.rows import Row
from arabic_llm.errors import DamagedError
from arabic_llm.text.words import count_words

_BEFORE_THE_NOTE = (".jsonl", ".npz")


@dataclass(frozen=True)
class Shard:
    """One cleaned chunk of R rows: <stem>.jsonl, .npz and .json, of which the last is written last."""

    stem: Path
    given: Fate

    @property
    def rows(self) -> Path:
        """Return the file of the rows, one JSON a line."""
        return self.stem.with_suffix(".jsonl")

    def is_done(self) -> bool:
        """Return whether the shard was written whole, and is what it was; what is damaged is set aside."""
        return files.kept(self.stem.with_suffix(".json"), self._note, "it is cleaned again") is not None

    def write(self, cleaned: Cleaned, counts: NDArray[np.int32]) -> None:
        """Write a chunk with its counts [R, 3]: instruction tokens, answer tokens, words."""
        lines = (json.dumps(row.as_dict(), ensure_ascii=False) + "\n" for row in cleaned.rows)
        files.write_text(self.rows, "".join(lines))
        packed = io.BytesIO()
        np.savez(
            packed,
            digests=cleaned.digests,
            signatures=cleaned.signatures,
            changes=cleaned.changes,
            counts=counts,
            is_pair=np.array([bool(row.rejected) for row in cleaned.rows], np.bool_),
        )
        files.write_bytes(self.stem.with_suffix(".npz"), packed.getvalue())
        hashes = {suffix: files.sha256(self.stem.with_suffix(suffix)) for suffix in _BEFORE_THE_NOTE}
        note = {"ledger": cleaned.ledger.as_dict(), "files": hashes}
        files.write_state(self.stem.with_suffix(".json"), note)

    def arrays(self, *names: str) -> list[NDArray[Any]]:
        """Return some of digests [R, 4], signatures [R, P], changes [R], counts [R, 3], is_pair [R]."""
        with np.load(self.stem.with_suffix(".npz")) as arrays:
            return [arrays[name] for name in names]

    def ledger(self) -> Ledger:
        """Return the ledger of the chunk."""
        return Ledger.from_dict(files.read_state(self.stem.with_suffix(".json"))["ledger"])

    def _note(self, path: Path) -> dict[str, Any]:
        note = files.read_state(path)
        for suffix, digest in note["files"].items():
            part = self.stem.with_suffix(suffix)
            if not part.is_file() or files.sha256(part) != digest:
                raise DamagedError(f"{part} is gone or damaged")
        return note


@dataclass(frozen=True)
class Order:
    """A chunk of a source that is to become a shard."""

    source: int  # of the rules below
    chunk: Chunk
    shard: Shard


@dataclass(frozen=True)
class Work:
    """What cleaning needs: the rules of each source, and the tokenizer that counts (its `to_str()`)."""

    rules: Sequence[Rules]
    tokenizer: str


class Cleaner:
    """Cleans chunks into shards, with a tokenizer that is built once a process."""

    def __init__(self, work: Work) -> None:
        """Take the rules, and build the tokenizer."""
        self._rules, self._num_tokens = work.rules, TokenCounter(work.tokenizer)

    def __call__(self, order: Order) -> int:
        """Write the shard of a chunk; return how many records the chunk had."""
        rules = self._rules[order.source]
        cleaned = clean(order.chunk, rules)
        order.shard.write(cleaned, count(cleaned.rows, self._num_tokens))
        return len(order.chunk.items)


def count(rows: Sequence[Row], num_tokens: TokenCounter) -> NDArray[np.int32]:
    """Return instruction tokens, answer tokens and words of each row [R, 3]; raw text counts as answer."""
    counts = np.zeros((len(rows), 3), np.int32)
    turns = [(number, turn) for number, row in enumerate(rows) for turn in row.turns()]
    are_learned = [
        learned
        for row in rows
        for learned in [m.role == "assistant" and m.supervised for m in row.messages] or [True]
    ]
    tokens = num_tokens([turn for _, turn in turns])
    for (number, turn), is_learned, count_ in zip(turns, are_learned, tokens, strict=True):
        counts[number, int(is_learned)] += count_
        counts[number, 2] += count_words(turn)
    return counts
