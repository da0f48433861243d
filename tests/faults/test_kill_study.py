"""A study killed in any of its stages ends with the table of one never killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest
from warm import Nursery, curve

from arabic_llm import files

STUDY = (
    *("task=study", "hw=cpu", "tracking=none", "task.max_steps=6", "task.effective_batch_size=4"),
    *("task.save_steps=1", "task.eval_steps=3", "suite.limit=12", "hydra.run.dir=mine"),
)


@pytest.fixture(scope="module")
def nursery():
    warm = Nursery()
    yield warm
    warm.close()


def test_a_study_killed_in_any_stage_ends_with_the_same_table(nursery, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    began = time.monotonic()
    nursery.finish(whole, STUDY)
    length = time.monotonic() - began
    draw = random.Random(5)
    kills = 0
    for _ in range(4):
        pid = nursery.start(killed, STUDY)
        time.sleep(draw.random() * length / 2)
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
