"""Which paragraphs are asked about: no copies; short ones become pairs, long ones conversations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arabic_llm.config.synthesize_task import ParagraphsConfig
from arabic_llm.data.cleaning import near_copies
from arabic_llm.data.ledger import Ledger
from arabic_llm.synthesis.stage_files import MadeStage, Values
from arabic_llm.text import normalize

SHORT, LONG = "short", "long"
_BLOCK = 2000  # paragraphs looked at together


@dataclass(frozen=True)
class Copies:
    """For each paragraph its length, and whether it repeats one before it: exactly, or nearly."""

    lengths: NDArray[np.int64]
    is_copy: NDArray[np.bool_]
    is_near: NDArray[np.bool_]


def look(found: MadeStage, settings: ParagraphsConfig, seed: int) -> Copies:
    """Return what tells the paragraphs of a stage apart; of each, 464 bytes are held."""
    lengths, digests, signed = list[int](), list[bytes](), [np.zeros((0, 112), np.uint32)]
    block: list[str] = []
    for values in found.read():
        lengths.append(len(values["text"]))
        block.append(normalize.normalize(values["text"], "matching"))
        digests.append(hashlib.sha256(block[-1].encode()).digest()[:16])
        if len(block) == _BLOCK:
            signed.append(near_copies.signatures(block, seed))
            block = []
    signed.append(near_copies.signatures(block, seed))
    first: dict[bytes, int] = {}
    is_copy = np.array([first.setdefault(d, n) != n for n, d in enumerate(digests)], np.bool_)
    among = np.flatnonzero(~is_copy)
    repeats = near_copies.duplicates(np.concatenate(signed), settings.near_duplicates, among)
    return Copies(np.array(lengths, np.int64), is_copy, repeats >= 0)


def kinds(lengths: Sequence[int] | NDArray[np.int64], settings: ParagraphsConfig) -> list[str | None]:
    """Return short, long or None for each length: shares of the shortest and of the longest.

    Of equal ones, the first are shorter.
    """
    num = len(lengths)
    num_short, num_long = (round(share * num) for share in (settings.short_share, settings.long_share))
    found: list[str | None] = [None] * num
    for rank, place in enumerate(np.argsort(np.asarray(lengths), kind="stable").tolist()):
        found[place] = SHORT if rank < num_short else LONG if rank >= num - num_long else None
    return found


def select(
    found: MadeStage, settings: ParagraphsConfig, seed: int, ledger: Ledger, counted: Values
) -> Iterator[Values]:
    """Yield the paragraphs that are asked about, each with its kind; the others have a reason."""
    copies = look(found, settings, seed)
    kept = np.flatnonzero(~copies.is_copy & ~copies.is_near)[: settings.max_paragraphs]
    kind_of = dict(zip(kept.tolist(), kinds(copies.lengths[kept], settings), strict=True))
    for number, values in enumerate(found.read()):
        kind = kind_of.get(number)
        if kind is not None:
            ledger.keep()
            counted[kind] = counted.get(kind, 0) + 1
            yield {**values, "kind": kind}
        else:
            ledger.drop(_reason(copies, number, number in kind_of), values["id"])


def _reason(copies: Copies, number: int, is_between: bool) -> str:
    if copies.is_copy[number]:
        return "repeats another paragraph"
    if copies.is_near[number]:
        return "nearly repeats another paragraph"
    return "neither short nor long" if is_between else "beyond task.paragraphs.max_paragraphs"
