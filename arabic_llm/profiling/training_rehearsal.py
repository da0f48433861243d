"""A training step without weights or a GPU: the code that will run, on the meta device, every byte counted.

B batch, T tokens.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import nn
from torch.autograd.graph import _engine_run_backward
from transformers import PreTrainedModel, modeling_utils

from arabic_llm.config.hw import Precision
from arabic_llm.config.task import Optimizer
from arabic_llm.memory.allocator import Block, CachingAllocator
from arabic_llm.memory.static import MIN_8BIT, MIN_PAGED
from arabic_llm.memory.workload import Attention, Loss, Objective, Peak, Workload
from arabic_llm.profiling import losses, sharding, skeleton
from arabic_llm.profiling.timeline import Exact, Moment, Timeline
from arabic_llm.profiling.trace import LikeCuda, Trace

_HALF = 2  # bytes of a weight as it is read from the disk


def peak(work: Workload, capacity: int | None = None) -> Peak:
    """Return the peaks of the second optimiser step of a workload, on a card of that many bytes."""
    allocator = CachingAllocator(capacity)
    phases = rehearse(work, allocator, lambda _: None)
    return Peak(max(phases.values()), allocator.peak_reserved, phases, not allocator.is_over)


def curve(work: Workload, *, is_first: bool) -> tuple[Peak, list[Moment]]:
    """Return the peaks of an optimiser step and what is held over it; the first has no moments yet."""
    on_cpu = work.device == "cpu"
    allocator = Exact() if on_cpu else CachingAllocator()
    timeline = Timeline(allocator, work.architecture.vocab_size)
    phases = rehearse(work, allocator, lambda _: None, trace=timeline, num_steps=1 if is_first else 2)
    peak = Peak(max(phases.values()), 0 if on_cpu else allocator.peak_reserved, phases, fits=True)
    return peak, timeline.curve()


def rehearse(
    work: Workload,
    allocator: CachingAllocator,
    watch: Callable[[str], None],
    *,
    trace: Trace | None = None,
    num_steps: int = 2,
    model: PreTrainedModel | None = None,
) -> dict[str, int]:
    """Run optimiser steps on an allocator and return the peak of each phase of the last.

    In its last pass `watch` is called when it "begins", at the end of autocast ("casts"), of "forward", of
    the "layers" on the way back (where the embeddings have a gradient) and of "backward". A `model` that
    was built of the workload is taken as it is.
    """
    model = model or skeleton.build(work)
    trace = trace or Trace(allocator)
    with ExitStack() as stack:
        stack.enter_context(losses.kernels(model, work))
        stack.enter_context(sharding.settled(model, work))
        stack.enter_context(trace)
        _load(model, work, trace, allocator)
        stack.enter_context(torch.device("meta"))
        autocast = getattr(torch, work.compute.name) if work.autocast else None
        cuda = stack.enter_context(LikeCuda(autocast, work.device))
        if work.checkpointing:  # once more, by a function that autocast's casts end in
            checkpoint = cuda.checkpointed(modeling_utils.checkpoint)
            stack.enter_context(mock.patch.object(modeling_utils, "checkpoint", checkpoint))
            skeleton.enable_checkpointing(model)
        stage = _Stage(model, work, allocator, cuda, _optimizer(model, work))
        if isinstance(trace, Timeline):
            trace.follow(model, stage.optimizer)
            allocator.empty_cache()  # as who measures does
        stage.buckets = sharding.buckets(model, work)
        for _ in range(num_steps - 1):
            stage.step(lambda _: None)
            gc.collect()
        allocator.reset_peaks()
        if isinstance(trace, Timeline):
            trace.forget()
        return stage.step(watch)


@dataclass
class _Stage:
    model: PreTrainedModel
    work: Workload
    allocator: CachingAllocator
    cuda: LikeCuda
    optimizer: torch.optim.Optimizer
    workspaces: list[Block] = field(default_factory=list)  # of cuBLAS; never given back
    buckets: list[torch.Tensor] = field(default_factory=list)  # of gradients, where processes sum them up

    def step(self, watch: Callable[[str], None]) -> dict[str, int]:
        """Run one optimiser step and return the peak of each phase; the last pass is watched."""
        phases: dict[str, int] = {}
        self.optimizer.zero_grad(set_to_none=True)
        passes = 2 if self.work.accumulates else 1
        for number in range(passes):
            for phase in self._pass(watch if number == passes - 1 else lambda _: None):
                phases[phase] = max(phases.get(phase, 0), self._peak_so_far())
        self.optimizer.step()
        phases["optimizer"] = self._peak_so_far()
        return phases

    def _pass(self, watch: Callable[[str], None]) -> Iterator[str]:
        watch("begins")
        self._workspace_of_thread(0)
        embedding = self.model.get_input_embeddings()
        hook = embedding.register_forward_hook(lambda *io: _when_layers_end(io[2], watch))
        prepared = _prepared(self.model.config, self.work)  # held on the way back: some layer has kept each
        if self.work.objective is Objective.sft:
            inputs = _batch(self.work) | prepared
            with self.cuda.forward():
                out = self.model(**inputs)
                watch("casts")
            loss = out.loss
            if not self.work.keeps_output:
                del out
        else:
            loss = self._loss(watch, prepared)
        hook.remove()
        watch("forward")
        yield "forward"
        self._workspace_of_thread(1)
        # loss.backward(), which would put the function mode aside that layers computed again need
        ones, options = torch.ones_like(loss), {"allow_unreachable": True, "accumulate_grad": True}
        _engine_run_backward((loss,), (ones,), False, False, (), **options)
        watch("backward")
        yield "backward"

    def _loss(self, watch: Callable[[str], None], prepared: dict[str, Any]) -> torch.Tensor:
        """Return the loss of a trainer that calls the model as accelerate wraps it."""
        inner = self.model.forward

        def forward(*args: Any, **options: Any) -> Any:
            with self.cuda.forward():
                out = inner(*args, **options | prepared)
                if torch.is_grad_enabled():  # a reference has no gradient
                    watch("casts")
                return out

        with mock.patch.object(self.model, "forward", convert_outputs_to_fp32(forward)):
            return losses.of_classes(self.model, self.work)

    def _peak_so_far(self) -> int:
        highest, self.allocator.peak_allocated = self.allocator.peak_allocated, self.allocator.allocated
        return highest

    def _workspace_of_thread(self, number: int) -> None:
        """Give the main thread (0) or autograd's (1) the workspace of its handle (CublasHandlePool.cpp)."""
        if len(self.workspaces) == number:
            self.workspaces.append(self.allocator.malloc(self.work.workspace_bytes))


