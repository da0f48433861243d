"""A rehearsal of a deep model from two shallow ones: what a step takes is affine in the number of layers.

Every stretch of a step (the first layer forth, the last one, the head, each of them on the way back, the
optimiser) holds so much more with each further layer. The highest of them is the peak, so a stretch that
a shallow model never shows at its worst is seen all the same. Blocks of an allocator are rounded, and
the rounding is not affine: within 1.5% of a rehearsal in full, where that was tried.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.errors import ConfigError
from arabic_llm.memory import visits
from arabic_llm.memory.allocator import Block, CachingAllocator, side_by_side
from arabic_llm.memory.workload import Attention, Peak, Workload
from arabic_llm.models import families
from arabic_llm.models.shape import to_transformers
from arabic_llm.profiling import skeleton, training_rehearsal

_MARGIN = 1.1  # of what is reserved, which is known less well
# Layers. From two to three the rounding of one layer stands for all: 2.4% off for Gemma-2-2b; so 0.3%.
_FEWEST, _FURTHER = 3, 3
_AT_MOST = 2  # shallow models, whose rehearsals are kept
# What transformers', PEFT's and torch's code raises where it cannot run so, in words of its own.
_REFUSALS = (ValueError, RuntimeError, TypeError, LookupError, AttributeError)


def peak(work: Workload, capacity: int | None = None) -> Peak:
    """Return the peaks of the second optimiser step of a workload, on a card of that many bytes.

    Code that takes no mask made beforehand, and no kernel of ours, makes its own: with all scores, which
    no kernel holds, and so never less than is needed. Raises ConfigError for what runs neither way.
    """
    gc.freeze()  # a rehearsal looks for cycles of tensors: not among the libraries
    try:
        with suppress(*_REFUSALS):
            return _peak(work, capacity)
        return _peak(replace(work, makes_masks=True, attention=Attention.eager), capacity)
    except ConfigError:
        raise
    except _REFUSALS as error:
        said = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ConfigError(
            f"model_type={work.architecture.model_type} cannot be planned: its own code, rehearsed without"
            f" weights, says '{said}'; change the setting it names, or leave hw.usable_gib out and measure"
        ) from error
    finally:
        gc.unfreeze()


def _peak(work: Workload, capacity: int | None) -> Peak:
    shallow = depths(work)
    if shallow is None:
        return training_rehearsal.peak(work, capacity)
    (few, a_few), (more, some_more) = ((n, _rehearsed_once(_cut(work, n))) for n in shallow)
    layers = work.architecture.num_hidden_layers

    def deep(low: float, high: float) -> int:
        return round(low + (high - low) * (layers - few) / (more - few))

    stretches = {
        s: deep(a_few.highest[s], some_more.highest[s]) for s in a_few.highest if s in some_more.highest
    }
    phases = {p: deep(a_few.phases[p], some_more.phases[p]) for p in a_few.phases}
    stay = _packed_that_stay(work)  # in the shallow ones all layers stream, if any does
    allocated = stay + max(*stretches.values(), *phases.values())
    # holes do not grow evenly: those of the shallow ones
    holes = max(one.peak_reserved - max(one.phases.values()) for one in (a_few, some_more))
    reserved = allocated + max(0, holes)
    missing = allocated - max(some_more.phases.values())  # what the layers that are left out hold
    phases = {phase: size + stay for phase, size in phases.items()}
    return Peak(
        allocated, reserved, phases, _fits(_cut(work, more), (allocated, reserved, missing), capacity)
    )


def _packed_that_stay(work: Workload) -> int:
    """Return the bytes of packed weights of the layers that stay on the card where others stream."""
    if not work.streamed_layers:
        return 0
    everywhere = replace(work, streamed_layers=work.architecture.num_hidden_layers)
    return round(visits.pinned(everywhere) - visits.pinned(work))


def _fits(shallow: Workload, found: tuple[int, int, int], capacity: int | None) -> bool:
    """Return whether a step fits: by its bytes, or by a shallow model on a card that much smaller."""
    allocated, reserved, missing = found
    if capacity is None or reserved * _MARGIN <= capacity:
        return True
    return allocated <= capacity and training_rehearsal.peak(shallow, capacity - missing).fits


def depths(work: Workload) -> tuple[int, int] | None:
    """Return two numbers of layers that say what each further one takes; None: it is not deeper."""
    a = work.architecture
    kinds = _kinds(a)
    start, period = _pattern(kinds)
    seen = 1 + max(kinds.index(kind) for kind in kinds)  # every kind is there
    fewest = max(_FEWEST, start + period, seen)
    few = fewest + (a.num_hidden_layers - fewest) % period
    more = few + (_FURTHER if period == 1 else period)
    return (few, more) if more < a.num_hidden_layers else None


def _kinds(a: ArchitectureConfig) -> list[Any]:
    """Return what tells the layers of a model apart: kinds of attention, and shapes of weights."""
    attention = getattr(to_transformers(a), "layer_types", None) or [None] * a.num_hidden_layers
    if families.known(a.model_type) is not None:
        return list(attention)
    layers = blocks(skeleton.bare(a), a.num_hidden_layers)
    if layers is None:
        raise ConfigError(f"model_type={a.model_type} cannot be planned: no list of its layers was found")
    shapes = [tuple((n, tuple(p.shape)) for n, p in layer.named_parameters()) for layer in layers]
    return list(zip(attention, shapes, strict=True))


def _pattern(kinds: Sequence[Any]) -> tuple[int, int]:
    """Return where kinds begin to come again, and after how many layers.

    Which tokens a layer attends to is in its mask, and takes nothing: such kinds are one.
    """
    same = [_without_masks(kind) for kind in kinds]
    number = len(same)
    found = (
        (start, period)
        for total in range(1, number + 1)
        for period in range(1, total + 1)
        for start in (total - period,)
        if all(same[i] == same[i + period] for i in range(start, number - period))
    )
    return next(found)


def _without_masks(kind: Any) -> Any:
    if isinstance(kind, tuple):
        return (_without_masks(kind[0]), kind[1])
    return None if kind in skeleton.ATTENTION_KINDS else kind


def _cut(work: Workload, layers: int) -> Workload:
    """Return a workload of fewer layers; lists that speak of each layer are as much shorter."""
    a = work.architecture
    other = {
        name: value[:layers] if isinstance(value, list) and len(value) == a.num_hidden_layers else value
        for name, value in a.other.items()
    }
    shape = replace(a, num_hidden_layers=layers, other=other)
    return replace(work, architecture=shape, streamed_layers=layers if work.streamed_layers else 0)


def packed_layers(a: ArchitectureConfig) -> tuple[int, ...]:
    """Return the bytes of each layer's weights in 4 bits, in blocks of the allocator, of any family."""
    layers = blocks(skeleton.bare(a), a.num_hidden_layers) or ()
    linear = [[m for m in layer.modules() if isinstance(m, (nn.Linear, Conv1D))] for layer in layers]
    return tuple(int(sum(side_by_side((m.weight.numel() + 1) // 2) for m in each)) for each in linear)


def blocks(model: nn.Module, number: int) -> nn.ModuleList | None:
    """Return the list of a model's layers, or None."""
    lists = (m for m in model.modules() if isinstance(m, nn.ModuleList))
    return next((found for found in lists if len(found) == number), None)


class _Stretches(CachingAllocator):
    """An allocator that keeps the highest of each stretch of a step."""

    def __init__(self) -> None:
        super().__init__()
        self.stretch = "before"
        self.highest: dict[str, int] = {}
        self.phases: dict[str, int] = {}

    def malloc(self, num_bytes: int) -> Block:
        block = super().malloc(num_bytes)
        self.highest[self.stretch] = max(self.highest.get(self.stretch, 0), self.allocated)
        return block

    def reset_peaks(self) -> None:
        super().reset_peaks()
        self.highest.clear()

    def follow(self, model: PreTrainedModel, number: int) -> None:
        """Begin a stretch where a layer begins, forth or back; those between first and last are one."""
        names = ["first", *["middle"] * (number - 2), "last"]
        for name, layer in zip(names, blocks(model, number) or (), strict=False):
            layer.register_forward_pre_hook(functools.partial(self._enter, name))
            layer.register_forward_hook(functools.partial(self._leave, name))

    def watch(self, event: str) -> None:
        """Begin the stretches of a step that are of no layer."""
        if event in ("begins", "backward"):
            self.stretch = {"begins": "before", "backward": "optimizer"}[event]

    def _enter(self, name: str, *_: Any) -> None:
        self.stretch = f"back {name}" if _is_backward() else name

    def _leave(self, name: str, _layer: nn.Module, _inputs: Any, output: Any) -> None:
        if _is_backward():  # computed again
            return
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        if hidden.requires_grad:
            hidden.register_hook(lambda _: self._enter(name))
        if name == "last":
            self.stretch = "head"


_KEPT: dict[str, _Stretches] = {}


def _is_backward() -> bool:
    return torch._C._current_graph_task_id() >= 0


def _rehearsed_once(work: Workload) -> _Stretches:
    """Return a rehearsal, kept for plans that differ in how many layers of the deep model stream."""
    if (key := repr(work)) not in _KEPT:
        while len(_KEPT) >= _AT_MOST:
            del _KEPT[next(iter(_KEPT))]
        _KEPT[key] = _rehearsed(work)
    return _KEPT[key]


def _rehearsed(work: Workload) -> _Stretches:
    allocator, model = _Stretches(), skeleton.build(work)
    allocator.follow(model, work.architecture.num_hidden_layers)
    allocator.phases = training_rehearsal.rehearse(work, allocator, allocator.watch, model=model)
    return allocator
