"""The time of a training is told by an earlier run's steps, scaled to its own, and by no other run's."""

import json

import pytest
from conftest import compose_config

from arabic_llm import files, rundir
from arabic_llm.config.compose import identity
from arabic_llm.workflows import pace

STEPS = [
    {"step": n, "seconds_per_step": s, "tokens_seen": 100 * n} for n, s in ((1, 9.0), (2, 2.0), (3, 2.0))
]


def earlier(folder, *overrides, steps=STEPS, machine=None):
    """Leave what a run of these settings leaves of its training, the last line half written."""
    config = compose_config(*overrides)
    lines = [json.dumps({"step": 0, "dev_loss": 1.0}), *map(json.dumps, steps), '{"step": 4, "seco']
    files.write_text(folder / "training" / "metrics.jsonl", "\n".join(lines))
    told = {"identity": identity(config), "hw": config.hw.name, "machine": machine or rundir.machine_name()}
    files.write_state(folder / rundir.MANIFEST, told)


def said(*overrides, num_steps=90, tokens=None, task="sft"):
    config = compose_config(*overrides)
    rows = config.task.effective_batch_size
    return pace.lines(config, pace.Ahead(task, rows, num_steps, tokens))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


def test_the_middle_step_times_the_steps_ahead_scaled_by_tokens_or_by_rows(home):
    earlier(home / "sft" / "a", "seed=1", "task.effective_batch_size=16")
    assert said(tokens=200)[0].startswith(
        "time: about 6 min for 90 steps, by the steps of outputs/sft/a on"
    )
    (by_rows,) = said("task.effective_batch_size=8")
    assert by_rows.startswith("time: about 2 min for 90 steps, with rows as long as its own, by the steps")
    assert said(num_steps=None)[0].startswith("time: about 2 s a step, with rows as long")
    assert said(num_steps=9000, tokens=100)[0].startswith("time: about 5.0 h for 9,000 steps")


@pytest.mark.parametrize(
    "other",
    [("adapter.rank=4",), ("model=qwen2_0_5b",), ("hw=4gb",), ("hw.precision=bfloat16",), ("task=dpo",)],
)
def test_a_run_of_another_kind_tells_nothing(home, other):
    earlier(home / "first")
    assert said() != []
    assert said(*other, task=compose_config(*other).task.name) == []


def test_another_machine_a_run_without_times_and_a_damaged_one_tell_nothing(home):
    earlier(home / "sft" / "a", machine="Linux, 96 x another")
    earlier(home / "sft" / "b", steps=[{"step": 1, "tokens_seen": 9}])
    earlier(home / "sft" / "c")
    (home / "sft" / "c" / rundir.MANIFEST).write_text("{")
    assert said() == []


def test_a_study_and_a_training_have_the_same_steps_and_what_begins_them_does_not_matter(home):
    earlier(home / "study" / "a", "task=study", "data=sample", "seed=4")
    assert said("data=cidar", "seed=5")[0].startswith("time: about 3 min")
