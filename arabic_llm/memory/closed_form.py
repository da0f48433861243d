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
from arabic_llm.memory.workload import Attention, Optimizer, Workload

MOMENTS = Path(__file__).with_name("moments.json")
BYTES = {Precision.float32: 4, Precision.bfloat16: 2, Precision.float16: 2}
_TILE_TOKENS, _TILE_WORDS = 4096, 32768  # of TRL's fused head
_STATE_BYTES = {Optimizer.adamw: 8.0, Optimizer.adamw_8bit: 2 + 2 * 4 / 256, Optimizer.sgd: 0.0}


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
    gradients = trained * float32
    state = trained * _STATE_BYTES[work.optimizer]
    adapters = 0.0 if work.rank is None else trained * float32
    passing, logits = _worst_moment(work)
    # foreach AdamW makes the square roots of all second moments at once (torch/optim/adam.py)
    stepping = 0.0 if work.optimizer is Optimizer.adamw_8bit else trained * float32
    if stepping > passing + logits:
        passing, logits = stepping, 0.0
    return Parts(nf4, kept, adapters, gradients, state, passing, logits, 2.0 * work.workspace_bytes)


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
            "full" if work.rank is None else "nf4" if work.nf4 else "lora",
            dropout,
            "checkpointing" if work.checkpointing else "stored",
            work.loss.name,
            "autocast" if work.autocast else "float32",
        )
    )


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
    for phase in ("forward", "backward"):
        layers = more * _total(moments[f"layer_{phase}"], own)
        for moment in moments[phase]:
            logits = _total({n: s for n, s in moment.items() if n == "tile" or "V" in n}, own)
            worst = max(worst, (layers + _total(moment, own) - logits, logits), key=sum)
    return worst


def _total(vector: Mapping[str, float], own: Mapping[str, float]) -> float:
    return sum(share * value(name, own) for name, share in vector.items())


def _weights(work: Workload) -> tuple[int, float, float]:
    """Return the number of trained weights, and the bytes of those in 4 bits and of the others."""
    counts = weights.count(work.architecture)
    trained = (
        counts.total if work.rank is None else weights.adapter_parameters(work.architecture, work.rank)
    )
    each = BYTES[work.weights]
    if not work.nf4:
        return trained, 0.0, float(counts.total * each)
    scale = weights.NF4_BYTES if work.double_quant else 0.5 + 4 / 64
    return trained, counts.linear * scale, float((counts.embedding + counts.other) * each)
