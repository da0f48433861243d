"""A study killed in any of its stages ends with the table of one never killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time

from conftest import FEW_ROWS
from warm import curve

from arabic_llm import files

STUDY = (
    *("task=study", "hw=cpu", "tracking=none", "task.max_steps=6", "task.effective_batch_size=4"),
    *("task.save_steps=1", "task.eval_steps=3", "suite.limit=6", "hydra.run.dir=mine"),
    *("task.held_out.num_bytes=1500", *FEW_ROWS),
)


def test_a_study_killed_in_any_stage_ends_with_the_same_table(nursery, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    nursery.start(whole, STUDY)  # it answers once it has imported what is slow
    began = time.monotonic()
    assert nursery.wait() == 0, (whole / "log.txt").read_text()[-3000:]
    length = time.monotonic() - began
    draw = random.Random(5)
    kills = 0
    for _ in range(4):
        pid = nursery.start(killed, STUDY)
        time.sleep(draw.random() * length / 4)  # each carries on: together about one whole study
        with contextlib.suppress(ProcessLookupError):  # it was done first
            os.kill(pid, signal.SIGKILL)
        kills += nursery.wait() == -signal.SIGKILL
    nursery.finish(killed, STUDY)
    assert kills >= 2
    assert curve(killed) == curve(whole)
    for name in ("comparison.csv", "comparison.md"):
        assert (killed / "mine" / name).read_text() == (whole / "mine" / name).read_text()
    assert files.read_json(killed / "mine" / "result.json") == files.read_json(
        whole / "mine" / "result.json"
    )


EVALUATE = ("task=evaluate", "hw=cpu", "tracking=none", "suite.limit=80", "hydra.run.dir=mine")


def test_a_killed_evaluation_asks_only_what_was_not_answered(nursery, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    nursery.finish(whole, EVALUATE)
    pid = nursery.start(killed, EVALUATE)
    deadline = time.monotonic() + 300
    while len(batches(killed)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert nursery.wait() == -signal.SIGKILL
    before = batches(killed)
    nursery.finish(killed, EVALUATE)
    after = batches(killed)
    assert after[: len(before)] == before
    keys = [key for batch in after for key in batch]
    assert len(keys) == len(set(keys))  # none was asked twice
    assert {k: v for b in after for k, v in b.items()} == {
        k: v for b in batches(whole) for k, v in b.items()
    }
    items = "mine/evaluation/items.jsonl"
    assert (killed / items).read_bytes() == (whole / items).read_bytes()


def answers(several):
    return {key: answer for batch in several for key, answer in batch.items()}


def batches(folder):
    """Return the batches of answers that are whole."""
    found = []
    for path in (folder / "outputs" / "cache" / "answers").glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").split("\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line)["answers"])
    return found
