"""Lives of runs: killed at random moments and typed again until they are through, with the same numbers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import Bench, Case, End
from test_kill import SFT, adapter_bytes
from test_kill_prepare import PREPARE, made, raw
from test_kill_study import STUDY
from warm import curve

from arabic_llm import files

_KILLS_A_LIFE = 10
_SHARES = {"sft": 6, "study": 2, "prepare": 2}  # of all kills


def _of_sft(folder: Path) -> object:
    return curve(folder), adapter_bytes(folder)


def _of_study(folder: Path) -> object:
    tables = [(folder / "mine" / name).read_text() for name in ("comparison.csv", "comparison.md")]
    return curve(folder), tables, files.read_json(folder / "mine" / "result.json")["metric"]


def _nothing(_folder: Path) -> None:
    return


_KINDS: dict[str, tuple[tuple[str, ...], Callable[[Path], None], Callable[[Path], object]]] = {
    "sft": (SFT, _nothing, _of_sft),
    "study": (STUDY, _nothing, _of_study),
    "prepare": (PREPARE, raw, made),
}


def cases(bench: Bench, num_kills: int) -> Iterator[Case]:
    """Yield lives of ten kills each; a kind's first one runs it whole before."""
    for kind, share in _SHARES.items():
        wanted = round(num_kills * share / sum(_SHARES.values()))
        for number, start in enumerate(range(0, wanted, _KILLS_A_LIFE)):
            kills = min(_KILLS_A_LIFE, wanted - start)
            name = f"{kind} life {number}"
            yield Case("kills", kind, name, lambda k=kind, n=kills, of=name: _life(bench, k, n, of), kills)


def _whole(bench: Bench, kind: str) -> tuple[object, float]:
    """Return what a run that was never killed has made, and the seconds that it took; made once."""
    arguments, begin, made_by = _KINDS[kind]
    folder = bench.folder / f"whole-{kind}"
    if not (folder / "seconds.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        begin(folder)
        started = time.monotonic()
        bench.nursery.finish(folder, arguments)
        files.write_json(folder / "seconds.json", time.monotonic() - started)
    return made_by(folder), files.read_json(folder / "seconds.json")


def _life(bench: Bench, kind: str, kills: int, name: str) -> End:
    """Kill a run so often, each time at a moment of its own, and let it then come to its end."""
    arguments, begin, made_by = _KINDS[kind]
    expected, seconds = _whole(bench, kind)
    folder, draw, done = bench.folder / "life", bench.draw(name), 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begin(folder)
    while done < kills:
        pid = bench.nursery.start(folder, arguments)
        time.sleep(draw.random() * seconds * draw.choice((0.1, 0.3, 0.6)))
        with contextlib.suppress(ProcessLookupError):  # it was done first
            os.kill(pid, signal.SIGKILL)
        status = bench.nursery.wait()
        done += status == -signal.SIGKILL
        if status not in (0, -signal.SIGKILL):
            return End(f"status {status}", (folder / "log.txt").read_text()[-1500:])
        if status == 0:  # it was through: what it made is compared, and it begins another life
            if made_by(folder) != expected:
                return End("other numbers")
            shutil.rmtree(folder)
            folder.mkdir()
            begin(folder)
    bench.nursery.start(folder, arguments)
    if status := bench.nursery.wait():
        return End(f"status {status}", (folder / "log.txt").read_text()[-1500:])
    return End("the same numbers" if made_by(folder) == expected else "other numbers")
