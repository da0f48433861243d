"""The plan of a training run on a budget: the fastest settings that fit, or the largest that would."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from arabic_llm.config.adapter import AdapterConfig, Method, Quantization
from arabic_llm.config.hw import GIB, HardwareConfig, Precision
from arabic_llm.config.model import ModelConfig
from arabic_llm.config.task import Optimizer
from arabic_llm.errors import ConfigError
from arabic_llm.memory import static, training_peak, visits
from arabic_llm.memory.training_ask import Ask, workload
from arabic_llm.memory.training_peak import TrainingParts
from arabic_llm.memory.workload import Objective, Workload
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR

# A pass costs what this many more tokens would: kernels are started, 4-bit weights unpacked.
_TOKENS_OF_A_PASS = 1024
_TOKENS_OF_A_LOOKUP = 64  # on the host: the ids go there, the vectors come back, and the card waits
_TOKENS_OF_A_GIB = 256  # of moments that come to the card and go back in a step
_SHARED_OUT = 1.5  # weights come from the other cards, twice a pass
_RECOMPUTING = 4 / 3  # one more forward pass beside one forward and a backward of twice its cost
# Holes that nothing fits into. Of seven steps of four families rehearsed with a capacity, the one that
# needed most ran through with this share of what comes and goes to spare (unused segments are given back
# before the allocator fails), the one that needed least with 0.11. A rehearsal says it exactly.
FRAGMENTS = 0.35
_FRAGMENTS_OF_ALL = (
    0.5  # where every weight has a gradient: of three such steps the one that needed most, 0.48
)
_TABLES = ("embed_tokens", "word_embeddings")  # no linear layers, and yet PEFT adapts them
_SHORTEST = 64  # tokens; a multiple of it is proposed


@dataclass(frozen=True)
class Plan:
    """Settings and what they need."""

    micro_batch_size: int
    accumulation: int
    checkpointing: bool
    work: Workload
    parts: TrainingParts

    @property
    def fragments(self) -> float:
        """Return the bytes that are lost between blocks."""
        if self.parts.holes is not None:
            return self.parts.holes
        share = _FRAGMENTS_OF_ALL if self.work.rank is None else FRAGMENTS
        return share * (self.parts.activations + self.parts.logits)

    @property
    def total(self) -> float:
        """Return the bytes that the run takes from the card, but for the CUDA context."""
        return self.parts.allocated + self.fragments


def refuse_unfit(model: ModelConfig, adapter: AdapterConfig) -> None:
    """Refuse an adapter on layers that are not there, and a rank of more than a layer's width.

    Such an adapter would hold no less than the layer. Raises ConfigError.
    """
    family = families.known(model.architecture.model_type)
    if family is None or adapter.rank is None:
        return  # its layers are seen when the model is there
    for name in adapter.target_modules:
        if name not in (ALL_LINEAR, *_TABLES) and name.rpartition(".")[2] not in family.modules:
            raise ConfigError(
                f"adapter.target_modules: this model has no '{name}'; there are:"
                f" {', '.join(sorted(family.modules))}"
            )
    shapes = families.linear_shapes(model.architecture)
    targets = shapes if adapter.target_modules == [ALL_LINEAR] else adapter.target_modules
    widths = {name: min(shapes[name]) for name in targets if name in shapes}
    if not widths or adapter.rank <= min(widths.values()):
        return
    name = min(widths, key=widths.__getitem__)
    raise ConfigError(
        f"adapter.rank={adapter.rank} is more than {widths[name]}, the width of {name} in"
        f" model={model.name}: the adapter would hold no less than the layer; lower it"
    )


def best(wanted: Ask) -> Plan:
    """Return the fastest settings within the budget; without any that fit, those that need least.

    The effective batch and the sequence length are the task's and stay as they are.
    """
    return _or_without_head(wanted, _best)


def _or_without_head(wanted: Ask, find: Callable[[Ask], Plan]) -> Plan:
    """Return the plan that is found, or where it does not fit, one whose head is on the host."""
    found, hw = find(wanted), wanted.hw
    if hw.head_on_host is not None or fits(found, hw) or not _can_move_head(wanted):
        return found
    moved = find(replace(wanted, hw=replace(hw, head_on_host=True)))
    return min(found, moved, key=lambda plan: plan.total)


def _can_move_head(wanted: Ask) -> bool:
    """Return whether the head is one of words, frozen, and whole on each card."""
    a, adapter = wanted.model.architecture, wanted.adapter
    is_frozen = adapter.method is Method.lora and adapter.num_new_tokens == 0
    is_of_words = wanted.objective is not Objective.classify and not families.is_masked(a.model_type)
    return is_frozen and is_of_words and not wanted.hw.fsdp


def _best(wanted: Ask) -> Plan:
    plans = sorted(_settings(wanted, training_peak.predict), key=_cost)
    if (found := next((p for p in plans if fits(p, wanted.hw)), None)) is not None:
        return found
    streamed = [
        _streamed(plan, wanted.hw, training_peak.predict) for plan in plans if _can_stream(plan, wanted)
    ]
    if fitting := [plan for plan in streamed if fits(plan, wanted.hw)]:
        return min(fitting, key=_cost)
    return min([*plans, *streamed], key=lambda p: p.total)


def first_that_fits(wanted: Ask, predict: Callable[[Workload], TrainingParts]) -> Plan:
    """Return the fastest settings within the budget, as `best` does, asking as seldom as may be.

    What takes no less than settings that do not fit is not asked about.
    """
    return _or_without_head(wanted, partial(_first_that_fits, predict=predict))


def _first_that_fits(wanted: Ask, predict: Callable[[Workload], TrainingParts]) -> Plan:
    settings = sorted(_settings(wanted, lambda _: TrainingParts()), key=_cost)

    def asked(plan: Plan) -> Plan:
        return replace(plan, parts=predict(plan.work))

    least = asked(min(settings, key=_frugality))
    if not fits(least, wanted.hw):
        return _streamed(least, wanted.hw, predict) if _can_stream(least, wanted) else least
    failed: list[Plan] = []
    for plan in settings:
        if any(_takes_no_less(plan, other) for other in failed):
            continue
        if fits(found := asked(plan), wanted.hw):
            return found
        failed.append(found)
    return least


def _can_stream(plan: Plan, wanted: Ask) -> bool:
    """Return whether layers may be taken off the card: the last thing that is tried."""
    is_open = wanted.hw.streamed_layers is None and not plan.work.fsdp
    return is_open and plan.work.nf4 and plan.checkpointing


def _streamed(plan: Plan, hw: HardwareConfig, predict: Callable[[Workload], TrainingParts]) -> Plan:
    """Return a plan of which as many layers stay on the card as fit; where none does, all stream."""
    layers = plan.work.architecture.num_hidden_layers

    def of(count: int) -> Plan:
        work = replace(plan.work, streamed_layers=count)
        return replace(plan, work=work, parts=predict(work))

    found, low, high = of(layers), 1, layers - 1
    if not fits(found, hw):
        return found
    while low <= high:
        middle = (low + high) // 2
        if fits(fewer := of(middle), hw):
            found, high = fewer, middle - 1
        else:
            low = middle + 1
    return found


def _frugality(plan: Plan) -> tuple[float, ...]:
    """Return what is lowest of the settings that take least."""
    work = plan.work
    return (plan.micro_batch_size, *(-flag for flag in (plan.checkpointing, work.fsdp)), *_on_card(work))


def _on_card(work: Workload) -> tuple[bool, bool]:
    return (not work.optimizer_on_host, not work.embedding_on_host)


def _takes_no_less(plan: Plan, other: Plan) -> bool:
    """Return whether a plan differs from another only by what takes more memory."""
    mine, its = _frugality(plan), _frugality(other)
    return all(a >= b for a, b in zip(mine, its, strict=True))


def fits(plan: Plan, hw: HardwareConfig) -> bool:
    """Return whether a plan stays within what hw leaves; without a budget everything does."""
    return hw.usable_gib is None or plan.total <= hw.usable_gib * GIB


def is_open(plan: Plan, hw: HardwareConfig) -> bool:
    """Return whether a rehearsal decides: more is said than is needed, or only holes may not fit."""
    if plan.parts.rehearsed:
        return False
    fit_without_holes = plan.parts.allocated <= (hw.usable_gib or 0) * GIB
    return not fits(plan, hw) and (fit_without_holes or training_peak.is_upper_bound(plan.work))


def longest(wanted: Ask) -> int | None:
    """Return the longest sequences that fit, a multiple of 64 tokens, or None."""
    found, low, high = None, 1, wanted.tokens // _SHORTEST
    while low <= high:
        middle = (low + high) // 2
        if fits(best(replace(wanted, tokens=middle * _SHORTEST)), wanted.hw):
            found, low = middle * _SHORTEST, middle + 1
        else:
            high = middle - 1
    return found


def largest_rank(wanted: Ask) -> int | None:
    """Return the largest lower rank that fits, a power of 2, or None."""
    rank = (wanted.adapter.rank or 1) // 2
    while rank >= 1:
        alpha = wanted.adapter.alpha
        if fits(best(replace(wanted, adapter=replace(wanted.adapter, rank=rank, alpha=alpha))), wanted.hw):
            return rank
        rank //= 2
    return None


def _settings(wanted: Ask, predict: Callable[[Workload], TrainingParts]) -> Iterator[Plan]:
    """Yield every plan that hw's own settings leave open."""
    batch, hw = wanted.effective_batch_size // wanted.hw.num_cards, wanted.hw  # of one card
    fixed = hw.micro_batch_size
    open_sizes = [size for size in range(1, batch + 1) if batch % size == 0]
    sizes = open_sizes if fixed is None else [max(s for s in open_sizes if s <= fixed)]
    if hw.tokens_per_micro_batch is not None:  # the longest that fill them, or one that does not fit in
        sizes = [min(batch, fixed or batch, -(-hw.tokens_per_micro_batch // wanted.tokens))]
    has_tied_head = (
        wanted.model.architecture.tie_word_embeddings and wanted.objective is not Objective.classify
    )
    has_new_rows = wanted.adapter.num_new_tokens > 0
    can_look_up = wanted.adapter.method is Method.lora and not has_tied_head and not has_new_rows
    embeddings = _choices(hw.embedding_on_host) if can_look_up else (False,)
    head_away = bool(hw.head_on_host) and _can_move_head(wanted)
    can_share_out = hw.num_cards > 1 and not has_new_rows
    shared_out = _choices(hw.fsdp) if can_share_out else (False,)
    is_packed = wanted.adapter.quantization is Quantization.nf4
    streamed = (hw.streamed_layers or 0) if is_packed else 0
    # Paged moments are of 32 bits: where they lie must not change what is learned.
    in_half = wanted.adapter.dtype is Precision.bfloat16 and wanted.optimizer is Optimizer.adamw
    moments = (False,) if in_half else _choices(hw.optimizer_on_host)
    for size, checkpointing, optimizer, embedding, fsdp in itertools.product(
        sizes, _choices(hw.gradient_checkpointing), moments, embeddings, shared_out
    ):
        if fsdp and not is_packed and (optimizer or embedding):
            continue  # FSDP has places of its own
        if (streamed and (fsdp or not checkpointing)) or (head_away and fsdp):
            continue
        work = workload(wanted, size, checkpointing=checkpointing)
        work = replace(work, optimizer_on_host=optimizer, embedding_on_host=embedding, fsdp=fsdp)
        work = replace(work, streamed_layers=streamed, head_on_host=head_away)
        yield Plan(size, -(-batch // size), checkpointing, work, predict(work))


def _choices(set_by_hand: bool | None) -> tuple[bool, ...]:
    return (False, True) if set_by_hand is None else (set_by_hand,)


def _cost(plan: Plan) -> float:
    """Return the time of an optimiser step, in tokens that one forward and backward pass takes."""
    work = plan.work
    tokens = plan.micro_batch_size * work.tokens * (_RECOMPUTING if plan.checkpointing else 1)
    a_pass = _TOKENS_OF_A_PASS + tokens + (_TOKENS_OF_A_LOOKUP if work.looks_up_on_host else 0)
    if work.fsdp:
        a_pass *= _SHARED_OUT
    is_counted = families.known(work.architecture.model_type) is not None
    # one way: packed weights and a head do not go back
    moved = visits.moved(work, plan.accumulation) / GIB / 2
    moved += static.moments_on_host(work) / GIB if is_counted else 0.0
    return plan.accumulation * a_pass + _TOKENS_OF_A_GIB * moved + work.optimizer_on_host
