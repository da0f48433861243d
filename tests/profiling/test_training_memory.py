"""Memory, predicted and measured; and what happens where it runs out."""

import pytest
import torch
from lab import Lab, learned
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import TrainerCallback

from arabic_llm import files
from arabic_llm.errors import HardwareError
from arabic_llm.models.load import HostEmbedding
from arabic_llm.profiling import training_memory
from arabic_llm.profiling.step_memory import (
    Batch,
    PlannedStep,
    StepMemory,
    reserves_by_default,
    worst_passes,
)
from arabic_llm.profiling.timeline import KINDS
from arabic_llm.training import callbacks, checkpoint

ONE = ("task.max_steps=1", "task.eval_steps=100", "task.save_steps=100")
THREE = ("task.max_steps=3", *ONE[1:])


def lines(directory):
    return [line for line in files.read_json_lines(directory / callbacks.METRICS) if "loss" in line]


@pytest.mark.parametrize(
    "overrides",
    [
        ("adapter=lora", "hw.micro_batch_size=1"),
        ("adapter=lora", "adapter.dropout=0.1", "hw.gradient_checkpointing=true"),
        ("adapter=qlora",),
        ("adapter=qlora", "hw.precision=bfloat16"),
        ("adapter=dora",),
        ("adapter.extend_vocabulary=300",),
        ("adapter=full", "hw.precision=bfloat16"),
        ("adapter=lora", "adapter.dtype=bfloat16"),
        ("adapter=qlora", "adapter.dtype=bfloat16", "hw.precision=bfloat16"),
    ],
    ids=" ".join,
)
def test_what_a_step_takes_is_predicted_within_five_percent(tmp_path, overrides):
    lab = Lab((*THREE, *overrides), is_watched=True)
    lab.dev_rows = []
    lab.train(tmp_path)
    found, (first, second, third) = files.read_json(tmp_path / training_memory.MEMORY), lines(tmp_path)
    for line in (first, second):  # without moments, and with them
        assert line["predicted_mib"] == pytest.approx(line["measured_mib"], rel=0.05)
    assert "measured_mib" not in third
    assert (found["step"], found["has_moments"]) == (2, True)
    assert second["measured_mib"] == found["measured"] / 2**20
    assert second["predicted_mib"] == found["predicted"] / 2**20
    trained = sum(p.nbytes for p in lab.model.parameters() if p.requires_grad)
    assert found["measured"] > 2 * trained + sum(p.nbytes for p in lab.model.parameters())


def test_the_pass_that_holds_most_may_be_the_one_with_most_labels():
    tokens = [(9, 1), (8, 2), (7, 5), (6, 4)]
    batches = [Batch(2, t, True, not at, labels) for at, (t, labels) in enumerate(tokens)]
    assert worst_passes(batches) == [batches[0], batches[1], batches[2]]


@pytest.mark.parametrize(
    ("sizes", "worst"),
    [
        ([5], [(5, True)]),
        ([5, 5, 5], [(5, False)]),  # gradients of the first beside the others
        ([3, 7, 5], [(7, False)]),
        ([7, 3, 5], [(7, True), (5, False)]),  # which of them holds more a rehearsal says
    ],
)
def test_the_pass_that_holds_most_is_the_widest_or_has_gradients_beside_it(sizes, worst):
    batches = [Batch(2, tokens, padded=True, is_first=not at) for at, tokens in enumerate(sizes)]
    assert [(batch.tokens, batch.is_first) for batch in worst_passes(batches)] == worst


def found_on(device, measured, planned, **more):
    given = {"step": 2, "num_processes": 1, "has_moments": True, "batch": Batch(4, 812, padded=True)}
    given |= {
        "measured_reserved": None,
        "on_card": None,
        "predicted": 98 * 2**20,
        "predicted_reserved": None,
    }
    return StepMemory(device=device, measured=measured * 2**20, planned=planned, **{**given, **more})


def test_plan_prediction_and_measurement_stand_in_one_line_and_only_like_is_compared_with_like():
    plan = PlannedStep(4, 1024, 200 * 2**20, 250 * 2**20)
    card = {"measured_reserved": 120 * 2**20, "predicted_reserved": 122 * 2**20, "num_processes": 2}
    assert str(found_on("cuda", 100, plan, **card)) == (
        "memory of step 2, 4 x 812 tokens in the fullest of 2 processes: 100 MiB measured, 98 MiB predicted"
        " (-2.0%); of the card 120 MiB, 122 MiB predicted; the plan had said up to 200 MiB, 250 MiB of the"
        " card, for 4 x 1024 tokens"
    )
    assert str(found_on("cpu", 100, plan)).endswith(
        "; the plan, 250 MiB for 4 x 1024 tokens, is of the card that hw names, not of this CPU"
    )
    assert str(found_on("cuda", 211, plan)).endswith("tokens, which is more than 5% too low")
    assert str(found_on("cpu", 90, None)).endswith("(+8.9%); the prediction is more than 5% off")
    assert str(found_on("cpu", 90, None, predicted=None)).endswith("measured, not predicted")


