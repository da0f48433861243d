"""Held-out texts: a few pages of each language that no row is trained on, ours or from files of yours."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from arabic_llm.config.data import SourceConfig
from arabic_llm.config.task import HeldOutConfig
from arabic_llm.data.cleaning import near_copies, ngrams
from arabic_llm.data.cleaning.contamination import LONG_RUN
from arabic_llm.data.preparing import sources
from arabic_llm.data.preparing.selection import Fate
from arabic_llm.data.reading import locate
from arabic_llm.data.reading.readers import Broken, Record
from arabic_llm.data.reading.row_builder import as_row
from arabic_llm.data.rows import Row
from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize

log = logging.getLogger(__name__)
_OURS = Path(__file__).parent / "held_out_texts"  # the same twelve paragraphs in each language
_BUILTIN = "builtin"
_PIECE = 200  # bytes at most, but for the next space: an interval over few pieces shows nothing
_NEAR = 40  # characters
_FEWEST = 2  # pieces: an interval needs them


def load(held_out: HeldOutConfig, data_root: Path, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return language -> pieces of text, num_bytes at most; of a file of yours those not in `rows`.

    Which pieces are taken is decided by what they say: neither the seed nor the model changes it.
    Raises DataError for a file that is missing or broken, or of which too little is left.
    """
    found = {}
    for language, path in paths_of(held_out, data_root).items():
        pieces = sorted(
            {*chain(*map(_cut, _texts(path)))}, key=lambda piece: hashlib.sha256(piece.encode()).digest()
        )
        unseen = pieces if path.parent == _OURS else _unseen(pieces, rows)
        if len(unseen) < len(pieces):
            copies = f"{len(pieces) - len(unseen):,} of {len(pieces):,}"
            log.info("held-out %s: %s pieces of %s stand in the training rows", language, copies, path)
        sizes = np.cumsum([len(piece.encode()) for piece in unseen])
        found[language] = unseen[: int((sizes <= held_out.num_bytes).sum())]
        if len(found[language]) < _FEWEST:
            raise DataError(
                f"task.held_out.texts.{language}: {path} has {len(unseen)} pieces of text outside the"
                f" training rows, and {_FEWEST} in task.held_out.num_bytes={held_out.num_bytes} are needed"
            )
    return found


def paths_of(held_out: HeldOutConfig, data_root: Path) -> dict[str, Path]:
    """Return language -> file; a language without a text is said. Raises DataError for a missing file."""
    found = {}
    for language, typed in held_out.texts.items() if held_out.num_bytes else ():
        if typed is None:
            log.info("no held-out text in %s: its loss is not followed", language)
            continue
        ours, source = [_OURS / f"{language}.txt"], SourceConfig(name=language, path=typed)
        candidates = ours if typed == _BUILTIN else locate.candidates(source, data_root)
        path = next((place for place in candidates if place.is_file()), None)
        if path is None:
            looked = " nor ".join(dict.fromkeys(map(str, candidates)))
            raise DataError(f"task.held_out.texts.{language}={typed}: no file {looked}")
        found[language] = path
    return found


def texts_hash(held_out: HeldOutConfig, data_root: Path, cache_dir: Path) -> str:
    """Return a hash of the files; large ones are read once."""
    return locate.files_hash(locate.Files(list(paths_of(held_out, data_root).values())), cache_dir)


def _texts(path: Path) -> Iterator[str]:
    """Yield what the first rows of a file say."""
    if path.parent == _OURS:
        yield from path.read_text(encoding="utf-8").splitlines()
        return
    chunks = sources.chunks_of(sources.Input(path, Fate.train), SourceConfig(name=path.stem))
    try:
        first = list(islice(chunks, 1))
    except DataError as error:
        raise DataError(
            f"task.held_out.texts: {path} is not recognised; give a .txt of one text a line"
        ) from error
    for chunk in first:
        for item in chunk.items:
            row = as_row(item, chunk.columns) if isinstance(item, Record) else item
            if isinstance(row, Broken):
                raise DataError(f"{row.place}: {row.reason}")
            yield row.words()


def _cut(text: str) -> Iterator[str]:
    """Yield a text in pieces of about one length, cut at spaces where there are some."""
    text = " ".join(text.split())
    number = max(1, math.ceil(len(text.encode()) / _PIECE))
    start = 0
    for at in (part * len(text) // number for part in range(1, number)):
        space = text.find(" ", at, at + _NEAR)
        stop = at if space < 0 else space
        yield text[start:stop].strip()
        start = stop
    if last := text[start:].strip():
        yield last


def _unseen(pieces: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the pieces that share no 13 words (of Chinese: characters) with a row."""
    hashes, counts = ngrams.words([normalize(piece, "matching") for piece in pieces]).ngrams(LONG_RUN)
    seen = np.zeros(len(hashes), np.bool_)
    texts = [row.words() for row in rows]
    for start, stop in near_copies.blocks(texts):
        block = ngrams.words([normalize(text, "matching") for text in texts[start:stop]])
        seen |= np.isin(hashes, block.ngrams(LONG_RUN)[0])
    of_piece = np.repeat(np.arange(len(pieces)), counts)
    copied = set(of_piece[seen].tolist())
    return [piece for number, piece in enumerate(pieces) if number not in copied]