def _when_layers_end(embedded: torch.Tensor, watch: Callable[[str], None]) -> None:
    if embedded.requires_grad:
        embedded.register_hook(lambda _: watch("layers"))  # type: ignore[no-untyped-call]


def _batch(work: Workload) -> dict[str, Any]:
    ids = torch.zeros(work.batch_size, work.tokens, dtype=torch.long)
    inputs: dict[str, Any] = {"input_ids": ids, "labels": ids}
    return inputs | ({"fused_lm_head": True} if work.loss is Loss.tiled else {})


def _prepared(config: Any, work: Workload) -> dict[str, Any]:
    """Return the positions and the mask that a model would make for itself."""
    if work.makes_masks:
        return {"attention_mask": torch.ones(work.batch_size, work.tokens, dtype=torch.long)}
    masks = skeleton.masks(config, lambda: _mask(work))
    return {"position_ids": torch.zeros(1, work.tokens, dtype=torch.long), "attention_mask": masks}


def _mask(work: Workload) -> torch.Tensor | None:
    """Return what transformers.masking_utils makes (B1TT): bool, or for eager attention what is added."""
    if not (work.padded or work.attention is Attention.eager):
        return None
    mask = torch.zeros(work.batch_size, 1, work.tokens, work.tokens, dtype=torch.bool)
    added = Precision.float32 if work.widened else work.weights  # to the scores: of the embeddings' type
    return mask.to(getattr(torch, added.name)) if work.attention is Attention.eager else mask


