"""A data set of any size chosen and split on the disk: the same rows as sources.load gives."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from arabic_llm import files
from arabic_llm.config.data import DataConfig
from arabic_llm.data.preparing import mix_report, selection, sources
from arabic_llm.data.preparing.mix_report import MixReport
from arabic_llm.data.preparing.mixing import Mix, MixedBucketSampler
from arabic_llm.data.preparing.selection import KEPT, Fate, Part, RowFates
from arabic_llm.data.preparing.shards import Shard
from arabic_llm.data.preparing.summary import (
    Counts,
    SourceShare,
    SourceSummary,
    SplitFile,
    StepCount,
    count,
)
from arabic_llm.data.reading import locate

Fates = NDArray[np.int8]
_LABELLED = (b'"label": "', b'"subject": "')  # as Row.as_dict writes them


@dataclass(frozen=True)
class Prepared:
    """What became of every cleaned row, source by source and shard by shard."""

    parts: list[Part]
    shards: list[list[Shard]]  # of each part
    chosen: RowFates

    def fates(self) -> Iterator[tuple[int, Shard, Fates]]:
        """Yield the number of the part, a shard of it, and the fates [R] of its rows, in order."""
        start = 0
        for number, shards in enumerate(self.shards):
            for shard in shards:
                stop = start + len(shard.arrays("changes")[0])
                yield number, shard, self.chosen.fates[start:stop]
                start = stop


def choose(
    data: DataConfig, inputs: Sequence[list[sources.Input]], shards: list[list[Shard]], seed: int
) -> Prepared:
    """Return what becomes of every row of the shards; one file beside them holds all signatures.

    Raises DataError when no row is left to learn from.
    """
    parts = []
    for source, of_source, found in zip(locate.sources_of(data), inputs, shards, strict=True):
        chunks = [(shard.given, shard.arrays("changes")[0], shard.ledger()) for shard in found]
        parts.append(sources.part_of(source, of_source, chunks))
    every = [shard for found in shards for shard in found]
    digests = np.concatenate([np.zeros((0, 4), np.uint64), *(s.arrays("digests")[0] for s in every)])
    prepared = Prepared(parts, shards, selection.choose(data, parts, digests, _signatures(every), seed))
    prepared.chosen.account(parts, lambda row: _row_id(every, row))
    sources.refuse_nothing(data, parts, prepared.chosen)
    return prepared


def write(prepared: Prepared, folder: Path) -> list[SplitFile]:
    """Write {train,dev,test}.jsonl, and pref_* where rows are preferences; return those with rows."""
    names = {(f, p): f"{'pref_' if p else ''}{Fate(f).name}.jsonl" for p in (False, True) for f in KEPT}
    is_there = dict.fromkeys(names, False)
    for _, shard, fates in prepared.fates():
        (is_pair,) = shard.arrays("is_pair")
        for fate, pair in names:
            is_there[fate, pair] |= bool(((fates == fate) & (is_pair == pair)).any())
    with ExitStack() as stack:
        out = {
            key: _Split(name, stack.enter_context(files.writing(folder / name)))
            for key, name in names.items()
            if is_there[key]
        }
        for _, shard, fates in prepared.fates():
            (is_pair,) = shard.arrays("is_pair")
            with shard.rows.open("rb") as lines:
                for line, fate, pair in zip(lines, fates.tolist(), is_pair.tolist(), strict=True):
                    if fate in KEPT:
                        out[fate, pair].add(line)
    return [split.file() for split in out.values()]


@dataclass(frozen=True)
class Training:
    """The training that is planned with the rows."""

    epochs: float
    effective_batch_size: int  # sequences an optimiser step
    seed: int


def describe(
    data: DataConfig, prepared: Prepared, training: Training
) -> tuple[tuple[SourceSummary, ...], StepCount, MixReport]:
    """Return what the sources hold, what training on them takes, and what their mix comes to."""
    lengths, names = _train_lengths(prepared)
    batch = training.effective_batch_size
    num_steps = math.ceil(training.epochs * len(names) / batch)
    sampler = MixedBucketSampler(names, lengths, Mix.of(data), batch, num_steps, training.seed)
    mix = mix_report.report(sampler)
    shares = {share.name: SourceShare(share.asked, share.sequences, share.tokens) for share in mix.sources}
    sources = tuple(
        _summary(part, found, shares.get(part.source.name) if len(prepared.parts) > 1 else None)
        for part, found in zip(prepared.parts, _counts(prepared), strict=True)
    )
    plan = StepCount(training.epochs, batch, num_steps, tokens=int(lengths.sum()))
    if mix.padding:
        whole = mix.padding[0]
        plan = replace(plan, padding=whole.in_order, padding_without_buckets=whole.without_buckets)
    return sources, plan, mix


def _summary(part: Part, counts: Counts, share: SourceShare | None) -> SourceSummary:
    source = part.source
    return SourceSummary(
        name=source.name,
        language=source.language,
        license=source.license,
        origin=f"{source.hub_id} @ {source.revision}" if source.hub_id else part.place,
        ledger=part.ledger,
        counts=counts,
        seen_in_training=tuple(source.seen_in_training),
        filters=source.filters(),
        share=share,
    )


def _counts(prepared: Prepared) -> list[Counts]:
    """Return what the kept rows of each part hold."""
    found = [Counts() for _ in prepared.parts]
    for number, shard, fates in prepared.fates():
        (tokens,) = shard.arrays("counts")
        named = _named(shard, fates)
        for fate in KEPT:
            instruction, answer, words = tokens[fates == fate].T
            labels, subjects = named.get(fate, ([], []))
            found[number] += count(fate.name, instruction, answer, words, labels, subjects)
    return found


def _train_lengths(prepared: Prepared) -> tuple[NDArray[np.int64], list[str]]:
    """Return for each training row [R] its tokens and the name of its source, in order."""
    lengths, names = [np.zeros(0, np.int64)], list[str]()
    for number, shard, fates in prepared.fates():
        (tokens,) = shard.arrays("counts")
        lengths.append(tokens[fates == Fate.train, :2].sum(axis=1, dtype=np.int64))
        names += [prepared.parts[number].source.name] * len(lengths[-1])
    return np.concatenate(lengths), names


class _Split:
    """One file of rows, with what is known of it at the end."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name, self._file, self._rows, self._hash = name, file, 0, hashlib.sha256()

    def add(self, line: bytes) -> None:
        self._file.write(line)
        self._hash.update(line)
        self._rows += 1

    def file(self) -> SplitFile:
        return SplitFile(self._name, self._rows, self._hash.hexdigest())


