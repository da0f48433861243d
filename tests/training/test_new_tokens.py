"""Training with new tokens: their rows learn what whole logits would teach them."""

from __future__ import annotations

import pytest
import torch
from lab import Lab, learned
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_pre_hook

from arabic_llm import files
from arabic_llm.memory import static
from arabic_llm.models import adapter_files
from arabic_llm.profiling import training_memory
from arabic_llm.profiling.step_memory import Batch
from arabic_llm.training import callbacks

NEW = ("adapter.extend_vocabulary=200", "task.max_grad_norm=1e9")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a run, its directory, and of its first step the rows' gradient and that of whole logits."""
    lab, folder = Lab(NEW), tmp_path_factory.mktemp("trained")
    lab.before = learned(lab.model)
    rows = next(p for name, p in lab.model.named_parameters() if "trainable_tokens" in name)
    passes, found = [], []

    def note(_model, _args, inputs):
        if lab.model.training and not found:
            passes.append({name: value.clone() for name, value in inputs.items() if torch.is_tensor(value)})

    def compare(*_):
        if found:
            return
        own, loss, count = rows.grad.clone(), 0.0, 0
        for inputs in list(passes):
            labels = inputs.pop("labels")[:, 1:]
            logits = lab.model(**{k: v for k, v in inputs.items() if k != "num_items_in_batch"}).logits
            loss += cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="sum")
            count += int((labels != -100).sum())
        found.extend((own, torch.autograd.grad(loss / count, rows)[0]))

    hooks = (
        lab.model.register_forward_pre_hook(note, with_kwargs=True),
        register_optimizer_step_pre_hook(compare),
    )
    lab.train(folder)
    for hook in hooks:
        hook.remove()
    return lab, folder, found


def test_rows_are_trained_on_what_whole_logits_would_teach_them(trained):
    _, _, (own, wanted) = trained
    assert wanted.abs().sum() > 0
    torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-7)


def test_the_loss_falls_and_every_trained_tensor_moves(trained):
    lab, folder, _ = trained
    losses = [line["loss"] for line in files.read_json_lines(folder / callbacks.METRICS) if "loss" in line]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    after = learned(lab.model)
    assert [name for name in after if after[name] == lab.before[name]] == []


def test_a_checkpoint_holds_the_rows_and_not_the_table(trained):
    _, folder, _ = trained
    shapes = adapter_files.read(folder / "checkpoint-6").shapes
    others = {name: shape for name, shape in shapes.items() if "lora_" not in name}
    assert list(others.values()) == [(200, 192)]


def test_what_is_planned_to_be_trained_is_what_is_trained(trained):
    lab, _, _ = trained
    work = training_memory.workload(lab.model, _arguments(), Batch(1, 64, padded=False, is_first=True))
    assert (work.new_tokens, work.architecture.vocab_size) == (200, 4096 + 200)
    real = sorted(p.numel() for p in lab.model.parameters() if p.requires_grad)
    assert sorted(static.trained_tensors(work).elements()) == real
    _, kept = static.weights_held(work)
    frozen = {id(p): p.nbytes for p in lab.model.parameters() if not p.requires_grad}  # a tied head once
    as_they_were = {name: b.nbytes for name, b in lab.model.named_buffers() if "original" in name}
    assert kept == pytest.approx(sum(frozen.values()) + max(as_they_were.values()), rel=0.002)


def _arguments():
    from trl import SFTConfig

    return SFTConfig(output_dir="none", use_cpu=True, bf16=False, report_to="none")


def test_a_run_that_is_carried_on_ends_with_the_same_bits(trained, tmp_path):
    lab, _, _ = trained
    first = Lab((*NEW, "task.save_total_limit=9"))
    first.train(tmp_path)
    for step in (4, 6):
        files.set_aside(tmp_path / f"checkpoint-{step}")
    second = Lab((*NEW, "task.save_total_limit=9"))
    _, outcome = second.train(tmp_path)
    assert outcome.resumed_from == 2
    assert learned(second.model) == learned(lab.model)


@pytest.mark.parametrize(
    "overrides",
    [
        ("adapter=dora", "hw.micro_batch_size=4"),
        ("adapter=qlora", "hw.precision=bfloat16", "hw.gradient_checkpointing=true"),
        (
            "adapter.dtype=bfloat16",
            "task.early_stopping_patience=1",
            "task.eval_steps=1",
            "task.save_steps=1",
        ),
    ],
    ids=" ".join,
)
def test_rows_are_trained_in_float32_in_every_way_of_training(tmp_path, overrides):
    lab = Lab((*NEW, *overrides, "task.max_steps=2"))
    (name,) = (name for name, _ in lab.model.named_parameters() if "trainable_tokens" in name)
    before = learned(lab.model)
    model, _ = lab.train(tmp_path)
    assert dict(model.named_parameters())[name].dtype is torch.float32
    assert learned(model)[name] != before[name]