def test_what_is_reserved_is_predicted_for_the_allocator_as_it_comes():
    assert reserves_by_default({"PYTORCH_ALLOC_CONF": ""})
    assert not reserves_by_default({"PYTORCH_ALLOC_CONF": "expandable_segments:True"})
    assert not reserves_by_default({"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"})


def test_a_table_of_tokens_on_the_host_is_left_out_of_measure_and_prediction(tmp_path):
    lab = Lab((*THREE, "hw.micro_batch_size=2"), is_watched=True)
    looks_up = lab.model.get_input_embeddings()
    lab.model.get_output_embeddings().weight = torch.nn.Parameter(
        looks_up.weight.detach().clone(), requires_grad=False
    )
    lab.model.get_base_model().set_input_embeddings(HostEmbedding(looks_up))
    lab.dev_rows = []
    lab.train(tmp_path)
    found = files.read_json(tmp_path / training_memory.MEMORY)
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.02)


def test_watching_the_first_step_changes_nothing_that_is_learned(tmp_path, monkeypatch):
    overrides = ("adapter.dropout=0.1", "task.max_steps=3", "task.eval_steps=100")
    watched, _ = Lab(overrides, is_watched=True).train(tmp_path / "watched")
    for name in ("on_step_begin", "on_step_end"):
        monkeypatch.setattr(training_memory.MemoryCallback, name, getattr(TrainerCallback, name))
    alone, _ = Lab(overrides, is_watched=True).train(tmp_path / "alone")
    assert learned(watched) == learned(alone)
    curves = [[line["loss"] for line in lines(tmp_path / name)] for name in ("watched", "alone")]
    assert curves[0] == curves[1]


def test_the_curve_says_what_each_byte_is_for(tmp_path):
    lab = Lab((*ONE, "hw.micro_batch_size=2"), is_watched=True)
    lab.dev_rows = []
    trained = sum(p.nbytes for p in lab.model.parameters() if p.requires_grad)
    frozen = sum(p.nbytes for p in lab.model.parameters() if not p.requires_grad)
    lab.train(tmp_path)
    found = files.read_json(tmp_path / training_memory.MEMORY)
    assert 0 < found["batch"]["num_labelled"] < found["batch"]["size"] * found["batch"]["tokens"]
    for name in ("measured_curve", "predicted_curve"):
        curve = found[name]
        assert [phase for phase, _ in _runs(curve)] == ["forward", "backward", "optimizer"]
        first, last = (dict(zip(KINDS, curve[at]["held"], strict=True)) for at in (0, -1))
        assert first["trained"] == trained
        assert first["weights"] == pytest.approx(frozen, rel=0.001)  # and the buffer of positions
        assert last["gradients"] == trained
        assert last["optimizer"] == pytest.approx(2 * trained, rel=0.1)  # and the last update
        assert last["logits"] == 0
        most = max(moment["held"][KINDS.index("logits")] for moment in curve)
        assert 0 < most <= found["batch"]["num_labelled"] * 4096 * 4  # of labels alone, all in one tile


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


def test_where_memory_runs_out_the_same_command_carries_on_with_other_hw(tmp_path):
    fixed = (
        "adapter=qlora",
        "adapter.dropout=0",
        "task.save_steps=2",
        "task.max_steps=4",
        "task.eval_steps=4",
    )
    Lab(fixed).train(tmp_path / "whole")
    lab = Lab((*fixed, "hw.micro_batch_size=4"), is_watched=True)
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
    fixed = ("adapter.dropout=0.1", "task.save_steps=100", "task.max_steps=5", "task.eval_steps=5")
    whole, _ = Lab(fixed).train(tmp_path / "whole")
    lab = Lab(fixed, is_watched=True)
    lab.model.get_base_model().model.norm.register_forward_hook(absurd(5))  # after all dropout
    with pytest.raises(HardwareError, match="carries on from step 4"):
        lab.train(tmp_path / "cut")
    again, outcome = Lab(fixed).train(tmp_path / "cut")
    assert outcome.resumed_from == 4
    assert learned(again) == learned(whole)


def test_memory_that_runs_out_while_weights_change_leaves_the_checkpoint_before(tmp_path):
    calls = []

    def fail(optimizer, *_):
        is_rehearsal = optimizer.param_groups[0]["params"][0].is_meta
        calls.extend([] if is_rehearsal else [1])
        return torch.empty(2**47) if len(calls) == 4 and not is_rehearsal else None

    hook = register_optimizer_step_post_hook(fail)
    try:
        with pytest.raises(HardwareError, match=r"step 4: out of memory.*carries on from step 2"):
            Lab(("task.save_steps=2",), is_watched=True).train(tmp_path)
    finally:
        hook.remove()
