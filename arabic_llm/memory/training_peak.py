"""Peak memory of an optimiser step in closed form: what stays, and the worst moment of what comes and goes.

What stays is counted from the shape. What comes and goes is so many tensors of each product of sizes at
each moment of a step; profiling/derive.py reads them off the real code into activation_peaks.json. Each
tensor takes the block that PyTorch's allocator gives to many of its size.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arabic_llm.config.hw import Precision
from arabic_llm.config.task import Optimizer
from arabic_llm.memory import static, visits, weights
from arabic_llm.memory.allocator import in_a_hole, side_by_side
from arabic_llm.memory.workload import Attention, Loss, Objective, Workload
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR

MOMENTS = Path(__file__).with_name("activation_peaks.json")
_TILE_TOKENS, _TILE_WORDS = 4096, 32768  # of TRL's fused head
_SLICES = ("slice", "slices")
_OF_THE_HEAD = ("tile", *_SLICES)
_OF_A_LAYER, _OF_NO_LAYER = "KGDhfr", "BTSV"  # letters of sizes: of weights, of tokens and words


@dataclass(frozen=True)
class TrainingParts:
    """Bytes on the card at the worst moment of a step, by what they are."""

    weights_4bit: float = 0.0
    weights_kept: float = 0.0  # in 16 or 32 bits
    adapters: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    workspace: float = 0.0
    visiting: float = 0.0  # layers that stream, or are gathered
    rehearsed: float = 0.0  # all of them, where a rehearsal says it
    holes: float | None = None  # between blocks, where a rehearsal says it

    @property
    def allocated(self) -> float:
        """Return the sum: torch.cuda.max_memory_allocated."""
        return float(sum(size for name, size in vars(self).items() if name != "holes"))


def predict(work: Workload) -> TrainingParts:
    """Return what the worst moment of an optimiser step holds, in blocks of the allocator."""
    nf4, kept = static.weights_held(work)
    trained = static.trained_tensors(work)
    each = static.BYTES[static.precision(work)]
    whole = static.blocks({each * size: number for size, number in trained.items()})
    adapters = 0.0 if work.rank is None else whole
    gradients = _gradients(work, trained)
    state = static.blocks(static.moments(work, trained) - static.moments_away(work, trained))
    # foreach AdamW makes the square roots of all second moments at once (torch/optim/adam.py);
    # bitsandbytes' kernels update in place, and shares are updated one after another
    is_foreach = work.optimizer is Optimizer.adamw and not work.optimizer_on_host and not work.shares_all
    stepping = whole if is_foreach else 0.0
    nf4 -= _packed_away(work)
    if work.shares_all:
        kept, adapters, gradients, state = (
            size / work.num_cards for size in (kept, adapters, gradients, state)
        )
    buckets = (
        gradients if work.num_cards > 1 and not work.shares_all else 0.0
    )  # DistributedDataParallel's own
    here = _visiting(work)  # while layers compute: the head and the optimiser have the card for themselves
    passes = [(*each, 0.0 if each[1] else here) for each in _moments_of_a_pass(work, gradients)]
    passing, logits, gradients, visiting = max([*passes, (stepping, 0.0, gradients, 0.0)], key=sum)
    passing += _gathered(work) if work.shares_all else 0.0
    stays = (nf4, kept, adapters, gradients + buckets, state)
    return TrainingParts(*stays, passing, logits, 2.0 * work.workspace_bytes, visiting)


def _packed_away(work: Workload) -> float:
    """Return the bytes of packed weights that are on the host, or on other cards."""
    if work.shares_packed:
        a = work.architecture
        return a.num_hidden_layers * visits.packed_layer(a) * (1 - 1 / work.num_cards)
    return visits.pinned(work) if work.streamed_layers else 0.0


def _visiting(work: Workload) -> float:
    if work.shares_packed:
        return visits.gathered(work.architecture)
    return visits.on_card(work.architecture, work.streamed_layers)


def _gathered(work: Workload) -> float:
    """Return the bytes of whole weights that a card of FSDP holds besides its share, of those trained here.

    Two blocks (one at work, one on its way), and the root with the table of tokens and the head, which stay
    whole; all in the numbers of the computation, with their gradients before these are shared out.
    """
    a = work.architecture
    block = sum(weights.block_tensors(a))
    root = weights.count(a).total - a.num_hidden_layers * block
    grown = 2 if work.rank is None else 1
    # The loss gathers the head once more, and what it is gathered from lies beside it.
    head = 2 * a.vocab_size * a.hidden_size if work.loss is Loss.tiled else 0
    each = static.BYTES[work.compute if work.autocast else work.weights]
    return float(((2 * block + root) * grown + head) * each)


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
        "C": work.num_labels,
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
    dropout = "dropout" if work.dropout and work.rank is not None else "plain"
    return " ".join(
        (
            families.closed_form(work.architecture) or "none",
            work.attention.name
            + ("_padded" if work.padded and work.attention is Attention.efficient else ""),
            _trained(work),
            dropout,
            "checkpointing" if work.checkpointing else "stored",
            work.loss.name if work.objective is Objective.sft else work.objective.name,
            "autocast" if work.autocast else "float32",
        )
    )


def stands_for(work: Workload) -> list[str] | None:
    """Return the layers whose moments stand for those of an adapter on fewer, or None: they are its own."""
    layers = weights.target_sets(work.architecture)[_target_set(work)]
    return None if work.rank is None or layers == _targets(work) else sorted(layers)


def is_upper_bound(work: Workload) -> bool:
    """Return whether more is said than is needed: for fewer layers, or for weights that FSDP shares out.

    FSDP gathers weights in 16 bits, so that autocast casts none, and activations behind the table of tokens
    are of 16 bits: the moments are of whole weights, which are cast, and have float32 behind the table.
    """
    return work.shares_all or stands_for(work) is not None


def _trained(work: Workload) -> str:
    if work.rank is None:  # a tied table has the gradient of both its uses, and their sum
        has_head = work.objective is not Objective.classify
        return "full_tied" if work.architecture.tie_word_embeddings and has_head else "full"
    where = _target_set(work)
    return ("nf4" if work.nf4 else "lora") + ("_dora" if work.dora else "") + f"_{where}" * (where != "all")


def _target_set(work: Workload) -> str:
    """Return the name of the smallest set in the table that holds all layers with an adapter."""
    if work.dora or work.objective is not Objective.sft:
        return "all"
    sets = weights.target_sets(work.architecture)
    return next(name for name, layers in sets.items() if _targets(work) <= layers)


def _targets(work: Workload) -> frozenset[str]:
    named = frozenset(work.target_modules)
    return frozenset(families.linear_shapes(work.architecture)) if named == {ALL_LINEAR} else named


@functools.cache
def table() -> dict[str, Any]:
    """Return the moments of every regime."""
    found: dict[str, Any] = json.loads(MOMENTS.read_text(encoding="utf-8"))
    return found


def _moments_of_a_pass(work: Workload, gradients: float) -> Iterator[tuple[float, float, float]]:
    """Yield the bytes of activations, of logits and of gradients at the moments that may be the worst.

    Gradients of an earlier pass are there all the time. Without one they come on the way back, as what the
    layers have kept goes: the worst is its beginning or its end. That of the table of tokens comes last,
    and until then it is one of the moment's own tensors.
    """
    moments = _moments(work)
    blocks = _Blocks(sizes(work))
    more = work.architecture.num_hidden_layers - 1
    before, after = 0.0, gradients
    if work.accumulates:
        before = gradients
    elif work.rank is None:
        after -= side_by_side(weights.embedding_parameters(work.architecture) * static.BYTES[work.weights])
    # a loss outside of autocast is a phase of its own; at the end nothing of the layers is left
    for phase in ("forward", "loss", "backward", "end"):
        layers = more * blocks.total(moments.get(f"layer_{phase}", {}))
        for moment in moments.get(phase, ()):
            logits = blocks.total({n: s for n, s in moment.items() if "V" in n or n.endswith(_OF_THE_HEAD)})
            passing = blocks.total(moment) - logits
            if logits and phase != "forward":
                logits += _gradient_of_table(work)
            if logits and work.head_on_host:
                logits += _rows_of_head(work, blocks, is_back=phase in ("backward", "end"))
            yield layers + passing, logits, after if phase == "end" else before
            if phase == "backward":
                yield passing, logits, after


def _rows_of_head(work: Workload, blocks: _Blocks, *, is_back: bool) -> float:
    """Return the bytes of rows from the host; on the way back the next ones come before they go."""
    each = static.BYTES[work.weights]
    return blocks[f"{each}slices"] if is_back else blocks[f"{each}slice"]


def _gradient_of_table(work: Workload) -> float:
    """Return the bytes of the gradient of a head with trained rows: of all rows, in float32, then cast."""
    if not work.new_tokens:
        return 0.0
    types = {Precision.float32, work.weights}
    own = weights.embedding_parameters(work.architecture)
    return sum(side_by_side(static.BYTES[each] * own) for each in types)


def _moments(work: Workload) -> dict[str, Any]:
    """Return the moments of a workload.

    They are read off code with adapters in float32. Those in the type of autocast have no copies in it, and
    no input is cast for them, as none is beside 4-bit weights; but other weights are not unpacked. Adapters
    in bfloat16 under float16, beside weights of 16 bits, take up to a tenth less than is said.
    """
    if not work.autocast or work.rank is None or work.adapter is not work.compute:
        return table()[regime(work)]  # type: ignore[no-any-return]

    def gone(name: str) -> bool:
        is_of_a_layer = bool({*name} & {*_OF_A_LAYER}) and not {*name} & {*_OF_NO_LAYER}
        return is_of_a_layer and ("r" in name or not work.nf4)

    return {
        phase: _without(gone, found) if isinstance(found, dict) else [_without(gone, one) for one in found]
        for phase, found in table()[regime(replace(work, nf4=True))].items()
    }


def _without(gone: Callable[[str], bool], vector: dict[str, float]) -> dict[str, float]:
    return {name: share for name, share in vector.items() if not gone(name)}


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


def _gradients(work: Workload, trained: Mapping[int, int]) -> float:
    """Return the bytes of all gradients, each made where a tensor of its layer's tokens has gone."""
    moments, of = _moments(work), sizes(work)
    names = {name for phase in ("forward", "backward") for name in moments[f"layer_{phase}"]}
    names.update(*moments["backward"])
    holes = [side_by_side(value(name, of)) for name in names if "T" in name]
    each = static.BYTES[static.precision(work)]
    return sum(number * in_a_hole(each * size, holes) for size, number in trained.items())
