"""What a step took, what was predicted of it, and what the plan had said: side by side, like with like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arabic_llm.memory.training_plan import Plan
from arabic_llm.memory.wording import FAR_OFF, far_off, mib

if TYPE_CHECKING:
    from arabic_llm.profiling.timeline import Moment

_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # torch's, of today and of before


@dataclass(frozen=True)
class Batch:
    """The shape of one forward and backward pass."""

    size: int  # sequences
    tokens: int  # a sequence, with its padding
    padded: bool  # some are shorter
    is_first: bool = False  # of its step: gradients are yet to come
    num_labelled: int | None = None  # positions that the loss counts; none: not known, or not by position

    def num_tokens(self) -> int:
        """Return how wide it is."""
        return self.size * self.tokens


def worst_passes(batches: Sequence[Batch]) -> list[Batch]:
    """Return the passes of a step one of which holds most.

    The widest, and that with most labels, with gradients of an earlier one beside it; the first too where
    it is wider still, or has more.
    """
    first, later = batches[0], batches[1:]
    if not later:
        return [first]
    worst: list[Batch] = []
    for size in (_width, _labels):
        most = max(later, key=size)
        worst += [most] if size(most) >= size(first) else [first, most]
    return list(dict.fromkeys(worst))


def _width(batch: Batch) -> tuple[int, int]:
    return batch.num_tokens(), batch.num_labelled or 0


def _labels(batch: Batch) -> tuple[int, int]:
    return batch.num_labelled or 0, batch.num_tokens()


@dataclass(frozen=True)
class Taken:
    """What a step took in one process."""

    passes: Sequence[Batch]  # one of them held most
    allocated: int  # bytes in tensors at the worst moment
    reserved: int | None = None  # of the card, by torch's allocator
    on_card: int | None = None  # of the card, by all programs: what nvidia-smi shows
    curve: Sequence[Moment] = field(default=(), repr=False)


@dataclass(frozen=True)
class PlannedStep:
    """What the plan had said before the run, of its longest sequences, on the card that hw names."""

    size: int  # sequences of a pass
    tokens: int  # each of them
    allocated: int
    total: int  # with the holes between blocks: of the card

    @classmethod
    def of(cls, plan: Plan | None) -> PlannedStep | None:
        """Return what a plan says of a step; None without one."""
        if plan is None:
            return None
        size, tokens = plan.work.batch_size, plan.work.tokens
        return cls(size, tokens, round(plan.parts.allocated), round(plan.total))


@dataclass(frozen=True)
class StepMemory:
    """A step as it was measured in the fullest process; None where something cannot be said."""

    step: int
    device: str
    num_processes: int
    has_moments: bool  # the optimiser's were there when it began: every step but the first is like it
    batch: Batch
    measured: int  # bytes in tensors
    measured_reserved: int | None  # taken from the card
    on_card: int | None
    predicted: int | None
    predicted_reserved: int | None
    planned: PlannedStep | None
    measured_curve: Sequence[Moment] = field(default=(), repr=False)
    predicted_curve: Sequence[Moment] = field(default=(), repr=False)

    @property
    def error(self) -> float | None:
        """Return how far the prediction is off, in percent of what was measured."""
        return None if self.predicted is None else 100 * (self.predicted / self.measured - 1)

    def __str__(self) -> str:
        """Return all in a line."""
        where = f" in the fullest of {self.num_processes} processes" if self.num_processes > 1 else ""
        said = f"memory of step {self.step}, {self.batch.size} x {self.batch.tokens} tokens{where}:"
        said += f" {mib(self.measured)} measured"
        if self.error is None:
            said += ", not predicted"
        else:
            said += f", {mib(self.predicted)} predicted ({self.error:+.1f}%)"
        if self.measured_reserved is not None:
            said += f"; of the card {mib(self.measured_reserved)}, {mib(self.predicted_reserved)} predicted"
        return said + far_off(self.error or 0) + self._beside_the_plan()

    def _beside_the_plan(self) -> str:
        if (plan := self.planned) is None:
            return ""
        of = f"{plan.size} x {plan.tokens} tokens"
        if self.device == "cpu":
            return f"; the plan, {mib(plan.total)} for {of}, is of the card that hw names, not of this CPU"
        said = f"; the plan had said up to {mib(plan.allocated)}, {mib(plan.total)} of the card, for {of}"
        is_low = self.measured > plan.allocated * (1 + FAR_OFF / 100)
        return said + (f", which is more than {FAR_OFF}% too low" if is_low else "")


def reserves_by_default(environment: Mapping[str, str]) -> bool:
    """Return whether torch's allocator takes memory from the card by the rules that are replayed.

    Expandable segments and other settings of it have rules of their own.
    """
    return not any(environment.get(name) for name in _ALLOCATOR)
