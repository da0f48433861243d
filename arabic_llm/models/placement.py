"""Device, precision and batch shape of a run: what hw asks for, met with the machine that is there."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch

from arabic_llm.config.schema import Device, HardwareConfig, Precision
from arabic_llm.errors import HardwareError

_CPU_BATCH, _CPU_EVAL_BATCH = 16, 32
_AMPERE = 8  # first compute capability with bfloat16 in hardware


@dataclass(frozen=True)
class Placement:
    """Where and in what numbers the model runs; batch sizes in sequences."""

    device: str
    precision: Precision  # never auto
    micro_batch_size: int
    eval_batch_size: int
    gradient_checkpointing: bool
    description: str
    optimizer_on_host: bool = False  # on a GPU; on a CPU it is there anyway
    embedding_on_host: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Return the torch type of the frozen weights and of the computation."""
        dtype: torch.dtype = getattr(torch, self.precision.name)
        return dtype


def resolve(hw: HardwareConfig) -> Placement:
    """Return the placement of a run on this machine.

    Raises HardwareError when hw asks for a GPU that is not there.
    """
    has_gpu = torch.cuda.is_available()
    if hw.device is Device.cuda and not has_gpu:
        raise HardwareError(f"hw={hw.name} needs a GPU and torch sees none here; use hw.device=auto")
    if hw.device is Device.cpu or not has_gpu:
        return _on_cpu(hw)
    free_gib, total_gib = (size / 2**30 for size in torch.cuda.mem_get_info())
    # The card's size, not what is free now: a run that is carried on must get the same batches.
    micro, evaluation = _batches(hw.usable_gib or total_gib)
    return Placement(
        device="cuda",
        precision=_gpu_precision(hw),
        micro_batch_size=hw.micro_batch_size or micro,
        eval_batch_size=hw.eval_batch_size or evaluation,
        gradient_checkpointing=bool(hw.gradient_checkpointing),
        optimizer_on_host=bool(hw.optimizer_on_host),
        description=f"{torch.cuda.get_device_name()}, {free_gib:.1f} of {total_gib:.1f} GiB free",
    )


def release() -> None:
    """Give back what a model that is no longer needed held: trainers and adapters are cycles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def micro_batch(placement: Placement, effective_batch_size: int) -> tuple[int, int]:
    """Return (sequences a forward pass, passes a step): the largest that divides the effective batch.

    hw never changes what is learned: their product is always the effective batch.
    """
    largest = min(placement.micro_batch_size, effective_batch_size)
    size = next(s for s in range(largest, 0, -1) if effective_batch_size % s == 0)
    return size, effective_batch_size // size


def _on_cpu(hw: HardwareConfig) -> Placement:
    precision = Precision.float32 if hw.precision is Precision.auto else hw.precision
    if precision is Precision.float16:
        raise HardwareError(f"hw={hw.name}: a CPU does not train in float16; use float32 or bfloat16")
    return Placement(
        device="cpu",
        precision=precision,
        micro_batch_size=hw.micro_batch_size or _CPU_BATCH,
        eval_batch_size=hw.eval_batch_size or _CPU_EVAL_BATCH,
        gradient_checkpointing=bool(hw.gradient_checkpointing),
        description=f"CPU, {torch.get_num_threads()} threads",
    )


def _gpu_precision(hw: HardwareConfig) -> Precision:
    if hw.precision is not Precision.auto:
        return hw.precision
    # Before Ampere bfloat16 is emulated: slow.
    major, _ = torch.cuda.get_device_capability()
    return Precision.bfloat16 if major >= _AMPERE else Precision.float16


def _batches(gib: float) -> tuple[int, int]:
    """Return (micro-batch, evaluation batch) for so much memory, as the hw files set them."""
    for limit, sizes in ((6, (1, 4)), (12, (2, 8)), (20, (4, 16)), (48, (8, 32))):
        if gib < limit:
            return sizes
    return 16, 64
