"""What a stage of the synthesis has made, one JSON a line: whole with its ledger, or made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.data.ledger import Ledger
from arabic_llm.errors import DamagedError

Values = dict[str, Any]
Make = Callable[[Ledger], Iterator[Values]]  # yields what is made, and counts what it was made of
Each = Callable[[Values, Ledger], Iterator[Values]]  # the same, of one line of the stage before


@dataclass(frozen=True)
class MadeStage:
    """The finished work of a stage: its file, its ledger, and what else it has counted."""

    path: Path
    ledger: Ledger
    counted: Values

    def read(self) -> Iterator[Values]:
        """Yield what the stage has made, in order."""
        with self.path.open("rb") as lines:
            for line in lines:
                yield json.loads(line)


def stage(folder: Path, name: str, make: Make, counted: Callable[[], Values] = dict) -> MadeStage:
    """Return what a stage has made: by an earlier start, else now; nothing of it is held in memory."""
    path, note = folder / f"{name}.jsonl", folder / f"{name}.json"
    before = files.kept(note, lambda at: _whole(at, path))
    if before is not None:
        return MadeStage(path, Ledger.from_dict(before["ledger"]), before["counted"])
    ledger, digest = Ledger(name), hashlib.sha256()
    with files.writing(path) as out:
        for line in lines_of(make(ledger)):
            digest.update(line)
            out.write(line)
    str(ledger)  # raises unless it closes
    told = {"ledger": ledger.as_dict(), "counted": counted(), "digest": digest.hexdigest()}
    files.write_state(note, told)
    return MadeStage(path, ledger, files.read_state(note)["counted"])


def lines_of(made: Iterator[Values]) -> Iterator[bytes]:
    """Yield what is made as lines of JSON."""
    return (json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in made)


def _whole(note: Path, path: Path) -> Values:
    said = files.read_state(note)
    if not path.is_file() or files.sha256(path) != said["digest"]:
        raise DamagedError(f"{path} is gone or damaged")
    return said
