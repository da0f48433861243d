"""Device, precision and batch shape of a run: what hw asks for, met with the machine that is there."""

from __future__ import annotations

import gc
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from arabic_llm import processes
from arabic_llm.config.hw import GIB, MIB, Device, HardwareConfig, Precision
from arabic_llm.errors import ConfigError, HardwareError
from arabic_llm.models import processor
from arabic_llm.models.batching import most_at_once

if TYPE_CHECKING:  # a dry run goes without it
    import torch

_CARDS = ("nvidia*", "kfd", "dxg")  # in /dev: the drivers of NVIDIA and AMD, and Windows' own
_CPU_BATCH = 16
AMPERE = 8  # first compute capability with bfloat16 in hardware
_ASKED = re.compile(r"ried to allocate ([\d.]+) ?(\w+)")  # as CUDA's allocator and the CPU's say it
_NO_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")  # CUDA, CPU, cuBLAS


@dataclass(frozen=True)
class Placement:
    """Where and in what numbers the model runs; batch sizes in sequences."""

    device: str
    precision: Precision  # never auto
    micro_batch_size: int
    eval_batch_size: int
    gradient_checkpointing: bool
    description: str
    fsdp: bool = False  # weights, gradients and moments are shared out over the processes
    optimizer_on_host: bool = False  # on a GPU; on a CPU it is there anyway
    embedding_on_host: bool = False
    head_on_host: bool = False  # and with it the table of tokens, where that is the head
    tokens_per_micro_batch: int | None = None  # with padding; none: any number
    streamed_layers: int = 0  # whose 4-bit weights lie on the host and visit the card
    shares_packed: bool = False  # 4-bit weights alone are shared out over the processes

    @property
    def is_read_on_host(self) -> bool:
        """Return whether weights are read there: no card holds them whole."""
        return self.fsdp or self.shares_packed or self.streamed_layers > 0

    @property
    def dtype(self) -> torch.dtype:
        """Return the torch type of the frozen weights and of the computation."""
        import torch

        dtype: torch.dtype = getattr(torch, self.precision.name)
        return dtype


def resolve(hw: HardwareConfig) -> Placement:
    """Return the placement of a run on this machine.

    Raises HardwareError when hw asks for a GPU that is not there.
    """
    if hw.device is Device.cpu:
        return _on_cpu(hw)
    if not _has_gpu():
        if hw.device is Device.cuda:
            raise HardwareError(f"hw={hw.name} needs a GPU and torch sees none here; use hw.device=auto")
        return _on_cpu(hw)
    import torch

    _refuse_other_count(hw)
    own = _own_card()
    free_gib, total_gib = (size / GIB for size in torch.cuda.mem_get_info())
    # The card's size, not what is free now: a run that is carried on must get the same batches.
    micro = _micro_batch_of(hw.usable_gib or total_gib)
    free = f"{free_gib:.1f} of {total_gib:.1f} GiB free"
    return Placement(
        device=own,
        precision=_gpu_precision(hw),
        micro_batch_size=hw.micro_batch_size or hw.tokens_per_micro_batch or micro,
        eval_batch_size=hw.eval_batch_size or most_at_once(hw, total_gib),
        gradient_checkpointing=_checkpoints(hw),
        optimizer_on_host=bool(hw.optimizer_on_host),
        streamed_layers=hw.streamed_layers or 0,
        tokens_per_micro_batch=hw.tokens_per_micro_batch,
        description=f"{_cards(hw)}{torch.cuda.get_device_name()}, {free}",
        fsdp=bool(hw.fsdp),
    )


def _has_gpu() -> bool:
    """Return whether torch sees a GPU; it is not asked, if it was not yet, where there is no driver."""
    if "torch" not in sys.modules and not any(any(Path("/dev").glob(name)) for name in _CARDS):
        return False
    import torch

    return torch.cuda.is_available()


def release() -> None:
    """Give back what a model that is no longer needed held: trainers and adapters are cycles."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def micro_batch(placement: Placement, effective_batch_size: int) -> tuple[int, int]:
    """Return (sequences a forward pass, passes a step) of each process: the largest that divides its part.

    hw never changes what is learned: their product over all processes is always the effective batch.
    Raises ConfigError when the processes cannot share it evenly.
    """
    part, left = divmod(effective_batch_size, processes.count())
    if left:
        raise ConfigError(
            f"task.effective_batch_size={effective_batch_size} cannot be shared evenly by"
            f" {processes.count()} processes; set a multiple of {processes.count()}, or start fewer"
        )
    size = next(s for s in range(min(placement.micro_batch_size, part), 0, -1) if part % s == 0)
    return size, part // size


@contextmanager
def enough_memory(doing: str, cure: str) -> Iterator[None]:
    """Say in one line that memory ran out. Raises HardwareError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if (short := shortage(error)) is None:
            raise
        raise HardwareError(f"{doing}: {short}; {cure}") from error


