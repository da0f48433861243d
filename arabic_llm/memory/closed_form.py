"""Peak memory of an optimiser step in closed form: what stays, and the worst moment of what comes and goes.

What stays is counted from the shape. What comes and goes is so many tensors of each product of sizes at
each moment of a step; training/derive.py reads them off the real code into moments.json. Each tensor takes the
block that PyTorch's allocator gives to many of its size.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm.config.schema import Precision
from arabic_llm.memory import weights
from arabic_llm.memory.allocator import in_a_hole, side_by_side
from arabic_llm.memory.workload import Attention, Optimizer, Workload

MOMENTS = Path(__file__).with_name("moments.json")
BYTES = {Precision.float32: 4, Precision.bfloat16: 2, Precision.float16: 2}
_TILE_TOKENS, _TILE_WORDS = 4096, 32768  # of TRL's fused head
MIN_8BIT = 4096  # weights of a tensor below which bitsandbytes keeps moments of 32 bits
_BLOCK_8BIT = 256  # weights that share a scale
_SLICES = ("slice", "slices")
_OF_THE_HEAD = ("tile", *_SLICES)


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
    """Return what the worst moment of an optimiser step holds, in blocks of the allocator."""
    nf4, kept = _weights(work)
    trained = _trained_tensors(work)
    float32 = _blocks({4 * size: number for size, number in trained.items()})
    adapters = 0.0 if work.rank is None else float32
    gradients = _gradients(work, trained)
    state = 0.0 if work.optimizer_on_host else _blocks(_moments(work, trained))
    passing, logits = _worst_moment(work)
    # foreach AdamW makes the square roots of all second moments at once (torch/optim/adam.py);
    # bitsandbytes' kernels update in place
    is_foreach = work.optimizer is Optimizer.adamw and not work.optimizer_on_host
    stepping = float32 if is_foreach else 0.0
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
    """Return the bytes of a tensor: "2BTf" is two times batch x tokens x intermediate size."""
    share, letters = _split(name)
    if letters == "tile":
        return share * min(of["B"] * of["S"], _TILE_TOKENS) * _TILE_WORDS
    if letters in _SLICES:  # of the head, cast to 16 bits; on the way back the next one as well
        words = _TILE_WORDS if letters == "slice" else 2 * _TILE_WORDS
        return share * min(of["V"], words) * math.prod(of[letter] for letter in "KGh")
    return share * math.prod(of[letter] for letter in letters)


@functools.cache
def _split(name: str) -> tuple[float, str]:
    letters = name.lstrip("0123456789.")
    return float(name.removesuffix(letters)), letters


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


def is_bound(work: Workload) -> bool:
    """Return whether a larger set of the table stands for the layers that have an adapter."""
    sets = weights.target_sets(work.architecture)
    return work.rank is not None and _targets(work) != sets[_target_set(work)]


def _trained(work: Workload) -> str:
    if work.rank is None:  # a tied table has the gradient of both its uses, and their sum
        return "full_tied" if work.architecture.tie_word_embeddings else "full"
    where = _target_set(work)
    return ("nf4" if work.nf4 else "lora") + ("_dora" if work.dora else "") + f"_{where}" * (where != "all")


def _target_set(work: Workload) -> str:
    """Return the name of the smallest set in the table that holds all layers with an adapter."""
    if work.dora:
        return "all"
    sets = weights.target_sets(work.architecture)
    return next(name for name, layers in sets.items() if _targets(work) <= layers)


def _targets(work: Workload) -> frozenset[str]:
    named = frozenset(work.target_modules)
    return frozenset(weights.linear_shapes(work.architecture)) if named == {weights.ALL_LINEAR} else named


@functools.cache
def table() -> dict[str, Any]:
    """Return the moments of every regime."""
    found: dict[str, Any] = json.loads(MOMENTS.read_text(encoding="utf-8"))
    return found


def _worst_moment(work: Workload) -> tuple[float, float]:
    """Return the bytes of activations and of logits at the moment when they are most."""
    moments = table()[regime(work)]
    blocks = _Blocks(sizes(work))
    more = work.architecture.num_hidden_layers - 1
    worst = (0.0, 0.0)
    for phase in ("forward", "backward", "end"):  # at its end nothing of the layers is left
        layers = more * blocks.total(moments.get(f"layer_{phase}", {}))
        for moment in moments[phase]:
            logits = blocks.total({n: s for n, s in moment.items() if "V" in n or n.endswith(_OF_THE_HEAD)})
            worst = max(worst, (layers + blocks.total(moment) - logits, logits), key=sum)
    return worst


class _Blocks(dict[str, float]):
    """Bytes that a tensor takes, by its name."""

    def __init__(self, of: Mapping[str, float]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, name: str) -> float:
        self[name] = size = side_by_side(value(name, self._of))
        return size

    def total(self, tensors: Mapping[str, int]) -> float:
        """Return what so many tensors of each name take."""
        return sum(number * self[name] for name, number in tensors.items())


def _weights(work: Workload) -> tuple[float, float]:
    """Return the bytes of the weights in 4 bits and of the others."""
    counts = weights.count(work.architecture)
    each = BYTES[work.weights]
    away = weights.embedding_parameters(work.architecture) if work.embedding_on_host else 0
    if not work.nf4:
        return 0.0, float((counts.total - away) * each)
    scale = weights.NF4_BYTES if work.double_quant else 0.5 + 4 / 64
    return counts.linear * scale, float((counts.embedding - away + counts.other) * each)


def _trained_tensors(work: Workload) -> dict[int, int]:
    """Return how many tensors are trained, by the number of their parameters."""
    a = work.architecture
    if work.rank is not None:
        block = weights.adapter_tensors(a, work.rank, work.target_modules, dora=work.dora)
        return {size: a.num_hidden_layers * number for size, number in Counter(block).items()}
    tables = 1 if a.tie_word_embeddings else 2
    outside = Counter({weights.embedding_parameters(a): tables, a.hidden_size: 1})  # and the last norm
    return outside + Counter(
        {size: a.num_hidden_layers * n for size, n in Counter(weights.block_tensors(a)).items()}
    )


def _gradients(work: Workload, trained: Mapping[int, int]) -> float:
    """Return the bytes of all gradients, each made where a tensor of its layer's way back has gone."""
    moments, of = table()[regime(work)], sizes(work)
    names = {name for phase in ("forward", "backward") for name in moments[f"layer_{phase}"]}
    names.update(*moments["backward"])
    holes = [side_by_side(value(name, of)) for name in names]
    return sum(number * in_a_hole(4 * size, holes) for size, number in trained.items())


def _moments(work: Workload, trained: Mapping[int, int]) -> dict[int, int]:
    """Return how many tensors the optimiser keeps, by their bytes."""
    found: Counter[int] = Counter()
    if work.optimizer is Optimizer.sgd:
        return found
    for size, number in trained.items():
        if work.optimizer is Optimizer.adamw or size < MIN_8BIT:
            found[4 * size] += 2 * number
        else:
            found[size] += 2 * number
            found[4 * -(-size // _BLOCK_8BIT)] += 2 * number
    return found


def moments_on_host(work: Workload) -> float:
    """Return the bytes of moments in the host's memory, which come to the card and go back in a step."""
    if not work.optimizer_on_host:
        return 0.0
    return float(sum(size * number for size, number in _moments(work, _trained_tensors(work)).items()))


def _blocks(tensors: Mapping[int, int]) -> float:
    """Return the bytes of the blocks of so many tensors of each size."""
    return sum(number * side_by_side(size) for size, number in tensors.items())
