"""The plan of judging, as a person reads it: what it needs at most, in batches of how many, what fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from arabic_llm.config.adapter import AdapterConfig, Quantization
from arabic_llm.config.hw import MIB, HardwareConfig
from arabic_llm.config.model import ModelConfig
from arabic_llm.memory import eval_batching, suggestions, visits, wording
from arabic_llm.memory.eval_batching import QUESTION, Room
from arabic_llm.memory.static import BYTES

_ROWS = {  # of the table, by the names of memory.reading.Parts
    "weights_4bit": "weights in 4 bits",
    "weights_kept": "weights kept in {bits} bits",
    "adapters": "adapters (float32)",
    "cache": "cache of keys and values",
    "activations": "activations",
    "logits": "logits, with float32 copies",
    "workspace": "workspace (cuBLAS)",
}


def plan(
    model: ModelConfig, adapter: AdapterConfig, hw: HardwareConfig, typed: Sequence[str]
) -> Iterator[str]:
    """Yield the lines of the plan: of the model with its adapter, that chooses answers and says some."""
    found = eval_batching.room(model, adapter, hw)
    contexts = {size: found.longest(size, model.max_length, generates=True) for size in found.sizes()}
    size = next((size for size, length in contexts.items() if length), 1)
    length = contexts[size] or min(QUESTION, model.max_length)
    worst = found.worst(size, length, generates=True)
    bits, needed = 8 * BYTES[found.held.dtype], found.needed(worst)
    rows = [(text.format(bits=bits), getattr(worst, name)) for name, text in _ROWS.items()]
    yield from wording.table([*rows, ("between blocks", needed - worst.allocated)], needed, hw)
    yield f"the above: {size} at once, contexts of {length:,} tokens of the {model.max_length:,} it reads"
    for size, length in contexts.items():
        if length and not found.is_fixed:
            yield f"{size} at once: contexts up to {length:,} tokens"
    if number := found.held.streamed_layers:
        pinned = number * visits.packed_layer(found.held.architecture)
        yield (
            f"{found.held.architecture.num_hidden_layers - number} layers stay on the card, {number} stream"
            f" from {pinned / MIB:,.0f} MiB of the host's memory, all of them for each pass"
        )
    yield from _verdict(found, model, adapter, hw, typed)


def cures(found: Room, model: ModelConfig, adapter: AdapterConfig, hw: HardwareConfig) -> dict[str, object]:
    """Return settings of which each makes a question fit: 4-bit weights, a shorter question."""
    ways: dict[str, object] = {}
    four_bit = replace(adapter, quantization=Quantization.nf4)
    if not found.held.nf4 and _holds(eval_batching.room(model, four_bit, hw), model):
        ways["adapter.quantization"] = Quantization.nf4.name
    if shorter := found.longest(1, min(QUESTION, model.max_length), generates=True):
        ways["model.max_length"] = shorter
    return ways


def _verdict(
    found: Room, model: ModelConfig, adapter: AdapterConfig, hw: HardwareConfig, typed: Sequence[str]
) -> Iterator[str]:
    """Yield whether a question fits, and where it does not, commands of judgements that do."""
    if _holds(found, model):
        yield "it fits" if found.budget_bytes is not None else f"hw={hw.name} sets no budget"
        return
    yield "it does not fit, not even one question at a time. Evaluations that do:"
    kept = [override for override in typed if not override.lstrip("+~").startswith("task")]
    for key, value in cures(found, model, adapter, hw).items():
        yield f"  {suggestions.command(hw.num_cards, kept, {'task': 'evaluate', key: value})}"
    for name, settings in suggestions.cards():
        if _holds(eval_batching.room(model, adapter, settings), model):
            yield f"  {suggestions.command(settings.num_cards, kept, {'task': 'evaluate', 'hw': name})}"
            break


def _holds(found: Room, model: ModelConfig) -> bool:
    """Return whether a question with its examples fits."""
    return found.fits(1, min(QUESTION, model.max_length), generates=True)