def _signatures(shards: Sequence[Shard]) -> NDArray[np.uint32]:
    """Return the signatures [R, P] of all shards, as a file: of a million rows they are 448 MB."""
    each = [shard.arrays("changes")[0].size for shard in shards]
    width = shards[0].arrays("signatures")[0].shape[1] if shards else 0
    if not width:
        return np.zeros((sum(each), 0), np.uint32)
    path = shards[0].stem.with_name("signatures.bin")
    whole = np.memmap(path, np.uint32, "w+", shape=(max(1, sum(each)), width))
    start = 0
    for shard, num_rows in zip(shards, each, strict=True):
        (whole[start : start + num_rows],) = shard.arrays("signatures")
        start += num_rows
    return whole[:start]


def _row_id(shards: Sequence[Shard], row: int) -> str:
    """Return the id of a row of all shards."""
    for shard in shards:
        num_rows = len(shard.arrays("changes")[0])
        if row < num_rows:
            with shard.rows.open("rb") as lines:
                return str(json.loads(next(islice(lines, row, None)))["id"])
        row -= num_rows
    raise IndexError(row)


def _named(shard: Shard, fates: Fates) -> dict[int, tuple[list[str], list[str]]]:
    """Return the labels and the subjects of the rows of each fate."""
    named: dict[int, tuple[list[str], list[str]]] = {}
    with shard.rows.open("rb") as lines:
        for line, fate in zip(lines, fates.tolist(), strict=True):
            if any(key in line for key in _LABELLED):
                row = json.loads(line)
                labels, subjects = named.setdefault(fate, ([], []))
                labels.append(row.get("label", ""))
                subjects.append(row.get("subject", ""))
    return named
