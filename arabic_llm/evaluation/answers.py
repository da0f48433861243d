"""A model's answers, kept as they come: a killed evaluation, typed again, asks only the rest."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arabic_llm import files, processes
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.evaluation.prefixes import Request

log = logging.getLogger(__name__)
_BEFORE, _BETWEEN = b'{"sha256": "', b'", "answers": '  # of a line: a hash, a batch
_FLUSH_SECONDS = 1.0  # a kill loses at most so much work


class Answers:
    """Request -> answer of one model, in memory and in a file of JSON lines, a batch a line with its hash.

    A line that a kill cut short, or that is damaged, has another hash and is passed over: a batch is there
    as it was written or not at all.
    lm-eval's own cache is keyed by the request alone; here each model has a file of its own.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read what is there; without a path answers are kept in memory only."""
        self._path = path
        self._known: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        self._flushed = time.monotonic()
        if path is not None and files.is_in_the_way(path):
            files.set_aside(path)
        elif path is not None and path.is_file():
            self._read(path)

    def __contains__(self, key: str) -> bool:
        """Return whether a request was answered."""
        return key in self._known

    def __getitem__(self, key: str) -> Any:
        """Return the answer to a request: (log-probability, whether greedy) or a text."""
        return self._known[key]

    def add(self, batch: dict[str, Any]) -> None:
        """Keep answers; all of a batch or none is on the disk, within a second or so of work."""
        self._known.update(batch)
        self._new.update(batch)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def missing(self, keys: Sequence[Sequence[str]]) -> list[int]:
        """Return which of some lists of keys have one that a process of the run does not know."""
        unknown = [at for at, some in enumerate(keys) if any(key not in self for key in some)]
        return sorted(set().union(*processes.gather(unknown)))

    def exchange(self, keys: Sequence[str]) -> None:
        """Keep what this process has answered to these, and learn what the others have."""
        self.flush()
        for others in processes.gather({key: self[key] for key in keys}):
            self._known.update(others)

    def _read(self, path: Path) -> None:
        lines = [line for line in path.read_bytes().split(b"\n") if line]
        batches = list(map(_batch, lines))
        for batch in batches:
            self._known.update(batch or {})
        if damaged := batches.count(None):
            what = "1 line of answers is" if damaged == 1 else f"{damaged} lines of answers are"
            log.info("%s: %s cut or damaged; what is missing is asked again", path, what)

    def flush(self) -> None:
        """Write what is new as one line."""
        self._flushed = time.monotonic()
        if self._path is None or not self._new:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # It begins with a line break: the line before it may have been cut.
        batch = json.dumps(self._new, ensure_ascii=False).encode(errors="surrogatepass")
        line = b"\n" + _BEFORE + _hash(batch) + _BETWEEN + batch + b"}\n"
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._new = {}


def key_of_scoring(request: Request) -> str:
    """Return what tells a scored request apart: the ids read, and those whose probability is asked."""
    digest = hashlib.sha256(np.array(request.read, dtype="<u4").tobytes())
    digest.update(b"|" + np.array(request.targets, dtype="<u4").tobytes())
    return digest.hexdigest()[:24]


def key_of_generation(context: str, settings: dict[str, Any], max_length: int) -> str:
    """Return what tells a request for text apart."""
    return fingerprint([context, settings, max_length])


def _batch(line: bytes) -> dict[str, Any] | None:
    """Return the batch of a line; None where it is not what was written."""
    _, _, written = line.removeprefix(_BEFORE).removesuffix(b"}").partition(_BETWEEN)
    if line != _BEFORE + _hash(written) + _BETWEEN + written + b"}":
        return None
    batch: dict[str, Any] = json.loads(written.decode(errors="surrogatepass"))
    return batch


def _hash(batch: bytes) -> bytes:
    return hashlib.sha256(batch).hexdigest()[:32].encode()
