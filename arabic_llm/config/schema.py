"""Types of every key in conf/. YAML holds the values; this file says what may be set and what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from omegaconf import MISSING

from arabic_llm.config.data_schema import DataConfig, ExecutorConfig, HeldOutConfig
from arabic_llm.config.suite_schema import JudgeConfig, SuiteConfig


class Method(Enum):
    """What training changes."""

    lora = "lora"  # low-rank adapters beside frozen weights
    full = "full"  # every weight
    none = "none"  # nothing: the base model is evaluated


class Quantization(Enum):
    """How the frozen weights are held."""

    none = "none"
    nf4 = "nf4"  # 4-bit NormalFloat with double quantisation (QLoRA, 2305.14314)


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


class ModelKind(Enum):
    """What the model was trained to predict, which decides how it is loaded, asked and trained."""

    causal = "causal"  # the next token: it continues a text
    masked = "masked"  # tokens left out of a text it sees on both sides: it scores and classifies


class Optimizer(Enum):
    """What turns gradients into steps. Moments of 8 bits change what is learned: the task's choice."""

    adamw = "adamw"  # moments of 32 bits
    adamw_8bit = "adamw_8bit"  # moments of 8 bits in blocks (2110.02861): a quarter of the memory


class Tracking(Enum):
    """Who gets a copy of metrics.jsonl."""

    wandb = "wandb"
    none = "none"


@dataclass
class ArchitectureConfig:
    """Shape of a model, as its config.json spells it; of BERT also what its positions and segments take."""

    model_type: str = MISSING
    hidden_size: int = MISSING
    intermediate_size: int = MISSING
    num_hidden_layers: int = MISSING
    num_attention_heads: int = MISSING
    num_key_value_heads: int = MISSING
    head_dim: int = MISSING
    vocab_size: int = MISSING
    tie_word_embeddings: bool = MISSING
    attention_bias: bool = False  # on q, k, v
    max_position_embeddings: int | None = None  # where positions are learned
    type_vocab_size: int | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields that this architecture has."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class ModelConfig:
    """Which base model, and how it talks."""

    name: str = MISSING
    kind: ModelKind = ModelKind.causal
    hub_id: str | None = None
    revision: str = "main"
    path: str | None = None  # a local folder; default: models/<name>, if it is there
    builtin: bool = False  # ships inside the package, in models/<name>
    extra_files: list[str] = field(default_factory=list)  # of the hub, beside *.json and *.safetensors
    # The next four are of causal models only.
    chat_template: str = ""  # a file of data/tokens/templates/, or the path of a .jinja of your own
    stop_token: str = ""  # ends an answer; always supervised
    pad_token: str = ""  # never the stop token, or the model would not learn to stop
    end_of_text: str = ""  # ends a raw text
    max_length: int = MISSING  # tokens the model can see
    learning_rate: float = 2e-4  # for adapters (QLoRA, 2305.14314, table 9); narrow models need more
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)

    def __post_init__(self) -> None:
        """Refuse what its kind lacks or never reads, and a pad token that hides the stop token."""
        if self.name == MISSING:  # when the schema is registered
            return
        for name in ("chat_template", "stop_token", "pad_token", "end_of_text"):
            if not getattr(self, name) and self.kind is ModelKind.causal:
                raise ValueError(f"no value for model.{name}; a causal model needs it")
            if getattr(self, name) and self.kind is ModelKind.masked:
                raise ValueError(f"model.{name} has no meaning with model={self.name}: it is masked")
        if self.pad_token and self.pad_token == self.stop_token:
            raise ValueError(f"model.pad_token must differ from model.stop_token ({self.stop_token})")


