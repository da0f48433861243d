"""How many sequences are judged at once on a budget: the most that fit, the longest contexts that do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from arabic_llm.config.adapter import AdapterConfig, Method
from arabic_llm.config.adapter import Quantization as Quantized
from arabic_llm.config.hw import GIB, Device, HardwareConfig, Precision
from arabic_llm.config.model import ModelConfig
from arabic_llm.memory import inference_peak
from arabic_llm.memory.inference_peak import ForwardPass, InferenceParts, LoadedModel
from arabic_llm.memory.training_ask import grown, workspace_on
from arabic_llm.memory.training_plan import FRAGMENTS
from arabic_llm.models import families
from arabic_llm.models.batching import CPU_TREE, TOKENS_OF_A_SEQUENCE, most_at_once, rows_of_prompts

QUESTION = 1024  # tokens of a question with its examples: what does not hold it holds nothing
_SHORTEST_ROW = 4  # tokens: two of text between those that open and close it
_STEP = 64  # tokens; a multiple of it is found


@dataclass(frozen=True)
class Room:
    """What a model that is judged may take. Nothing in it depends on what is free at the moment.

    A run that is carried on must make the same batches: padding, and with it rounding, hangs on them.
    """

    held: LoadedModel
    most: int  # sequences at once, however short they are
    budget_bytes: float | None
    is_fixed: bool  # set by hand: hw.eval_batch_size

    def at_once(self, context: int, *, generates: bool, grows: bool = False) -> int:
        """Return how many sequences of so many tokens are judged at once; the last is at least tried."""
        if self.is_fixed:
            return self.most
        sizes = (
            size for size in self.sizes() if self.fits(size, context, generates=generates, grows=grows)
        )
        return next(sizes, 1)

    def sizes(self) -> list[int]:
        """Return the powers of 2 that may be judged at once, the largest first; or what was set by hand."""
        if self.is_fixed:
            return [self.most]
        return [1 << power for power in reversed(range(self.most.bit_length()))]

    def fits(self, size: int, context: int, *, generates: bool, grows: bool = False) -> bool:
        """Return whether so many sequences stay within the budget; a family without a row is tried."""
        is_counted = families.known(self.held.architecture.model_type) is not None
        worst = self.worst(size, context, generates=generates, grows=grows) if is_counted else None
        return worst is None or self.is_within(worst)

    def is_within(self, parts: InferenceParts) -> bool:
        """Return whether a pass stays within the budget."""
        return self.budget_bytes is None or self.needed(parts) <= self.budget_bytes

    def needed(self, parts: InferenceParts) -> float:
        """Return the bytes that are taken from the card, with the holes between blocks; a CPU has none."""
        holes = 0.0 if self.held.on_cpu else FRAGMENTS * (parts.activations + parts.logits)
        return parts.allocated + holes

    def longest(self, size: int, max_length: int, *, generates: bool) -> int:
        """Return the tokens of the longest contexts of which so many fit at once; 0: there are none."""
        if self.fits(size, max_length, generates=generates):
            return max_length
        found, low, high = 0, 1, max_length // _STEP
        while low <= high:
            middle = (low + high) // 2
            if self.fits(size, middle * _STEP, generates=generates):
                found, low = middle * _STEP, middle + 1
            else:
                high = middle - 1
        return found

    def worst(self, size: int, context: int, *, generates: bool, grows: bool = False) -> InferenceParts:
        """Return what the worst pass holds, of so many sequences of so many tokens, scored or said too.

        `grows`: said by lm-eval's own class, whose cache grows.
        """
        if self.held.is_masked_model:
            shapes = masked(size, context)
        else:
            shapes = scoring(self.held, size, context)
            shapes = chain(shapes, generation(self.held, size, context) if generates else ())
            shapes = chain(shapes, growing(size, context) if grows else ())
        return max((inference_peak.predict(self.held, shape) for shape in shapes), key=self.needed)


def room(model: ModelConfig, adapter: AdapterConfig, hw: HardwareConfig) -> Room:
    """Return what a model may take that is judged on hw, before and after it was trained alike.

    Budgets are of cards: on a CPU they are met as if the card were there.
    """
    held = hold(model, adapter, hw, adapted=adapter.rank is not None)
    budget = None if hw.usable_gib is None else hw.usable_gib * GIB
    found = Room(held, hw.eval_batch_size or most_at_once(hw), budget, hw.eval_batch_size is not None)
    return found if hw.streamed_layers is not None else _streamed(found, min(QUESTION, model.max_length))


def _streamed(found: Room, context: int) -> Room:
    """Return a room where as many layers stream as a question of so many tokens needs; most often none."""
    layers = found.held.architecture.num_hidden_layers

    def of(count: int) -> Room:
        return replace(found, held=replace(found.held, streamed_layers=count))

    def holds(room: Room) -> bool:
        return room.fits(1, context, generates=True)

    if not found.held.nf4 or holds(found) or not holds(of(layers)):
        return found
    return of(bisect_left(range(layers), True, key=lambda count: holds(of(count))))


def hold(model: ModelConfig, adapter: AdapterConfig, hw: HardwareConfig, *, adapted: bool) -> LoadedModel:
    """Return a model as it lies on hw to be judged, with its adapter or without."""
    on_cpu = hw.device is Device.cpu and hw.usable_gib is None
    precision = hw.precision
    if adapter.method is Method.full:
        precision = Precision.float32
    elif precision is Precision.auto:  # bfloat16 or float16: as many bytes
        precision = Precision.float32 if on_cpu else Precision.bfloat16
    return LoadedModel(
        architecture=grown(model.architecture, adapter) if adapted else model.architecture,
        nf4=adapter.quantization is Quantized.nf4,
        dtype=precision,
        rank=adapter.rank if adapted else None,
        target_modules=tuple(adapter.target_modules) if adapted else (),
        dora=adapter.use_dora and adapted,
        adapter_sizes=adapter.tensor_sizes if adapted else (),
        new_tokens=adapter.num_new_tokens if adapted else 0,
        streamed_layers=hw.streamed_layers or 0,
        on_cpu=on_cpu,
        workspace_bytes=workspace_on(hw),
    )


def scoring(held: LoadedModel, size: int, context: int) -> Iterator[ForwardPass]:
    """Yield the widest pass of the scorer: a tree behind a whole context, after another such tree."""
    tokens = size * TOKENS_OF_A_SEQUENCE
    wanted = min(tokens, CPU_TREE) if held.on_cpu else tokens
    yield ForwardPass(1, tokens, context, context + tokens, wanted, masked=True)


def generation(held: LoadedModel, size: int, context: int) -> Iterator[ForwardPass]:
    """Yield the passes of answering that may hold most: of prompts, alone or behind examples, the last."""
    device, own = "cpu" if held.on_cpu else "cuda", min(TOKENS_OF_A_SEQUENCE, context // 2)
    for tokens, shared in ((context, 0), (own, context - own)):
        rows, room = rows_of_prompts(size, tokens, device), (size, tokens)
        if shared and size == 1:
            return  # one prompt shares nothing
        yield ForwardPass(
            *(rows, tokens, shared, 0, rows),
            masked=rows > 1,
            is_scored=False,
            in_place=room,
            shared=shared,
        )
        yield ForwardPass(
            *(size, 1, context - 1, 0, size),
            masked=size > 1,
            is_scored=False,
            in_place=room,
            shared=shared,
            apart=shared > 0,
        )


def growing(size: int, context: int) -> Iterator[ForwardPass]:
    """Yield such passes of lm-eval's own class: all prompts at once, and a cache that is copied to grow."""
    padded = size > 1
    yield ForwardPass(size, context, 0, 0, size, padded, is_scored=False)
    yield ForwardPass(size, 1, context - 1, context - 1, size, padded, is_scored=False)


def masked(size: int, context: int) -> Iterator[ForwardPass]:
    """Yield the widest passes of a masked model: of as many tokens, long rows or many short ones."""
    for tokens in (context, min(context, _SHORTEST_ROW)):
        rows = max(1, size * TOKENS_OF_A_SEQUENCE // tokens)
        yield ForwardPass(rows, tokens, wanted=rows, masked=rows > 1)
