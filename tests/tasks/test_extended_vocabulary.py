"""Runs with tokens that fit Arabic: said, judged, trained further, killed and carried on."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import compose_config
from warm import curve

from arabic_llm import files
from arabic_llm.data.preparing import sources
from arabic_llm.data.preparing.sources import Rows
from arabic_llm.data.rows import Row
from arabic_llm.errors import ConfigError
from arabic_llm.memory import training_plan as planning
from arabic_llm.models import bases, vocabulary
from arabic_llm.tasks import sft
from arabic_llm.workflows import inspect, new_tokens, plan

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
    memory = files.read_json(study / "mine" / "evaluation" / "tuned" / "memory.json")
    assert memory["predicted"] == pytest.approx(memory["measured"], rel=0.05)


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


def test_a_row_is_shown_as_it_is_then_read(tmp_path):
    def seen(*overrides):
        config = compose_config("task=inspect", "task.rows=3", "data.max_rows=300", *overrides)
        config.cache_dir = str(tmp_path)
        rows = sources.load(config.data, Path(), config.seed)
        return [row.num_tokens for row in inspect.look(config, rows, []).rows]

    before, after = seen(), seen("adapter.extend_vocabulary=60")
    assert len(before) == len(after) == 3
    assert sum(after) < sum(before)


def test_a_dry_run_says_what_is_learned_and_keeps_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    sft.dry_run(compose_config("hw=cpu", NEW, "data.max_rows=200", "task.max_steps=1"))
    assert "vocabulary: 40 new tokens by as many merges learned from 200 rows" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_fewer_tokens_than_were_asked_for_are_said(caplog):
    caplog.set_level("INFO")
    config = compose_config("adapter.extend_vocabulary=5000", "data.max_rows=30")
    rows = sources.load(config.data, Path(), config.seed)
    _, new = new_tokens.of_run(config, bases.locate(config.model, None), rows, None)
    assert 0 < len(new) < 5000
    assert " of the 5,000 asked for: no more pairs stand together twice" in caplog.text


def of_rows(texts, **data):
    config = compose_config(NEW)
    config.data = replace(config.data, **data)
    rows = Rows("own", [Row(str(n), text=text) for n, text in enumerate(texts)], [], [], [])
    return new_tokens.of_run(config, bases.locate(config.model, None), rows, None)


def test_rows_of_which_nothing_can_be_learned_are_refused():
    with pytest.raises(
        ConfigError, match=r"^adapter\.extend_vocabulary: the rows of data=sample are of en, and"
    ):
        of_rows(["the cat"] * 9, language="en")
    with pytest.raises(
        ConfigError, match=r"^adapter\.extend_vocabulary=40: no two tokens of arabic letters"
    ):
        of_rows(["the cat"] * 9, language=None)


def test_chinese_rows_teach_chinese_tokens():
    tokenizer, new = of_rows(["今天天气很好", "今天天气不好"] * 3, language="zh")
    assert all("\u4e00" <= sign <= "\u9fff" for sign in tokenizer.decode(new.ids[-1:]))


def test_a_plan_names_the_rows_and_the_gradient_that_they_cost():
    config = compose_config("task=plan", "model=qwen2_0_5b", "adapter=qlora", "hw=4gb")
    wanted = plan.checked(config)
    assert "new tokens" not in "".join(plan.of_a_step(planning.best(wanted), config))
    wanted = replace(wanted, adapter=replace(wanted.adapter, extend_vocabulary=4000))
    best = planning.best(wanted)
    (line,) = (line for line in plan.of_a_step(best, config) if "new tokens" in line)
    assert line.startswith(
        "up to 4,000 new tokens: rows of 3.58 M numbers are trained in float32; for them"
    )
    assert planning.fits(best, wanted.hw)  # of 4 GB
