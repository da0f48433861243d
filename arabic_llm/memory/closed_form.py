"""Peak memory of an optimiser step in closed form: what stays, and the worst moment of what comes and goes.

What stays is counted from the shape. What comes and goes is a sum of products of sizes for each moment of a
step; training/derive.py reads them off the real code into moments.json.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm.config.schema import Precision
from arabic_llm.memory import weights
from arabic_llm.memory.allocator import CachingAllocator
from arabic_llm.memory.workload import Attention, Optimizer, Workload

MOMENTS = Path(__file__).with_name("moments.json")
BYTES = {Precision.float32: 4, Precision.bfloat16: 2, Precision.float16: 2}
_TILE_TOKENS, _TILE_WORDS = 4096, 32768  # of TRL's fused head
MIN_8BIT = 4096  # weights of a tensor below which bitsandbytes keeps moments of 32 bits
MIN_PAGED = 100_000  # and from which its paged optimisers put them in the host's memory (get_state_buffer)
_BLOCK_8BIT = 256  # weights that share a scale
_OF_THE_HEAD = ("tile", "slice", "slices")
_SAMPLE = 16  # copies of a block's tensors that are laid out: several segments


@dataclass(frozen=True)
class Parts:
    """Bytes on the card at the worst moment of a step, by what they are."""

    weights_4bit: float
    weights_kept: float  # in 16 or 32 bits
    adapters: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    workspace: float

    @property
    def allocated(self) -> float:
        """Return the sum: torch.cuda.max_memory_allocated."""
        return float(sum(vars(self).values()))


def predict(work: Workload) -> Parts:
    """Return what the worst moment of an optimiser step holds."""
    trained, nf4, kept = _weights(work)
    float32 = 4
    tensors = _trained_tensors(work)
    round_up = _rounding(tuple(float32 * size for size in tensors))
    gradients = trained * float32 * round_up
    state = (trained * _moments_of_a_weight(work, tensors) - moments_on_host(work)) * round_up
    adapters = 0.0 if work.rank is None else trained * float32 * round_up
    passing, logits = _worst_moment(work)
    # foreach AdamW makes the square roots of all second moments at once (torch/optim/adam.py);
    # bitsandbytes' kernels update in place
    is_foreach = work.optimizer is Optimizer.adamw and not work.optimizer_on_host
    stepping = trained * float32 * round_up if is_foreach else 0.0
    if work.fsdp:
        kept, adapters, gradients, state, stepping = (
            size / work.num_cards for size in (kept, adapters, gradients, state, stepping)
        )
        passing += _gathered(work)
    elif work.num_cards > 1:
        gradients *= 2  # DistributedDataParallel sums them up in buckets beside them
    if stepping > passing + logits:
        passing, logits = stepping, 0.0
    return Parts(nf4, kept, adapters, gradients, state, passing, logits, 2.0 * work.workspace_bytes)


def _gathered(work: Workload) -> float:
    """Return the bytes of whole weights that a card of FSDP holds besides its share, of those trained here.

    Two blocks (one at work, one on its way), and the root with the table of tokens and the head, which stay
    whole; all in the numbers of the computation, with their gradients before these are shared out.
    """
    a = work.architecture
    block = sum(weights.block_tensors(a))
    root = weights.count(a).total - a.num_hidden_layers * block
    grown = 2 if work.rank is None else 1
    return float((2 * block + root) * grown * BYTES[work.compute if work.autocast else work.weights])


def sizes(work: Workload) -> dict[str, float]:
    """Return the sizes that moments are products of, by their letters."""
    a = work.architecture
    return {
        "B": work.batch_size,
        "T": work.tokens,
        "S": work.tokens - 1,
        "K": a.num_key_value_heads,
        "G": a.num_attention_heads / a.num_key_value_heads,
        "D": a.head_dim,
        "h": a.hidden_size / a.num_attention_heads,  # "KGh" is the hidden size
        "f": a.intermediate_size,
        "r": work.rank or 0,
        "V": a.vocab_size,
    }


def value(name: str, of: Mapping[str, float]) -> float:
    """Return a product of sizes: "BTf" is batch x tokens x intermediate size."""
    if name == "tile":
        return min(of["B"] * of["S"], _TILE_TOKENS) * _TILE_WORDS
    if name in ("slice", "slices"):  # of the head, cast to 16 bits; on the way back the next one as well
        words = _TILE_WORDS if name == "slice" else 2 * _TILE_WORDS
        return min(of["V"], words) * math.prod(of[letter] for letter in "KGh")
    return math.prod(of[letter] for letter in name)


def regime(work: Workload) -> str:
    """Return the name of what decides which code runs: all else is sizes."""
    family = work.architecture.model_type
    dropout = "dropout" if work.dropout and work.rank is not None else "plain"
    return " ".join(
        (
            family if family in ("gemma2", "glm") else "llama",
            work.attention.name
            + ("_padded" if work.padded and work.attention is Attention.efficient else ""),
            _trained(work),
            dropout,
            "checkpointing" if work.checkpointing else "stored",
            work.loss.name,
            "autocast" if work.autocast else "float32",
        )
    )


def _trained(work: Workload) -> str:
    if work.rank is None:  # a tied table has the gradient of both its uses, and their sum
        return "full_tied" if work.architecture.tie_word_embeddings else "full"
    return ("nf4" if work.nf4 else "lora") + ("_dora" if work.dora else "")


@functools.cache
def table() -> dict[str, Any]:
    """Return the moments of every regime."""
    found: dict[str, Any] = json.loads(MOMENTS.read_text(encoding="utf-8"))
    return found


def _worst_moment(work: Workload) -> tuple[float, float]:
    """Return the bytes of activations and of logits at the moment when they are most."""
    own, moments = sizes(work), table()[regime(work)]
    more = work.architecture.num_hidden_layers - 1
    worst = (0.0, 0.0)
    for phase in ("forward", "backward", "end"):  # at its end nothing of the layers is left
        layers = more * _total(moments.get(f"layer_{phase}", {}), own)
        for moment in moments[phase]:
            logits = _total({n: s for n, s in moment.items() if "V" in n or n in _OF_THE_HEAD}, own)
            worst = max(worst, (layers + _total(moment, own) - logits, logits), key=sum)
    return worst


def _total(vector: Mapping[str, float], own: Mapping[str, float]) -> float:
    return sum(share * value(name, own) for name, share in vector.items())


def _weights(work: Workload) -> tuple[int, float, float]:
    """Return the number of trained weights, and the bytes of those in 4 bits and of the others."""
    counts = weights.count(work.architecture)
    trained = counts.total
    if work.rank is not None:
        trained = weights.adapter_parameters(
            work.architecture, work.rank, work.target_modules, dora=work.dora
        )
    each = BYTES[work.weights]
    away = weights.embedding_parameters(work.architecture) if work.embedding_on_host else 0
    if not work.nf4:
        return trained, 0.0, float((counts.total - away) * each)
    scale = weights.NF4_BYTES if work.double_quant else 0.5 + 4 / 64
    return trained, counts.linear * scale, float((counts.embedding - away + counts.other) * each)


def _trained_tensors(work: Workload) -> list[int]:
    """Return the parameters of each tensor of a block that is trained."""
    if work.rank is None:
        return weights.block_tensors(work.architecture)
    return weights.adapter_tensors(work.architecture, work.rank, work.target_modules, dora=work.dora)


def moments_on_host(work: Workload) -> float:
    """Return the bytes of moments in the host's memory, which come to the card and go back in a step."""
    if not work.optimizer_on_host:
        return 0.0
    tensors = _trained_tensors(work)
    paged = sum(size for size in tensors if size >= MIN_PAGED) / sum(tensors)
    return _weights(work)[0] * paged * (2 if work.optimizer is Optimizer.adamw_8bit else 8)


def _moments_of_a_weight(work: Workload, tensors: list[int]) -> float:
    """Return the bytes that the moments of a trained weight take on average."""
    if work.optimizer is Optimizer.sgd:
        return 0.0
    if work.optimizer is Optimizer.adamw:
        return 8.0
    in_8bit = sum(size for size in tensors if size >= MIN_8BIT) / sum(tensors)
    return in_8bit * (2 + 2 * 4 / _BLOCK_8BIT) + (1 - in_8bit) * 8


@functools.cache
def _rounding(tensors: tuple[int, ...]) -> float:
    """Return how much more the allocator's blocks hold than the tensors ask for, of so many bytes each."""
    allocator = CachingAllocator()
    for size in tensors * _SAMPLE:
        allocator.malloc(size)
    return allocator.allocated / (_SAMPLE * sum(tensors))
