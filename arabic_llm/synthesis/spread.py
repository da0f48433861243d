"""Stages that make one thing of another past one machine: each task of datatrove takes a part of a file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from arabic_llm import files
from arabic_llm.config.hw import HardwareConfig
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import staging
from arabic_llm.data.preparing.executors import PartsStep, Portion, carry_out
from arabic_llm.errors import DamagedError
from arabic_llm.synthesis.stage_files import Each, MadeStage, Values, lines_of

_SMALLEST = 2**20  # bytes of a part: seconds of work, and starting a task takes some


@dataclass(frozen=True)
class Stretch(Portion):
    """The lines of a file that begin in [start, end)."""

    path: Path
    start: int
    end: int

    def read(self) -> Iterator[Values]:
        """Yield what stands on them."""
        with self.path.open("rb") as lines:
            if self.start:
                lines.seek(self.start - 1)
                lines.readline()  # to the end of the line that holds the byte before
            while lines.tell() < self.end and (line := lines.readline()):
                yield json.loads(line)

    def ledger(self) -> Ledger:
        """Return what was counted. Raises DamagedError where it, or what was made, is not what it was."""
        said = files.read_state(self.stem.with_suffix(".json"))
        made = self.stem.with_suffix(".jsonl")
        if not made.is_file() or files.sha256(made) != said["digest"]:
            raise DamagedError(f"{made} is gone or damaged")
        return Ledger.from_dict(said["ledger"])

    def is_made(self) -> bool:
        """Return whether it lies whole; what is damaged is set aside, and made again."""
        return files.kept(self.stem.with_suffix(".json"), lambda _: self.ledger()) is not None


class MakeStretches(PartsStep):
    """Lines of a stage into what the next one makes of each."""

    name: ClassVar[str] = "stretches of a stage"

    def __init__(self, each: Each, stage: str, parts: list[Stretch]) -> None:
        """Take what is made of each, the name of the stage, and what of it is not made yet."""
        super().__init__(parts)
        self._each, self._stage = each, stage

    def do(self, part: Portion) -> None:
        """Write what is made of a stretch, then its note."""
        if not isinstance(part, Stretch):
            raise TypeError(part)
        ledger, digest = Ledger(self._stage), hashlib.sha256()
        with files.writing(part.stem.with_suffix(".jsonl")) as out:
            for value in part.read():
                for line in lines_of(self._each(value, ledger)):
                    digest.update(line)
                    out.write(line)
        note = {"ledger": ledger.as_dict(), "digest": digest.hexdigest()}
        files.write_state(part.stem.with_suffix(".json"), note)


def made(
    source: MadeStage, name: str, each: Each, ledger: Ledger, folder: Path, hw: HardwareConfig
) -> Iterator[Values]:
    """Yield what a stage makes of each line of another, in its order, and count it.

    Stretches that lie whole in <folder>/<name>.parts are not made again; all go when the last was read.
    """
    work = folder / f"{name}.parts"
    work.mkdir(exist_ok=True)
    stretches = _stretches(source.path, work, hw)
    if left := [one for one in stretches if not one.is_made()]:
        carry_out(MakeStretches(each, name, left), work, hw, (name, "part"))
    for one in stretches:
        ledger.add(one.ledger())
        yield from MadeStage(one.stem.with_suffix(".jsonl"), ledger, {}).read()
    shutil.rmtree(work)


def _stretches(path: Path, work: Path, hw: HardwareConfig) -> list[Stretch]:
    """Return the file in stretches, as many as there are to be tasks."""
    size = path.stat().st_size
    here = hw.num_processes or len(os.sched_getaffinity(0))
    number = hw.executor.num_tasks or min(here, size // _SMALLEST + 1)
    ends = [size * place // number for place in range(number + 1)]
    return [
        Stretch(staging.stem_of(work, number, place), path, ends[place], ends[place + 1])
        for place in range(number)
    ]
