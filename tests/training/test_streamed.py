"""Runs whose layers stream learn, stop and carry on as those whose layers stay, to the bit."""

import signal

import pytest
from lab import Lab, learned
from preference_lab import Lab as Pairs
from preference_lab import metrics

from arabic_llm import files

QLORA = ("adapter=qlora", "adapter.dropout=0.1", "hw.gradient_checkpointing=true", "hw.micro_batch_size=4")
TIMELESS = ("step", "loss", "dev_loss", "grad_norm", "learning_rate")


class EndedAfter:
    """A tracker after whose step a signal comes."""

    def __init__(self, step):
        self.step = step

    def log(self, values):
        if values["step"] == self.step and "loss" in values:
            signal.raise_signal(signal.SIGTERM)

    def finish(self, summary):
        pass


def figures(lines):
    return [{key: line[key] for key in TIMELESS if key in line} for line in lines]


def test_a_streamed_run_that_was_killed_and_stops_early_returns_the_weights_of_a_resident_one(tmp_path):
    given = (*QLORA, "task.early_stopping_patience=1", "task.eval_steps=2", "task.save_steps=2")
    given = (*given, "task.learning_rate=5e-2", "task.max_steps=20")
    resident, outcome = Lab(given, rows=4).train(tmp_path / "resident")
    assert outcome.kept_step < outcome.steps < 20
    streamed = (*given, "hw.streamed_layers=4")
    with pytest.raises(KeyboardInterrupt):
        Lab(streamed, rows=4, tracker=EndedAfter(3)).train(tmp_path / "streamed")
    fewer = (*given, "hw.streamed_layers=2")  # hw has no say in what is carried on
    again, carried_on = Lab(fewer, rows=4).train(tmp_path / "streamed")
    assert 0 < carried_on.resumed_from < carried_on.steps
    assert (carried_on.steps, carried_on.kept_step) == (outcome.steps, outcome.kept_step)
    both = [files.read_json_lines(tmp_path / name / "metrics.jsonl") for name in ("resident", "streamed")]
    assert figures(both[0]) == figures(both[1])
    assert learned(again) == learned(resident)


def test_streamed_layers_learn_from_pairs_what_resident_ones_do(tmp_path):
    found = []
    for number in (0, 6):
        lab = Pairs(*QLORA, f"hw.streamed_layers={number}", "task.max_steps=2")
        model, _ = lab.train(tmp_path / str(number))
        found.append((figures(metrics(tmp_path / str(number))), learned(model)))
    assert found[0] == found[1]


def test_a_rehearsed_step_takes_what_a_streamed_one_took(tmp_path):
    given = (*QLORA, "hw.streamed_layers=3", "task.max_steps=2", "task.eval_steps=9", "task.save_steps=9")
    Lab(given, is_watched=True).train(tmp_path)
    found = files.read_state(tmp_path / "memory.json")
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.01)