@dataclass
class AdapterConfig:
    """What is trained, as PEFT's LoraConfig spells it."""

    name: str = MISSING
    method: Method = Method.lora
    quantization: Quantization = Quantization.none
    rank: int | None = None
    alpha: int | None = None
    dropout: float | None = None
    dtype: Precision | None = None  # of the adapter's weights, their gradients and AdamW's moments
    target_modules: list[str] = field(default_factory=list)  # names, or all-linear
    use_dora: bool = False
    use_rslora: bool = False
    path: str | None = None  # a trained adapter: evaluated as it is, or trained further

    def __post_init__(self) -> None:
        """Refuse what PEFT would refuse later, or silently ignore."""
        self._refuse_what_nothing_reads()
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"adapter.rank must be at least 1, not {self.rank}")
        if self.alpha is not None and self.alpha < 1:
            raise ValueError(f"adapter.alpha must be at least 1, not {self.alpha}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"adapter.dropout must be in [0, 1), not {self.dropout}")
        if self.dtype in (Precision.auto, Precision.float16):
            raise ValueError(
                f"adapter.dtype={self.dtype.name} is no type to train in: small updates would be lost, or"
                " the machine would decide what is learned; set float32 or bfloat16"
            )
        if self.use_dora and self.dtype is Precision.bfloat16:
            raise ValueError(
                f"adapter.dtype=bfloat16 has no meaning with adapter={self.name}: DoRA's magnitudes are"
                " near 1 and a step less than bfloat16 resolves there, so they would not move; set float32"
            )

    def _refuse_what_nothing_reads(self) -> None:
        low_rank = {name: getattr(self, name) for name in ("rank", "alpha", "dropout", "dtype")}
        given = {name for name, value in low_rank.items() if value is not None}
        if self.method is Method.lora:
            for name in low_rank.keys() - given:
                raise ValueError(f"adapter.{name} is not set")
            return
        if self.method is Method.full:
            given |= {"path"} if self.path is not None else set()
            given |= {"quantization"} if self.quantization is not Quantization.none else set()
        for name in sorted(given):
            raise ValueError(f"adapter.{name} has no meaning with adapter={self.name}")


@dataclass
class HardwareConfig:
    """What it runs on. It decides how, never what is learned."""

    name: str = MISSING
    device: Device = Device.auto
    usable_gib: float | None = None  # what the card leaves; none: what the machine says
    card_gib: float | None = None  # what is written on its box
    micro_batch_size: int | None = None  # sequences per forward pass; none: by the plan, or the device
    eval_batch_size: int | None = None
    precision: Precision = Precision.auto
    gradient_checkpointing: bool | None = None  # none: by the plan; without a budget off
    num_cards: int = 1  # that train together, one process each (accelerate launch --num_processes)
    fsdp: bool | None = None  # weights are shared out over the cards; none: where the plan says so
    optimizer_on_host: bool | None = None  # moments in the host's memory, paged; none: by the plan
    embedding_on_host: bool | None = None  # the frozen table of tokens there; none: by the plan
    num_processes: int | None = None  # that clean rows; none: one on each core, of a cluster one a task
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)  # of data.engine=datatrove

    def __post_init__(self) -> None:
        """Refuse sizes that hold nothing."""
        sizes = ("usable_gib", "card_gib", "micro_batch_size", "eval_batch_size", "num_processes")
        for name in (*sizes, "num_cards"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"hw.{name} must be positive, not {value:g}; raise it, or leave it out")
        if (self.usable_gib or 0) > (self.card_gib or math.inf):
            raise ValueError(
                f"hw.usable_gib={self.usable_gib:g} is more than hw.card_gib={self.card_gib:g}, all that"
                " the card has; lower it, or set hw.card_gib"
            )


