"""Keys and values of prompts that are answered together: what all begin with once, the rest in place.

Shapes: B rows, N new tokens of each, P tokens of the beginning that all share, S slots of a row's own,
K heads of keys and G of queries for each of them, D numbers of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Cache, DynamicCache, DynamicLayer, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_NAME = "arabic_llm_rows"
_POSITIONS = {"position_ids", "position_embeddings", "cache_position"}  # the queries have them already


class OtherAttentionError(Exception):
    """A model's attention asks for more than this file computes."""


class RowCache(Cache):  # type: ignore[misc]
    """A cache whose rows lie in place: no token is copied when the next one comes, or a row leaves.

    Rows end where the last of their slots was written, so that shorter prompts begin with unused ones.
    """

    def __init__(self, num_rows: int, num_slots: int, shared: DynamicCache | None) -> None:
        """Make room, once the first keys come, for so many tokens of each row behind what they share."""
        self.shared = [] if shared is None else [(layer.keys, layer.values) for layer in shared.layers]
        self.num_rows, self.num_slots = num_rows, num_slots
        self.num_shared = self.shared[0][0].shape[-2] if self.shared else 0
        self.rows, self.slots = slice(0, num_rows), slice(0, 0)  # that the next pass writes
        self.first = 0  # slot of theirs that may be seen
        self.is_apart = False  # whether what is shared is left to `attend`
        self.num_attended = 0
        super().__init__(layer_class_to_replicate=lambda: _RowLayer(self))

    @property
    def num_before(self) -> int:
        """Return the tokens of a row before those of the next pass, as far as they may be seen."""
        return self.num_shared + self.slots.start - self.first

    def place(self, rows: slice, first: int, slots: slice) -> None:
        """Let the next pass write these slots of these rows, which may see those from `first` on."""
        self.rows, self.first, self.slots = rows, first, slots

    def move(self, source: int, target: int) -> None:
        """Let a row lie where another lay, which is gone."""
        for layer in self.layers:
            layer.keys[target, :, : self.slots.stop] = layer.keys[source, :, : self.slots.stop]
            layer.values[target, :, : self.slots.stop] = layer.values[source, :, : self.slots.stop]

    @contextmanager
    def apart(self, model: PreTrainedModel) -> Iterator[None]:
        """Let rows of one new token each attend to what they share as one, not each to a copy.

        Raises OtherAttentionError where a model does not leave it to `attend`.
        """
        configs = _configs(model)
        before = [config._attn_implementation for config in configs]
        self.is_apart, self.num_attended = True, 0
        ALL_ATTENTION_FUNCTIONS[_NAME] = self.attend
        for config in configs:
            config._attn_implementation = _NAME
        try:
            yield
        finally:
            self.is_apart = False
            del ALL_ATTENTION_FUNCTIONS[_NAME]
            for config, name in zip(configs, before, strict=True):
                config._attn_implementation = name
        if self.num_attended != len(self.layers):
            raise OtherAttentionError(f"{self.num_attended} of {len(self.layers)} layers attended")

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        """Return attention of one token a row (B, 1, K * G, D), as transformers' interface has it.

        The mask says of all that is before them (B, 1, 1, P + S) whether it is seen.
        """
        layer = self.layers[module.layer_idx]
        more = [n for n, v in options.items() if isinstance(v, torch.Tensor) and n not in _POSITIONS]
        if layer.seen is not key or query.shape[2] != 1 or more:
            raise OtherAttentionError(", ".join(more) or "keys")
        self.num_attended += 1
        shared_keys, shared_values = (states[0] for states in layer.shared)
        rows, heads, width, num_keys = query.shape[0], query.shape[1], query.shape[-1], key.shape[1]
        scaling, softcap = options.get("scaling"), options.get("softcap")
        query = query * (width**-0.5 if scaling is None else scaling)
        packed = query.reshape(rows, num_keys, heads // num_keys, width)
        scores = torch.cat([_of_all(packed, shared_keys.mT), packed @ key.mT], dim=-1)  # (B, K, G, P + S)
        if softcap is not None:
            scores.div_(softcap).tanh_().mul_(softcap)
        if attention_mask is not None:
            scores.masked_fill_(~attention_mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
        of_shared, of_own = weights[..., : self.num_shared], weights[..., self.num_shared :]
        said = _of_all(of_shared, shared_values) + of_own @ value
        return said.reshape(rows, heads, 1, -1).transpose(1, 2), None


class _RowLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of a cache of rows."""

    def __init__(self, cache: RowCache) -> None:
        super().__init__()
        self.cache = cache
        self.shared = cache.shared[len(cache.layers)] if cache.shared else None
        self.seen: torch.Tensor | None = None  # the keys that were handed out last

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        rows, slots = self.cache.num_rows, self.cache.num_slots
        # Zeros: a slot that is not seen is multiplied with 0, and nan would stay nan.
        self.keys, self.values = (
            states.new_zeros(rows, states.shape[1], slots, states.shape[-1])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a pass's keys and values; return those that its rows see, behind what they share."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self.cache
        self.keys[cache.rows, :, cache.slots] = key_states
        self.values[cache.rows, :, cache.slots] = value_states
        seen = slice(cache.first, cache.slots.stop)
        keys, values = self.keys[cache.rows, :, seen], self.values[cache.rows, :, seen]
        if self.shared is not None and not cache.is_apart:
            before = (states.expand(len(keys), -1, -1, -1) for states in self.shared)
            keys, values = (torch.cat(both, dim=-2) for both in zip(before, (keys, values), strict=True))
        self.seen = keys if cache.is_apart else None  # copies are not held
        return keys, values

    def get_seq_length(self) -> int:
        """Return the tokens before those of the pass, as far as they may be seen."""
        return self.cache.num_before


def _of_all(each: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """Return the product of rows (B, K, G, X) with what they share (K, X, Y), which is read once."""
    rows, num_keys, groups, size = each.shape
    together = each.transpose(0, 1).reshape(num_keys, rows * groups, size)
    return (together @ shared).view(num_keys, rows, groups, -1).transpose(0, 1)


def _configs(model: PreTrainedModel) -> list[Any]:
    """Return the configurations that a model's modules read how they attend from."""
    found = {id(model.config): model.config}
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            found[id(config)] = config
    return list(found.values())
