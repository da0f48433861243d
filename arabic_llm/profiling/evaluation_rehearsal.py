"""A pass of judging without weights or a GPU: the code that will run, on meta, every byte counted.

B rows, N new tokens of each, P cached before them, W places whose logits are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel

from arabic_llm.evaluation import masked_lm, scoring
from arabic_llm.evaluation.row_cache import RowCache
from arabic_llm.memory.allocator import CachingAllocator
from arabic_llm.memory.inference_peak import ForwardPass, LoadedModel, has_mask
from arabic_llm.memory.workload import Attention, Loss, Peak, Workload
from arabic_llm.profiling import sharding, skeleton
from arabic_llm.profiling.timeline import Exact
from arabic_llm.profiling.trace import LikeCuda, Trace


def peak(held: LoadedModel, shape: ForwardPass) -> Peak:
    """Return the peaks of a pass and of what is read off its logits."""
    work = workload(held, shape)
    model = skeleton.build(work)
    model.eval()
    allocator = Exact() if held.on_cpu else CachingAllocator()
    trace = Trace(allocator)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())  # inference mode would hide what operations are made of
        stack.enter_context(sharding.settled(model, work))
        stack.enter_context(trace)
        for tensor in skeleton.on_card(model, work):
            trace.see(tensor)
        stack.enter_context(torch.device("meta"))
        stack.enter_context(LikeCuda(None, "cpu" if held.on_cpu else "cuda"))
        if not held.on_cpu:
            allocator.malloc(held.workspace_bytes)
        run = _masked if held.is_masked_model else _causal
        forward = run(model, held, shape, allocator)
        phases = {"forward": forward, "logits": allocator.peak_allocated}
    return Peak(allocator.peak_allocated, allocator.peak_reserved, phases, not allocator.is_over)


def _causal(
    model: PreTrainedModel, held: LoadedModel, shape: ForwardPass, allocator: CachingAllocator
) -> int:
    """Run a pass of evaluation/scoring.py or of generation, and return the peak without its logits."""
    cache = _rows(held, shape) if any(shape.in_place) else _cache(held, shape)
    allocator.reset_peaks()
    with cache.apart(model) if isinstance(cache, RowCache) and shape.apart else nullcontext():
        logits = model(**_inputs(model.config, held, shape), past_key_values=cache, use_cache=True).logits
    forward = allocator.peak_allocated
    if shape.is_scored:
        scoring.likelihoods(logits[0], *torch.zeros(2, shape.wanted, dtype=torch.long))
    else:  # transformers.GenerationMixin._sample
        logits[:, -1].to(copy=True, dtype=torch.float32).argmax(-1)
    return forward


def _masked(
    model: PreTrainedModel, held: LoadedModel, shape: ForwardPass, allocator: CachingAllocator
) -> int:
    """Run a pass of evaluation/masked_lm.py, and return the peak without what is read off."""
    ids = torch.zeros(shape.rows, shape.tokens, dtype=torch.long)
    mask = (
        torch.zeros(shape.rows, 1, shape.tokens, shape.tokens, dtype=torch.bool) if shape.masked else None
    )
    allocator.reset_peaks()
    with masked_lm.head_only_at(model, [0] * shape.rows):
        logits = model(input_ids=ids, attention_mask=mask).logits
    forward = allocator.peak_allocated
    masked_lm.likelihoods(logits.float(), *torch.zeros(2, shape.rows, dtype=torch.long))
    return forward


def workload(held: LoadedModel, shape: ForwardPass) -> Workload:
    """Return what a skeleton is built from; all that is of training is left out."""
    if held.is_eager:
        attention = Attention.eager
    else:
        attention = Attention.efficient if has_mask(held, shape) or held.on_cpu else Attention.flash
    return Workload(
        architecture=held.architecture,
        batch_size=shape.rows,
        tokens=shape.tokens,
        nf4=held.nf4,
        double_quant=held.nf4,
        weights=held.dtype,
        compute=held.dtype,
        autocast=False,
        rank=held.rank,
        target_modules=held.target_modules,
        dropout=0.0,
        attention=attention,
        checkpointing=False,
        optimizer=None,
        loss=Loss.full,
        padded=shape.masked,
        accumulates=False,
        workspace_bytes=held.workspace_bytes,
        dora=held.dora,
        device="cpu" if held.on_cpu else "cuda",
        streamed_layers=held.streamed_layers,
    )


def _inputs(config: Any, held: LoadedModel, shape: ForwardPass) -> dict[str, Any]:
    """Return what the model is called with: ids, positions, who sees whom, whose logits are wanted."""
    ids = torch.zeros(shape.rows, shape.tokens, dtype=torch.long)
    places = torch.zeros(shape.wanted, dtype=torch.long) if shape.is_scored else 1
    return {
        "input_ids": ids,
        "position_ids": ids,
        "attention_mask": skeleton.masks(config, lambda: _mask(held, shape)),
        "logits_to_keep": places,
    }


def _mask(held: LoadedModel, shape: ForwardPass) -> torch.Tensor | None:
    """Return who sees whom (B1NL): bool, or for eager attention what is added."""
    if not has_mask(held, shape):
        return None
    mask = torch.zeros(shape.rows, 1, shape.tokens, shape.cached + shape.tokens, dtype=torch.bool)
    return mask.to(getattr(torch, held.dtype.name)) if held.is_eager and not shape.apart else mask


def _cache(held: LoadedModel, shape: ForwardPass) -> DynamicCache:
    """Return a cache of P tokens a row, in a storage of as many as lie there."""
    cache = _filled(held, shape.rows, shape.lying)
    for layer in cache.layers:
        layer.crop(shape.cached - shape.lying)
    return cache


def _rows(held: LoadedModel, shape: ForwardPass) -> RowCache:
    """Return a cache that has room for what is said, behind what all rows share."""
    shared = _filled(held, 1, shape.shared)
    cache = RowCache(*shape.in_place, shared if shape.shared else None)
    for layer, states in enumerate(_states(held, shape.rows, shape.tokens)):
        start = shape.cached - shape.shared
        cache.place(slice(0, shape.rows), 0, slice(start, start + shape.tokens))
        cache.update(*states, layer)
    return cache


def _filled(held: LoadedModel, rows: int, tokens: int) -> DynamicCache:
    cache = DynamicCache()
    for layer, states in enumerate(_states(held, rows, tokens) if tokens else ()):
        cache.update(*states, layer)
    return cache


def _states(held: LoadedModel, rows: int, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the keys and values of each layer."""
    a, dtype = held.architecture, getattr(torch, held.dtype.name)
    for _ in range(a.num_hidden_layers):
        size = (rows, a.num_key_value_heads, tokens, a.head_dim)
        yield torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)
