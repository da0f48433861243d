"""Runs with tokens that fit Arabic: said, judged, trained further, killed and carried on."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from warm import curve

from arabic_llm import files
from arabic_llm.models import vocabulary

NEW = "adapter.extend_vocabulary=40"
TRAINING = (
    *(NEW, "hw=cpu", "tracking=none", "task.max_steps=4", "task.effective_batch_size=4"),
    *("task.save_steps=1", "data.max_rows=200", "task.held_out.num_bytes=1000", "hydra.run.dir=mine"),
)
TRAINED = ("adapter_model.safetensors", "adapter_config.json", "vocabulary.json", "tokenizer.json")


@pytest.fixture(scope="module")
def study(nursery, tmp_path_factory):
    """Return the folder of a study with new tokens."""
    folder = tmp_path_factory.mktemp("study")
    nursery.finish(folder, ("task=study", "suite.limit=2", *TRAINING))
    return folder


def log_of(folder):
    return (folder / "mine" / "run.log").read_text(encoding="utf-8")


def test_how_many_tokens_are_learned_and_what_a_word_then_takes_is_said(study):
    said = log_of(study)
    assert "vocabulary: 40 new tokens by as many merges learned from 200 rows" in said
    numbers = re.search(
        r"tokens a word: (\S+) become (\S+) on train rows, (\S+) become (\S+) on dev rows", said
    )
    train_before, train_after, dev_before, dev_after = map(float, numbers.groups())
    assert train_after < 0.98 * train_before
    assert dev_after < dev_before


def test_both_sides_are_judged_and_compared(study):
    rows = (study / "mine" / "comparison.csv").read_text().splitlines()
    assert len(rows) > 3
    base, tuned = (
        json.loads((study / "mine" / "evaluation" / side / "result.json").read_text())
        for side in ("base", "tuned")
    )
    assert base["model"]["files"] == tuned["model"]["files"]
    assert tuned["model"]["trained"]


def test_the_adapter_carries_its_tokens(study):
    folder = study / "mine" / "adapter"
    new = vocabulary.of_adapter(folder)
    assert len(new) == 40
    assert files.is_whole(folder)
    own = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert own["merges"][-40:] == [list(merge) for merge in new.merges]
    assert files.read_json(folder / "arabic_llm.json")["new_tokens"] == 40


def test_the_adapter_alone_is_judged_as_in_the_study_and_trained_further(nursery, study):
    here = ("hw=cpu", "tracking=none", "adapter.path=mine/adapter", "hydra.run.dir=other")
    nursery.finish(study, ("task=evaluate", "suite.limit=2", *here))
    assert "tuned model: evaluated before, read from" in (study / "log.txt").read_text()
    further = (
        "task.max_steps=1",
        "data.max_rows=60",
        "task.effective_batch_size=2",
        "hydra.run.dir=further",
    )
    nursery.finish(study, (*here[:3], *further, "task.held_out.num_bytes=0"))
    first, second = (vocabulary.of_adapter(study / name / "adapter") for name in ("mine", "further"))
    assert first == second


def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(nursery, study, tmp_path):
    metrics = tmp_path / "mine" / "training" / "metrics.jsonl"
    pid = nursery.start(tmp_path, TRAINING)
    while (
        not (metrics.exists() and metrics.read_text().count('"loss"') > 1) and Path(f"/proc/{pid}").exists()
    ):
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert nursery.wait() == -signal.SIGKILL
    nursery.finish(tmp_path, TRAINING)
    assert curve(tmp_path) == curve(study)
    for name in TRAINED:
        own, other = (folder / "mine" / "adapter" / name for folder in (tmp_path, study))
        assert own.read_bytes() == other.read_bytes(), name