def _load(model: PreTrainedModel, work: Workload, trace: Trace, allocator: CachingAllocator) -> None:
    """Ask for memory as transformers does when it reads weights, so that blocks lie as they will.

    Where they are quantised it first takes all in one piece and gives it back (caching_allocator_warmup);
    then it reads one weight after another in 16 bits, and makes its 4-bit form from it. What no card holds
    whole is read on the host, and goes to the card as it then is.
    """
    if work.fsdp or work.streamed_layers:
        _see(skeleton.on_card(model, work), trace)
        return
    seen: dict[int, nn.Parameter] = {}  # tied weights once
    for parameter in model.parameters():
        seen.setdefault(parameter.untyped_storage()._cdata, parameter)
    if work.looks_up_on_host:
        del seen[model.get_input_embeddings().weight.untyped_storage()._cdata]
    read = [p for p in seen.values() if not p.requires_grad or (work.widened and work.rank is None)]
    if work.nf4:
        allocator.release(allocator.malloc(sum(p.nbytes for p in read)))
    kept = {p: block for p in read if (block := _read(p, trace, allocator)) is not None}
    for parameter, block in kept.items():
        if work.widened and parameter.element_size() == _HALF:
            parameter.data = parameter.data.float()
            allocator.release(block)
        else:
            trace.see(parameter, block)
    _see((*seen.values(), *model.buffers()), trace)


def _see(tensors: Iterable[torch.Tensor], trace: Trace) -> None:
    for tensor in tensors:
        trace.see(tensor)


def _read(parameter: nn.Parameter, trace: Trace, allocator: CachingAllocator) -> Block | None:
    """Return the block of a weight as it is read; None for one that was put into 4 bits."""
    if parameter.dtype is not torch.uint8:
        return allocator.malloc(parameter.nbytes)
    read = allocator.malloc(2 * parameter.numel() * _HALF)
    for tensor in (*skeleton.scales(parameter), parameter):
        trace.see(tensor)
    allocator.release(read)
    return None


def _optimizer(model: PreTrainedModel, work: Workload) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    if work.optimizer is None:
        return torch.optim.SGD(trained, lr=1.0, foreach=True)
    if work.optimizer_on_host or work.optimizer is Optimizer.adamw_8bit:
        return _Bitsandbytes(trained, work)
    # what torch chooses: on a GPU all weights at once; on a CPU, and of shares, one after another
    return torch.optim.AdamW(trained, lr=1.0, foreach=work.device != "cpu" and not work.shares_all)


class _Bitsandbytes(torch.optim.Optimizer):
    """The state of bitsandbytes' AdamW: its update is a kernel in place, which meta does not have."""

    def __init__(self, trained: list[nn.Parameter], work: Workload) -> None:
        """Take what is trained. Paged ones keep large moments where no allocator of torch counts them."""
        super().__init__(trained, {})
        self._is_8bit = work.optimizer is Optimizer.adamw_8bit
        self._is_paged = work.optimizer_on_host

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Make the moments, once (bitsandbytes.optim.optimizer.Optimizer2State.init_state)."""
        for parameter in self.param_groups[0]["params"]:
            if self.state[parameter]:
                continue
            is_8bit = self._is_8bit and parameter.numel() >= MIN_8BIT
            for moment in ("state1", "state2"):
                if not (self._is_paged and parameter.numel() >= MIN_PAGED):
                    dtype = torch.uint8 if is_8bit else torch.float32
                    self.state[parameter][moment] = torch.empty_like(parameter, dtype=dtype)
                if is_8bit:
                    scales = torch.empty(-(-parameter.numel() // 256))
                    self.state[parameter][f"absmax_{moment}"] = scales
