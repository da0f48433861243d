"""What a rehearsed pass computes its loss from, by the code of the trainer that will run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from transformers import PreTrainedModel

from arabic_llm.memory.workload import Loss, Workload
from arabic_llm.models import host_head
from arabic_llm.training import answer_head, class_loss


@contextmanager
def kernels(model: PreTrainedModel, work: Workload) -> Iterator[None]:
    """Install the head of labels, and let TRL find its Triton kernels: in place, here they do nothing.

    On a CPU there are none, and tensors of a tile's size instead.
    """
    from torch.fx.experimental import _config as symbolic  # private: needed here alone

    if work.loss is Loss.tiled:
        answer_head.install(model)
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
    arrived: dict[str, Any] = {
        "arrived": lambda rows, _: rows.clone()
    }  # on meta a copy to the device is none
    return [mock.patch.multiple(answer_head, **found), mock.patch.multiple(host_head, **arrived)]


def _kernels() -> list[Any]:
    nothing, chunked = _Nothing(), "trl.kernels.chunked_logprob"
    in_place: dict[str, Any] = {"_forward_kernel": nothing, "_backward_kernel": nothing}
    return [
        mock.patch(f"{chunked}.triton", nothing, create=True),
        mock.patch.multiple(chunked, **in_place, _addmm_fp32=nothing, _use_triton=lambda _: True),
    ]


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


def of_classes(model: PreTrainedModel, work: Workload) -> torch.Tensor:
    """Return the loss of one micro-batch of classes."""
    ids = torch.zeros(work.batch_size, work.tokens, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": ids, "labels": ids[:, 0]}
    return class_loss.loss(model, inputs, work.batch_size)[0]