@dataclass
class TaskConfig:
    """What to do; each task's own schema stands in its module."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = tuple(ModelKind)  # that it is for
    name: str = MISSING  # module of arabic_llm.tasks that runs it


@dataclass
class TrainingConfig(TaskConfig):
    """What every task that trains needs, as TRL's SFTConfig spells it."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = (ModelKind.causal,)
    learning_rate: float = MISSING
    epochs: float = MISSING
    max_steps: int | None = None  # optimiser steps; overrides epochs
    effective_batch_size: int = MISSING  # sequences per optimiser step
    max_length: int = MISSING  # tokens a sequence
    optimizer: Optimizer = MISSING
    warmup_ratio: float = MISSING  # share of the steps
    weight_decay: float = MISSING
    max_grad_norm: float = MISSING
    eval_steps: int = MISSING  # loss on dev every so many steps
    save_steps: int = MISSING  # a checkpoint every so many steps
    save_total_limit: int = MISSING  # checkpoints kept
    early_stopping_patience: int | None = None  # evaluations without a better dev loss

    def __post_init__(self) -> None:
        """Refuse sizes that train nothing."""
        positive = ("learning_rate", "epochs", "max_steps", "effective_batch_size", "max_length")
        for name in (*positive, "eval_steps", "save_steps", "save_total_limit", "max_grad_norm"):
            value = getattr(self, name)
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"task.{name} must be positive, not {value}")
        if isinstance(self.warmup_ratio, int | float) and not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"task.warmup_ratio must be between 0 and 1, not {self.warmup_ratio}")
        if self.early_stopping_patience is not None and self.save_steps != self.eval_steps:
            # The best evaluation must have a checkpoint to go back to.
            raise ValueError(
                f"task.early_stopping_patience needs task.save_steps ({self.save_steps}) and"
                f" task.eval_steps ({self.eval_steps}) to be the same"
            )

    def num_steps(self, num_rows: int) -> int:
        """Return the optimiser steps of a run: epochs become steps here, and nowhere else."""
        if self.max_steps is not None:
            return self.max_steps
        return math.ceil(self.epochs * num_rows / self.effective_batch_size)


@dataclass
class FineTuningConfig(TrainingConfig):
    """What training also needs where a model knows something that it may forget."""

    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)


@dataclass
class RunConfig:
    """Everything a run knows; `conf/config.yaml` fills it."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    adapter: AdapterConfig = MISSING
    hw: HardwareConfig = field(default_factory=HardwareConfig)
    suite: SuiteConfig = field(default_factory=SuiteConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    task: TaskConfig = MISSING
    seed: int = MISSING
    resume: bool = MISSING  # carry on what an earlier run of this command left; false: begin anew
    dry_run: bool = MISSING  # say what would happen and write nothing
    tracking: Tracking = MISSING
    data_root: str = MISSING  # <data_root>/<data set>/ is where local copies are looked for
    cache_dir: str = MISSING  # what several runs share: token rows, evaluations
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        """Refuse a model its task is not for, sequences it cannot see, and what no generator takes."""
        if self.model.kind not in getattr(self.task, "model_kinds", ModelKind):
            raise ValueError(
                f"task={self.task.name} is not for model={self.model.name}, a masked language model:"
                " task=classify trains it and task=evaluate judges it"
            )
        if isinstance(self.seed, int) and not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), not {self.seed}")
        if self.hw.fsdp and getattr(self.adapter, "quantization", None) is Quantization.nf4:
            raise ValueError("hw.fsdp=true does not share out 4-bit weights, which fit each card")
        in_half = getattr(self.adapter, "dtype", None) is Precision.bfloat16
        in_half &= getattr(self.task, "optimizer", None) is Optimizer.adamw
        if in_half and self.hw.optimizer_on_host:
            raise ValueError(
                "hw.optimizer_on_host=true has moments of 32 bits, and adapter.dtype=bfloat16 of 16: hw"
                " would change what is learned; leave it out, or set task.optimizer=adamw_8bit"
            )
        length = getattr(self.task, "max_length", None)
        if (
            isinstance(length, int)
            and isinstance(self.model.max_length, int)
            and length > self.model.max_length
        ):
            seen = f"{self.model.max_length} tokens that model={self.model.name} can see"
            raise ValueError(f"task.max_length={length} is more than the {seen}; lower it")
