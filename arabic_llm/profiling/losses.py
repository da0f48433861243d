"""What a rehearsed pass computes its loss from, by the code of the trainer that will run.

TRL's trainers want rows, a tokenizer and a device before they exist: an instance gets only what its loss
reads, with the values that TRL gives it. B sequences, T tokens.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel
from trl.trainer import utils as trl_utils

from arabic_llm.memory.workload import Loss, Objective, Workload
from arabic_llm.training import answer_head, class_loss

_OF_PAIRS = ("log_probs", "entropy", "mean_logits", "is_top1")  # as TRL's DPOTrainer asks its fused head
_ALONE = SimpleNamespace(  # what accelerate does in one process
    device=torch.device("meta"),
    unwrap_model=lambda model: model,
    gather=lambda value: value,
    gather_for_metrics=lambda value: value,
)


def loss(model: PreTrainedModel, work: Workload) -> torch.Tensor:
    """Return the loss of one micro-batch."""
    with _WithoutValues():
        return _LOSSES[work.objective](model, work)


@contextmanager
def kernels(model: PreTrainedModel, work: Workload) -> Iterator[None]:
    """Install the head of labels, and let TRL find its Triton kernels: in place, here they do nothing.

    On a CPU there are none, and tensors of a tile's size instead.
    """
    from torch.fx.experimental import _config as symbolic  # private: needed here alone

    if work.loss is Loss.tiled:
        if work.objective is Objective.sft:
            answer_head.install(model)
        else:
            head = model.get_base_model() if hasattr(model, "get_base_model") else model
            trl_utils.add_fused_lm_head(head, outputs=_OF_PAIRS)
    patches = [mock.patch.multiple(symbolic, meta_nonzero_assume_all_nonzero=True), *_labels(work)]
    patches += [] if work.device == "cpu" else _kernels()
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def _labels(work: Workload) -> list[Any]:
    """Let the head find as many labels as the workload has: there are no values to look at."""
    found: dict[str, Any] = {"_has_kernels": lambda _: work.device != "cpu"}
    if work.num_labelled is not None:
        found["_places"] = lambda _: torch.empty(work.num_labelled, dtype=torch.long)
    return [mock.patch.multiple(answer_head, **found)]


def _kernels() -> list[Any]:
    nothing, chunked = _Nothing(), "trl.kernels.chunked_logprob"
    in_place: dict[str, Any] = {"_forward_kernel": nothing, "_backward_kernel": nothing}
    whole = _kernel_of_whole_logits(nothing)
    return [
        mock.patch(f"{chunked}.triton", nothing, create=True),
        mock.patch.multiple(chunked, **in_place, _addmm_fp32=nothing, _use_triton=lambda _: True),
        mock.patch.multiple(whole, **in_place, triton=nothing),
        mock.patch.multiple(
            trl_utils,
            create=True,
            _use_triton=lambda _: True,
            is_triton_available=lambda: True,
            _supports_trl_loss_kernel=lambda *_: True,
            _fused_logprob_entropy=whole.selective_log_softmax_and_entropy,
        ),
    ]


def _kernel_of_whole_logits(nothing: _Nothing) -> Any:
    """Return TRL's module, which imports Triton: builds of torch for a CPU come without."""
    name = "trl.kernels.logprob_entropy"
    if importlib.util.find_spec("triton") is not None:
        return importlib.import_module(name)
    with mock.patch.dict(sys.modules, {"triton": nothing, "triton.language": nothing}):
        return importlib.import_module(name)


class _Nothing:
    """A kernel, its launch, its grid and its library; a mock would keep the tensors it is given."""

    def __getattr__(self, _: str) -> Any:
        return self

    def __getitem__(self, _: Any) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> None:
        pass

    def cdiv(self, *_: int) -> int:
        return 1


class _WithoutValues(TorchFunctionMode):
    """What trainers write down of a batch, where tensors have no values: any number will do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run, but for reading a value."""
        if func is torch.Tensor.item:
            return 0.0
        if func is torch.Tensor.__bool__:
            return True
        return func(*args, **(kwargs or {}))


def _of_pairs(model: PreTrainedModel, work: Workload) -> torch.Tensor:
    """Return TRL's DPO loss: chosen and rejected answers in one batch, twice through the model."""
    ones = torch.ones(2 * work.batch_size, work.tokens, dtype=torch.long)
    from trl import DPOTrainer  # with datasets and wandb: a second of start-up, for pairs alone

    trainer = object.__new__(DPOTrainer)
    vars(trainer).update(
        model=model,
        ref_model=None,  # the model itself, without its adapter
        accelerator=_ALONE,
        args=SimpleNamespace(gradient_checkpointing_kwargs={"use_reentrant": False}),
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        use_weighting=False,
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=0.1,
        label_smoothing=0.0,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = dict.fromkeys(("input_ids", "attention_mask", "completion_mask"), ones)
    found: torch.Tensor = trainer.compute_loss(model, inputs)
    return found


def _of_odds(model: PreTrainedModel, work: Workload) -> torch.Tensor:
    """Return TRL's ORPO loss, of logits of every token of both answers."""
    ones = torch.ones(work.batch_size, work.tokens, dtype=torch.long)
    from trl.experimental.orpo import ORPOTrainer  # may move any day: needed here alone

    trainer = object.__new__(ORPOTrainer)
    vars(trainer).update(
        accelerator=_ALONE,
        args=SimpleNamespace(device=_ALONE.device),
        is_encoder_decoder=False,
        aux_loss_enabled=False,
        padding_value=0,
        beta=0.1,
        _peft_has_been_casted_to_bf16=False,
        _stored_metrics=defaultdict(lambda: defaultdict(list)),
    )
    names = ("input_ids", "attention_mask", "labels")
    inputs = {f"{which}_{name}": ones for which in ("chosen", "rejected") for name in names}
    found: torch.Tensor = trainer.compute_loss(model, inputs)
    return found


def _of_classes(model: PreTrainedModel, work: Workload) -> torch.Tensor:
    """Return our own loss of classes."""
    ids = torch.zeros(work.batch_size, work.tokens, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": ids, "labels": ids[:, 0]}
    return class_loss.loss(model, inputs, work.batch_size)[0]


_LOSSES: dict[Objective, Callable[[PreTrainedModel, Workload], torch.Tensor]] = {
    Objective.classify: _of_classes,
    Objective.dpo: _of_pairs,
    Objective.orpo: _of_odds,
}
