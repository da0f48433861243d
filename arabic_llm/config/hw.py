"""Types of conf/hw/: what a run is done on, which never changes what is learned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

MIB, GIB = 2**20, 2**30  # bytes


class Precision(Enum):
    """Number format of the forward and backward pass; `auto` takes the best the device has."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Device(Enum):
    """Where the model runs; `auto` takes the GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class ExecutorKind(Enum):
    """Which executor of datatrove runs data.engine=datatrove."""

    local = "local"  # processes of this machine
    slurm = "slurm"  # a job array: the same command typed again carries on when it has ended
    ray = "ray"  # the cluster of RAY_ADDRESS


@dataclass
class ExecutorConfig:
    """Where datatrove cleans rows: machines that see this folder and the files under the same paths."""

    kind: ExecutorKind = ExecutorKind.local
    num_tasks: int | None = None  # that share the files; none: one for each file
    mem_per_cpu_gb: int = 2  # of slurm and ray, whose tasks have one core each
    partition: str | None = None  # of slurm
    time: str = "24:00:00"  # of slurm, for a task
    sbatch_args: dict[str, str] = field(default_factory=dict)  # of slurm, e.g. {account: nlp, qos: normal}

    def __post_init__(self) -> None:
        """Refuse jobs that Slurm would refuse."""
        for name in ("num_tasks", "mem_per_cpu_gb"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"hw.executor.{name} must be at least 1, not {value}")
        if self.kind is ExecutorKind.slurm and self.partition is None:
            raise ValueError("hw.executor.partition is not set; hw.executor.kind=slurm needs it")


@dataclass
class HardwareConfig:
    """What it runs on. It decides how, never what is learned."""

    name: str = MISSING
    device: Device = Device.auto
    usable_gib: float | None = None  # what the card leaves; none: what the machine says
    card_gib: float | None = None  # what is written on its box
    compute_capability: float | None = None  # 8.0: an A100, 9.0: an H100; none: before Hopper
    micro_batch_size: int | None = None  # sequences per forward pass; none: by the plan, or the device
    tokens_per_micro_batch: int | None = None  # and as many as fill so many tokens with their padding
    eval_batch_size: int | None = None  # sequences asked at once; none: by the plan, or the device
    precision: Precision = Precision.auto
    gradient_checkpointing: bool | None = None  # none: by the plan; without a budget off
    num_cards: int = 1  # that train together, one process each (accelerate launch --num_processes)
    fsdp: bool | None = None  # weights are shared out over the cards; none: where the plan says so
    optimizer_on_host: bool | None = None  # moments in the host's memory, paged; none: by the plan
    embedding_on_host: bool | None = None  # the frozen table of tokens there; none: by the plan
    head_on_host: bool | None = None  # the frozen head, or the table it is, there; none: by the plan
    streamed_layers: int | None = None  # of 4 bits, that visit the card from there; none: by the plan
    num_processes: int | None = None  # that clean rows; none: one on each core, of a cluster one a task
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)  # of data.engine=datatrove

    def __post_init__(self) -> None:
        """Refuse sizes that hold nothing."""
        sizes = ("usable_gib", "card_gib", "micro_batch_size", "eval_batch_size", "num_processes")
        for name in (*sizes, "num_cards", "tokens_per_micro_batch"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"hw.{name} must be positive, not {value:g}; raise it, or leave it out")
        if (self.streamed_layers or 0) < 0:
            raise ValueError(f"hw.streamed_layers must be at least 0, not {self.streamed_layers}")
        if (self.usable_gib or 0) > (self.card_gib or math.inf):
            raise ValueError(
                f"hw.usable_gib={self.usable_gib:g} is more than hw.card_gib={self.card_gib:g}, all that"
                " the card has; lower it, or set hw.card_gib"
            )
