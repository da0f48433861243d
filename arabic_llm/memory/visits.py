"""What layers that visit the card take there and on the host, and what goes over the bus for them.

Packed weights alone move: half a byte each. Their scales, norms and biases stay on the card.
"""

from __future__ import annotations

from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.memory import static, weights
from arabic_llm.memory.allocator import side_by_side
from arabic_llm.memory.static import BYTES
from arabic_llm.memory.workload import Workload
from arabic_llm.models import families, visitors
from arabic_llm.models.families import linear_shapes

_THERE = 2  # layers at once: the one that computes, and the next on its way
_OF_A_PASS = 2  # visits of a layer: for the forward pass, and to be computed again
# all_gather makes the next layer in one piece while the last one's piece is not yet given back (FSDP2)
_GATHERED = 3


def packed_layer(a: ArchitectureConfig) -> float:
    """Return the bytes of the packed weights of a layer, in blocks of the allocator."""
    return sum(side_by_side(size) for size in _sizes(a))


def on_card(a: ArchitectureConfig, streamed: int) -> float:
    """Return the bytes that visitors take on the card: each weight arrives beside its place (FSDP2)."""
    if not streamed:
        return 0.0
    return min(_THERE, streamed) * packed_layer(a) + side_by_side(max(_sizes(a)))


def gathered(a: ArchitectureConfig) -> float:
    """Return the bytes of packed weights that a card holds beside its part of those shared out."""
    return _GATHERED * packed_layer(a)


def pinned(work: Workload) -> float:
    """Return the bytes of the host's memory that streamed layers lie in."""
    if not work.streamed_layers:
        return 0.0
    if each := work.packed_layers:
        return float(sum(each[number] for number in visitors.streamed(work.streamed_layers, len(each))))
    return work.streamed_layers * packed_layer(work.architecture)


def on_host(work: Workload) -> float:
    """Return the bytes of the host's memory that a run needs for what is not on the card.

    What is trained of a family that no table knows is not counted, nor are its moments.
    """
    tables = (work.embedding_on_host + work.head_on_host) * _table(work)
    is_counted = families.known(work.architecture.model_type) is not None
    return pinned(work) + (static.moments_on_host(work) if is_counted else 0.0) + tables


def moved(work: Workload, num_passes: int) -> float:
    """Return the bytes that come over the bus to each card in a step of so many passes."""
    return num_passes * _OF_A_PASS * (pinned(work) + (_table(work) if work.head_on_host else 0.0))


def _table(work: Workload) -> float:
    return float(BYTES[work.weights] * weights.embedding_parameters(work.architecture))


def _sizes(a: ArchitectureConfig) -> list[int]:
    """Return the bytes of each packed weight of a layer."""
    return [(inputs * outputs + 1) // 2 for inputs, outputs in linear_shapes(a).values()]
