"""Memory over an optimiser step, by what it is for: of tensors on meta, or of real ones on a CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from arabic_llm.memory.allocator import Block, CachingAllocator
from arabic_llm.profiling.trace import Trace, held_by

KINDS = ("weights", "trained", "optimizer", "gradients", "activations", "logits")
_WEIGHTS, _TRAINED, _OPTIMIZER, _GRADIENTS, _ACTIVATIONS, _LOGITS = range(len(KINDS))
_TILE_WORDS = 32768  # of TRL's fused head
_MATRIX = 2  # dimensions
_COLUMNS = 240  # of a curve that is kept


class Exact(CachingAllocator):
    """An allocator that rounds nothing: on a CPU what tensors hold is all that can be counted."""

    def malloc(self, num_bytes: int) -> Block:
        """Return a block of just that size."""
        self.allocated += num_bytes
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return Block(num_bytes, 0, is_small=False)

    def release(self, block: Block) -> None:
        """Take a block back."""
        self.allocated -= block.size


@dataclass(frozen=True)
class Moment:
    """Bytes held after an operation, in the order of KINDS."""

    phase: str  # forward, backward, optimizer
    held: tuple[int, ...]


class Timeline(Trace):  # type: ignore[no-untyped-call]
    """A trace that knows what each storage is for, and keeps the moments of the pass that held most."""

    def __init__(self, allocator: CachingAllocator, vocab_size: int, *, of_a_run: bool = False) -> None:
        """Take the allocator that is asked, and the words of a row of logits."""
        super().__init__(allocator, of_a_run=of_a_run)
        self._words = (vocab_size, min(vocab_size, _TILE_WORDS), _TILE_WORDS)
        self._phase = ""  # nothing has run: what is seen are weights
        self._held = [0] * len(KINDS)
        self._storages: dict[int, tuple[int, int]] = {}  # (kind, bytes)
        self._hooks: list[Any] = []
        self._parameters: list[nn.Parameter] = []
        self._is_stepping = False
        self.forget()

    def forget(self) -> None:
        """Begin the curve anew, for the step that comes."""
        self._pass: list[Moment] = []
        self._fullest: list[Moment] = []

    def follow(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """See what the optimiser holds, and from here on gradients come and phases begin."""
        self._phase, self._is_stepping = "optimizer", True
        for state in optimizer.state.values():
            for tensor in state.values():
                if isinstance(tensor, torch.Tensor):
                    self.see(tensor)
        self._is_stepping = False
        self._hooks.append(model.register_forward_pre_hook(lambda *_: self._count(self._begin, "forward")))
        self._hooks.append(
            optimizer.register_step_pre_hook(lambda *_: self._count(self._begin, "optimizer"))
        )
        self._hooks.append(optimizer.register_step_post_hook(lambda *_: self._count(self._step_ends)))
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in self._parameters:
            hook = parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda trained: self._count(self._mark_gradient, trained)
            )
            self._hooks.append(hook)

    def close(self) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._parameters = []

    def curve(self) -> list[Moment]:
        """Return the pass that held most and the optimiser's step, a few hundred moments at most.

        Of moments that fall together the one that held most is kept.
        """
        moments = [*self._fullest, *self._pass]
        size = -(-len(moments) // _COLUMNS) or 1
        some = (moments[start : start + size] for start in range(0, len(moments), size))
        return [max(few, key=lambda moment: sum(moment.held)) for few in some]

    def _before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        """Note what an operation writes to."""
        if self._phase == "forward" and torch._C._current_graph_task_id() >= 0:
            self._phase = "backward"
        if func._schema.is_mutable:
            for tensor in tree_leaves((args, kwargs)):
                if isinstance(tensor, torch.Tensor):
                    self._was_there(tensor)

    def _after(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        """Account for an operation, then note what is held."""
        super()._after(func, args, out)
        if not self._pass or self._pass[-1].held != tuple(self._held):
            self._pass.append(Moment(self._phase, tuple(self._held)))

    def see(self, tensor: torch.Tensor, block: Block | None = None) -> None:
        """Account for a tensor, and note what it is for."""
        for inner in held_by(tensor):
            if inner.untyped_storage()._cdata not in self._live:
                self._note(inner.untyped_storage(), self._kind(tensor))
            super().see(inner, block)

    def _was_there(self, tensor: torch.Tensor) -> None:
        """Account for what is written to and was made before anybody looked: it was there all the time.

        So are the buckets that DistributedDataParallel sums gradients in, which no Python object shows.
        """
        for inner in held_by(tensor):
            storage = inner.untyped_storage()
            if storage._cdata in self._live or not storage.nbytes():
                continue
            is_bucket = self._phase == "backward" and tensor.numel() > 1  # and not the sum of losses
            kind = _GRADIENTS if is_bucket else self._kind(tensor)
            peak, before = self.allocator.peak_allocated, self.allocator.allocated
            self._note(storage, kind)
            self._take(storage)
            size = self.allocator.allocated - before
            self.allocator.peak_allocated = peak + size
            for moments in (self._pass, self._fullest):
                moments[:] = [_with(moment, kind, size) for moment in moments]

    def _filled(self, storage: torch.UntypedStorage) -> None:
        # FSDP puts whole weights together in storages that it empties after use.
        self._note(storage, _WEIGHTS)
        super()._filled(storage)

    def _note(self, storage: torch.UntypedStorage, kind: int) -> None:
        if size := storage.nbytes():
            self._storages[storage._cdata] = (kind, size)
            self._held[kind] += size

    def _gone(self, key: int) -> None:
        if key in self._live:
            kind, size = self._storages.pop(key)
            self._held[kind] -= size
        super()._gone(key)

    def _begin(self, phase: str) -> None:
        if self._phase in ("forward", "backward"):
            self._fullest = max(self._fullest, self._pass, key=_most)
        for parameter in self._parameters:
            self._mark_gradient(parameter)  # FSDP sets it without a hook
        self._phase, self._pass, self._is_stepping = phase, [], phase == "optimizer"

    def _step_ends(self) -> None:
        self._is_stepping = False

    def _mark_gradient(self, parameter: torch.Tensor) -> None:
        if parameter.grad is None:
            return
        for inner in held_by(parameter.grad):
            if (key := inner.untyped_storage()._cdata) in self._storages:
                kind, size = self._storages[key]
                self._storages[key] = (_GRADIENTS, size)
                self._held[kind] -= size
                self._held[_GRADIENTS] += size

    def _kind(self, tensor: torch.Tensor) -> int:
        if not self._phase:
            return _TRAINED if tensor.requires_grad else _WEIGHTS
        if self._phase == "optimizer":
            if self._is_stepping:
                return _OPTIMIZER
            # between steps the batch comes, and DistributedDataParallel makes its flat buckets anew
            return _GRADIENTS if tensor.is_floating_point() and tensor.dim() == 1 else _ACTIVATIONS
        is_row_of_logits = tensor.dim() >= _MATRIX and tensor.shape[-1] in self._words
        return _LOGITS if is_row_of_logits else _ACTIVATIONS


def _with(moment: Moment, kind: int, size: int) -> Moment:
    held = list(moment.held)
    held[kind] += size
    return replace(moment, held=tuple(held))


def _most(moments: list[Moment]) -> int:
    return max((sum(moment.held) for moment in moments), default=0)
