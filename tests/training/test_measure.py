"""Memory, predicted and measured; and what happens where it runs out."""

import pytest
import torch
from lab import Lab, learned
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import TrainerCallback

from arabic_llm import files
from arabic_llm.errors import HardwareError
from arabic_llm.memory.timeline import KINDS
from arabic_llm.training import callbacks, checkpoint, measure

ONE = ("task.max_steps=1", "task.eval_steps=100", "task.save_steps=100")


def lines(directory):
    return [line for line in files.read_json_lines(directory / callbacks.METRICS) if "loss" in line]


@pytest.mark.parametrize(
    "overrides",
    [
        ("adapter=lora", "hw.micro_batch_size=1"),
        ("adapter=lora", "adapter.dropout=0.1", "hw.gradient_checkpointing=true"),
        ("adapter=qlora",),
        ("adapter=dora",),
        ("adapter=full", "hw.precision=bfloat16"),
        ("adapter=lora", "adapter.dtype=bfloat16"),
        ("adapter=qlora", "adapter.dtype=bfloat16", "hw.precision=bfloat16"),
    ],
    ids=" ".join,
)
def test_what_a_step_takes_is_predicted_within_five_percent(tmp_path, overrides):
    lab = Lab((*ONE, *overrides))
    lab.dev_rows = []
    lab.train(tmp_path)
    found, (line,) = files.read_json(tmp_path / measure.MEMORY), lines(tmp_path)
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.05)
    assert line["measured_mib"] == found["measured"] / 2**20
    assert line["predicted_mib"] == found["predicted"] / 2**20
    assert found["measured"] > sum(p.nbytes for p in lab.model.parameters())


def test_watching_the_first_step_changes_nothing_that_is_learned(tmp_path, monkeypatch):
    overrides = ("adapter.dropout=0.1", "task.max_steps=3")
    watched, _ = Lab(overrides).train(tmp_path / "watched")
    for name in ("on_step_begin", "on_step_end"):
        monkeypatch.setattr(measure.Measure, name, getattr(TrainerCallback, name))
    alone, _ = Lab(overrides).train(tmp_path / "alone")
    assert learned(watched) == learned(alone)
    curves = [[line["loss"] for line in lines(tmp_path / name)] for name in ("watched", "alone")]
    assert curves[0] == curves[1]


def test_the_curve_says_what_each_byte_is_for(tmp_path):
    lab = Lab((*ONE, "hw.micro_batch_size=2"))
    lab.dev_rows = []
    trained = sum(p.nbytes for p in lab.model.parameters() if p.requires_grad)
    frozen = sum(p.nbytes for p in lab.model.parameters() if not p.requires_grad)
    lab.train(tmp_path)
    for name in ("measured_curve", "predicted_curve"):
        curve = files.read_json(tmp_path / measure.MEMORY)[name]
        assert [phase for phase, _ in _runs(curve)] == ["forward", "backward", "optimizer"]
        first, last = (dict(zip(KINDS, curve[at]["held"], strict=True)) for at in (0, -1))
        assert first["trained"] == trained
        assert first["weights"] == pytest.approx(frozen, rel=0.001)  # and the buffer of positions
        assert last["gradients"] == trained
        assert last["optimizer"] == pytest.approx(2 * trained, rel=0.1)  # and the last update
        assert last["logits"] == 0
        most = max(curve, key=lambda moment: sum(moment["held"]))
        assert dict(zip(KINDS, most["held"], strict=True))["logits"] > 2 * 30 * 4096 * 4


def _runs(curve):
    runs = []
    for moment in curve:
        if not runs or runs[-1][0] != moment["phase"]:
            runs.append((moment["phase"], 0))
    return runs


def absurd(at_pass):
    """Return a hook that asks at its n-th call for more memory than any machine has."""
    calls = [0]

    def hook(module, *_):
        calls[0] += module.training
        if calls[0] == at_pass and module.training:
            torch.empty(2**47)

    return hook


@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_where_memory_runs_out_the_same_command_carries_on_with_other_hw(tmp_path, adapter):
    fixed = (f"adapter={adapter}", "adapter.dropout=0", "task.save_steps=2")
    Lab(fixed).train(tmp_path / "whole")
    lab = Lab((*fixed, "hw.micro_batch_size=4"))
    lab.model.get_input_embeddings().register_forward_hook(absurd(8))  # two passes a step: the fourth step
    with pytest.raises(HardwareError) as error:
        lab.train(tmp_path / "cut")
    said = str(error.value)
    assert said.startswith("step 4: out of memory: 536,870,912 MiB was asked for, ")
    assert " MiB are free in memory; a step of 4 x 2" in said
    assert " tokens was predicted to take " in said
    assert (
        "With hw.micro_batch_size=2 or hw.gradient_checkpointing=true the same command carries on" in said
    )
    assert checkpoint.newest_whole(tmp_path / "cut").name == "checkpoint-3"
    _, outcome = Lab((*fixed, "hw.micro_batch_size=2")).train(tmp_path / "cut")
    assert outcome.resumed_from == 3
    curves = [[line["loss"] for line in lines(tmp_path / name)] for name in ("whole", "cut")]
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)


def test_what_was_done_before_memory_ran_out_is_carried_on_to_the_same_bytes(tmp_path):
    """Dropout has drawn in the step that failed: its draws are taken back."""
    fixed = ("adapter.dropout=0.1", "task.save_steps=100")
    whole, _ = Lab(fixed).train(tmp_path / "whole")
    lab = Lab(fixed)
    lab.model.get_base_model().model.norm.register_forward_hook(absurd(5))  # after all dropout
    with pytest.raises(HardwareError, match="carries on from step 4"):
        lab.train(tmp_path / "cut")
    again, outcome = Lab(fixed).train(tmp_path / "cut")
    assert outcome.resumed_from == 4
    assert learned(again) == learned(whole)


def test_memory_that_runs_out_while_weights_change_leaves_the_checkpoint_before(tmp_path):
    calls = []

    def fail(*_):
        calls.append(1)
        return torch.empty(2**47) if len(calls) == 5 else None  # the second was the rehearsal's

    hook = register_optimizer_step_post_hook(fail)
    try:
        with pytest.raises(HardwareError, match=r"step 4: out of memory.*carries on from step 2"):
            Lab(("task.save_steps=2",)).train(tmp_path)
    finally:
        hook.remove()
