"""Greedy answers to many prompts at once: a row that has ended leaves, what all begin with is read once.

Shapes: B rows, N new tokens of each, P tokens that all share, S slots of a row's own (its prompt to the
right of them, then what it says), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, PreTrainedModel

from arabic_llm.evaluation import masks
from arabic_llm.evaluation.generating import StopAtNotFinite, Wish
from arabic_llm.evaluation.row_cache import OtherAttentionError, RowCache
from arabic_llm.models.batching import rows_of_prompts


@dataclass
class _Row:
    index: int
    said: list[int] = field(default_factory=list)


class Beginning:
    """Keys and values of what prompts begin with, kept until others begin otherwise."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Take the model that reads it."""
        self._model = model
        self._ids: Sequence[int] = ()
        self._cache: DynamicCache | None = None

    def read(self, ids: Sequence[int]) -> DynamicCache | None:
        """Return the keys and values of these ids; of none nothing."""
        if ids != self._ids:
            self._cache = None  # before the next one takes its room
            self._cache, self._ids = _read(self._model, ids), ids
        return self._cache


def _read(model: PreTrainedModel, ids: Sequence[int]) -> DynamicCache | None:
    if not ids:
        return None
    cache = DynamicCache()  # full layers, of sliding ones too: masks say what slides out
    with torch.inference_mode():
        given = torch.tensor([ids], device=model.device)
        model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache


def say(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    names: Sequence[str],
    wish: Wish,
    shared: DynamicCache | None,
) -> list[list[int]]:
    """Return the ids that are said after each prompt, of which the shared ids are left out.

    Raises ModelError, naming the prompt, where logits are not finite.
    """
    with torch.inference_mode():
        return _Batch(model, prompts, names, wish, shared).run()


class _Batch:
    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        names: Sequence[str],
        wish: Wish,
        shared: DynamicCache | None,
    ) -> None:
        self.model, self.prompts, self.names, self.wish = model, prompts, names, wish
        self.longest = max(map(len, prompts))
        # The last token that is said is not read.
        self.cache = RowCache(len(prompts), self.longest + wish.most - 1, shared)
        self.rows = [_Row(index) for index in range(len(prompts))]
        self.unused = torch.tensor([self.longest - len(ids) for ids in prompts], device=model.device)
        self.is_apart = shared is not None and getattr(model, "_supports_attention_backend", False)

    def run(self) -> list[list[int]]:
        said: list[list[int]] = [row.said for row in self.rows]
        tokens = [token for part in self._parts() for token in self._read(part)]
        end = self.longest
        while self._leave(tokens):
            tokens = self._next([row.said[-1] for row in self.rows], end)
            end += 1
        return said

    def _parts(self) -> Iterator[slice]:
        """Yield rows whose prompts are read in one pass."""
        start = 0
        while start < len(self.rows):
            size = rows_of_prompts(len(self.rows), len(self.prompts[start]), self.model.device.type)
            yield slice(start, min(len(self.rows), start + size))
            start += size

    def _leave(self, tokens: Sequence[int]) -> int:
        """Let each row say a token, and those that have ended leave; return how many are left.

        The last row takes the place of one that leaves.
        """
        for row, token in zip(self.rows, tokens, strict=True):
            row.said.append(token)
        for at in reversed(range(len(self.rows))):
            if not self.wish.has_ended(self.rows[at].said):
                continue
            last = len(self.rows) - 1
            if at < last:
                self.cache.move(last, at)
                self.unused[at] = self.unused[last]
                self.rows[at] = self.rows[last]
            self.rows.pop()
        return len(self.rows)

    def _read(self, part: slice) -> list[int]:
        """Read prompts, whose last ids lie side by side, and return what is said first after each."""
        prompts = self.prompts[part]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(prompt)) + [*prompt] for prompt in prompts])
        first = self.longest - width
        return self._forward(ids.to(self.model.device), part, first, first)

    def _next(self, tokens: Sequence[int], slot: int) -> list[int]:
        """Read the last token of each row, and return the next."""
        ids, rows = torch.tensor(tokens, device=self.model.device)[:, None], slice(0, len(tokens))
        if self.is_apart:
            try:
                with self.cache.apart(self.model):
                    return self._forward(ids, rows, 0, slot)
            except OtherAttentionError:  # each row then attends to a copy of what it shares
                self.is_apart = False
        return self._forward(ids, rows, 0, slot)

    def _forward(self, ids: torch.Tensor, rows: slice, first: int, start: int) -> list[int]:
        """Run ids (B, N) of some rows in their slots from `start` on, which see those from `first` on."""
        slots = slice(start, start + ids.shape[1])
        self.cache.place(rows, first, slots)
        unused = self.unused[rows]
        positions = torch.arange(slots.start, slots.stop, device=ids.device) - unused[:, None]
        positions = self.cache.num_shared + positions
        logits = self.model(
            input_ids=ids,
            position_ids=positions.clamp(min=0),
            attention_mask=self._masks(positions, unused),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        names = [self.names[row.index] for row in self.rows[rows]]
        scores = StopAtNotFinite(names)(ids, logits.to(copy=True, dtype=torch.float32))
        said: list[int] = scores.argmax(-1).tolist()
        return said

    def _masks(self, positions: torch.Tensor, unused: torch.Tensor) -> masks.Masks:
        """Return who sees whom; None, where a model's own answer is the same: all that is before."""
        cache, device = self.cache, positions.device
        slots = torch.arange(cache.first, cache.slots.stop, device=device)
        looking = torch.arange(cache.slots.start, cache.slots.stop, device=device)
        is_even = not bool((unused > cache.first).any())
        is_plain = masks.window(self.model) is None and self.model.config._attn_implementation != "eager"
        if is_even and is_plain and (len(looking) == 1 or cache.num_before == 0):
            return None
        # What is unused sees itself: softmax over nothing is nan.
        used = (slots >= unused[:, None])[:, None] & (slots <= looking[:, None])
        sees = used | (slots == looking[:, None])
        shared = torch.arange(cache.num_shared, device=device)
        sees = torch.cat([sees.new_ones(*sees.shape[:2], len(shared)), sees], dim=-1)
        before = torch.cat(
            [shared.expand(len(unused), -1), cache.num_shared + slots - unused[:, None]], dim=-1
        )
        additive = False if cache.is_apart else None
        return masks.of_layers(self.model, sees, positions, before, additive=additive)
