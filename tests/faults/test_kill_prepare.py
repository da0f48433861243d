"""Killed anywhere and typed again, task=prepare ends with the bytes of a run never killed."""

import contextlib
import os
import random
import shutil
import signal
import time

from arabic_llm import files

NUM_ROWS, NUM_FILES, MIN_KILLS = 1000, 3, 5
PREPARE = (
    *("task=prepare", "data=local", "data.path=raw", "data.cleaning.near_duplicates=0.8", "tracking=none"),
    *("data.cleaning.max_repetition=0.6", "hw.num_processes=1"),
)
WORDS = "في مدينة بعيدة عاش تاجر له ثلاثة أولاد يحبون السفر والبحر والكتب".split()  # noqa: SIM905


def raw(folder):
    draw = random.Random(17)
    for number in range(NUM_FILES):
        texts = (" ".join(draw.choices(WORDS, k=draw.randint(5, 40))) for _ in range(NUM_ROWS))
        files.write_json_lines(folder / "raw" / f"{number}.jsonl", ({"text": text} for text in texts))


def made(folder):
    """Return the bytes of all that a run leaves, but for what tells when it ran."""
    dated = {"manifest.json", "run.log", ".lock"}
    found = folder / "data_proc" / "raw"
    return {path.name: path.read_bytes() for path in found.iterdir() if path.name not in dated}


def test_preparing_survives_kills_without_a_different_byte(nursery, tmp_path):
    for name in ("whole", "killed"):
        raw(tmp_path / name)
    nursery.start(tmp_path / "whole", PREPARE)  # it answers once it has imported what is slow
    start = time.monotonic()
    assert nursery.wait() == 0, (tmp_path / "whole" / "log.txt").read_text()[-3000:]
    takes = time.monotonic() - start
    draw, kills, folder = random.Random(17), 0, tmp_path / "killed"
    while kills < MIN_KILLS:
        pid = nursery.start(folder, PREPARE)
        time.sleep(draw.random() * takes * 0.6)
        with contextlib.suppress(ProcessLookupError):  # it was done first
            os.kill(pid, signal.SIGKILL)
        status = nursery.wait()
        kills += status == -signal.SIGKILL
        if status == 0:
            assert made(folder) == made(tmp_path / "whole")
            shutil.rmtree(folder / "data_proc")
    nursery.finish(folder, PREPARE)
    assert made(folder) == made(tmp_path / "whole")
    assert not (folder / "data_proc" / "raw" / ".work").exists()