def shortage(error: BaseException) -> str | None:
    """Return what was asked for and what is free; None for an error that is not about memory."""
    text = str(error)
    if not isinstance(error, MemoryError) and not any(words in text for words in _NO_MEMORY):
        return None
    import torch

    asked = _ASKED.search(text)
    size = "more" if asked is None else _in_mib(float(asked[1]), asked[2])
    where = "on the GPU" if torch.cuda.is_available() else "in memory"
    return f"out of memory: {size} was asked for, {_free_bytes() / MIB:,.0f} MiB are free {where}"


def _in_mib(size: float, unit: str) -> str:
    scale = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}.get(unit, 1)
    return f"{size * scale / MIB:,.0f} MiB"


def _free_bytes() -> int:
    """Return what this process can still take of the card, or of the memory and of its limit."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    own = limit - psutil.Process().memory_info().vms if limit != resource.RLIM_INFINITY else None
    available = int(psutil.virtual_memory().available)
    return available if own is None else min(own, available)


def _on_cpu(hw: HardwareConfig) -> Placement:
    precision = Precision.float32 if hw.precision is Precision.auto else hw.precision
    if precision is Precision.float16:
        raise HardwareError(f"hw={hw.name}: a CPU does not train in float16; use float32 or bfloat16")
    return Placement(
        device="cpu",
        precision=precision,
        micro_batch_size=hw.micro_batch_size or hw.tokens_per_micro_batch or _CPU_BATCH,
        eval_batch_size=hw.eval_batch_size or most_at_once(hw),
        gradient_checkpointing=_checkpoints(hw),
        streamed_layers=hw.streamed_layers or 0,
        description=f"CPU{_threads()}{_processes()}{_emulated(precision, processor.has_bfloat16())}",
        fsdp=bool(hw.fsdp) and processes.count() > 1,
        tokens_per_micro_batch=hw.tokens_per_micro_batch,
    )


def _checkpoints(hw: HardwareConfig) -> bool:
    """Return whether layers are computed again, without a plan: streamed ones always are."""
    return bool(hw.gradient_checkpointing or hw.streamed_layers)


def _threads() -> str:
    """Return how many threads torch takes; a dry run does not ask."""
    if "torch" not in sys.modules:
        return ""
    import torch

    processor.use_cores()
    return f", {torch.get_num_threads()} threads"


def _emulated(precision: Precision, has_it: bool | None) -> str:
    if precision is not Precision.bfloat16 or has_it is not False:
        return ""
    return "; bfloat16 is emulated, as this CPU has neither avx512_bf16 nor AMX: float32 is faster here"


def _refuse_other_count(hw: HardwareConfig) -> None:
    """Refuse to train on other cards than the plan has counted."""
    if processes.count() != hw.num_cards:
        raise HardwareError(
            f"hw={hw.name} is {hw.num_cards} card{'s' * (hw.num_cards > 1)} and this run has"
            f" {processes.count()} process{'es' * (processes.count() > 1)}: start it with"
            f" accelerate launch --num_processes {hw.num_cards} -m arabic_llm.run ..., or set hw.num_cards"
        )


def _cards(hw: HardwareConfig) -> str:
    return f"{hw.num_cards} x " if hw.num_cards > 1 else ""


def _processes() -> str:
    return f" in each of {processes.count()} processes" if processes.count() > 1 else ""


def _own_card() -> str:
    """Return this process's card, made the current one; a single process has whichever is current."""
    if processes.count() == 1:
        return "cuda"
    import torch

    if (index := processes.local_rank()) >= (cards := torch.cuda.device_count()):
        raise HardwareError(f"process {index + 1} of this machine finds {cards} cards; start one for each")
    torch.cuda.set_device(index)
    return f"cuda:{index}"


def _gpu_precision(hw: HardwareConfig) -> Precision:
    if hw.precision is not Precision.auto:
        return hw.precision
    import torch

    return precision_of(torch.cuda.get_device_capability()[0])


def precision_of(major: int) -> Precision:
    """Return the 16-bit type of a card; before Ampere bfloat16 is emulated: slow."""
    return Precision.bfloat16 if major >= AMPERE else Precision.float16


def _micro_batch_of(gib: float) -> int:
    """Return the micro-batch for so much memory, where no plan has a say."""
    return next((size for limit, size in ((6, 1), (12, 2), (20, 4), (48, 8)) if gib < limit), 16)
