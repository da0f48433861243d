"""What a step takes: on a card as the allocator of torch counts it, on a CPU every tensor alive."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from arabic_llm.profiling import skeleton
from arabic_llm.profiling.step_memory import Batch, Taken


class CardMeter:
    """What a step takes of this process's card, as torch's allocator counts it."""

    def __init__(self, device: torch.device, *, is_new: bool) -> None:
        """Count from here on; what reading the weights or an evaluation has left unused is given back."""
        self._device = device
        if is_new:
            torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)

    def taken(self, passes: Sequence[Batch]) -> Taken:
        """Return the peaks since then, and what all programs hold of the card now."""
        free, total = torch.cuda.mem_get_info(self._device)
        allocated = torch.cuda.max_memory_allocated(self._device)
        return Taken(passes, allocated, torch.cuda.max_memory_reserved(self._device), total - free)

    def close(self) -> None:
        """Leave the allocator to count on by itself."""


class TensorMeter:
    """What a step takes on a CPU: every tensor that is alive."""

    def __init__(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> None:
        """Count from here on, what is there already included."""
        from arabic_llm.profiling.timeline import Exact, Timeline  # on private names of torch

        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # an evaluation leaves its last weights whole, and their shares unseen
        self._timeline = Timeline(Exact(), model.config.vocab_size, of_a_run=True)
        with ExitStack() as stack:  # no hook stays on the model where something fails
            stack.callback(self._timeline.close)
            for tensor in skeleton.tensors(model):
                self._timeline.see(tensor)
            self._timeline.follow(model, optimizer)
            self._timeline.allocator.reset_peaks()
            self._timeline.__enter__()
            stack.pop_all()

    def taken(self, passes: Sequence[Batch]) -> Taken:
        """Return the peak since then, and the curve to it. Raises what went wrong while it was counted."""
        if self._timeline.failure is not None:
            raise self._timeline.failure
        return Taken(passes, self._timeline.allocator.peak_allocated, curve=self._timeline.curve())

    def close(self) -> None:
        """Leave training alone."""
        self._timeline.__exit__(None, None, None)
        self._timeline.close()
