"""Types of conf/task/: what to do, and the settings of each task."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from omegaconf import MISSING

from arabic_llm.config.complaints import did_you_mean
from arabic_llm.config.model import ModelKind

_ON_THE_HUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class Optimizer(Enum):
    """What turns gradients into steps. Moments of 8 bits change what is learned: the task's choice."""

    adamw = "adamw"  # moments of 32 bits
    adamw_8bit = "adamw_8bit"  # moments of 8 bits in blocks (2110.02861): a quarter of the memory


class Area(Enum):
    """A part of a configuration, of which a task says whether it reads it (config/reads.py)."""

    model = "model"  # where its files lie
    template = "template"  # how it talks
    rows = "rows"
    labels = "labels"  # classes of rows
    tokens = "tokens"  # rows as conversations of so many tokens
    cleaning = "cleaning"  # rows on the disk, with a card
    training = "training"
    tuning = "tuning"  # of a model that is there
    items = "items"  # of the suite: they are looked for among the rows
    asking = "asking"  # a model, what the suite holds
    talking = "talking"  # to a model, turn by turn
    judge = "judge"


@dataclass
class HeldOutConfig:
    """Texts that no row is trained on: their loss is measured at the start and at every checkpoint."""

    num_bytes: int = MISSING  # of each language, so that every model reads the same; 0: not measured
    texts: dict[str, str | None] = field(default_factory=dict)  # language -> builtin, or a file of yours

    def __post_init__(self) -> None:
        """Refuse a negative size."""
        if isinstance(self.num_bytes, int) and self.num_bytes < 0:
            raise ValueError(f"task.held_out.num_bytes must not be negative ({self.num_bytes})")


ROWS = frozenset({Area.model, Area.template, Area.rows})
TUNING = ROWS | {Area.tokens, Area.items, Area.training, Area.tuning}
ASKING = frozenset({Area.model, Area.template, Area.asking, Area.judge})


_MOST = {"epochs": 10_000, "max_steps": 10_000_000, "effective_batch_size": 1_000_000}


@dataclass
class TaskConfig:
    """What to do; each task's own schema stands in its module."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = tuple(ModelKind)  # that it is for
    reads: ClassVar[frozenset[Area]] = frozenset(Area)  # beside its own settings; one to come reads all
    answers: ClassVar[bool] = False  # on stdout, which then has nothing else
    name: str = MISSING  # module of arabic_llm.tasks that runs it


@dataclass
class TrainingConfig(TaskConfig):
    """What every task that trains needs, as TRL's SFTConfig spells it."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = (ModelKind.causal,)
    learning_rate: float = MISSING  # the highest, after the warm-up; then a cosine down to 0
    epochs: float = MISSING  # how often each row is seen
    max_steps: int | None = None  # optimiser steps; overrides epochs
    effective_batch_size: int = MISSING  # sequences per optimiser step
    max_length: int = MISSING  # tokens a sequence
    optimizer: Optimizer = MISSING
    warmup_ratio: float = MISSING  # share of the steps
    weight_decay: float = MISSING  # AdamW's
    max_grad_norm: float = MISSING  # a longer gradient is shortened to it
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
            if name in _MOST and isinstance(value, int | float) and value > _MOST[name]:
                raise ValueError(f"task.{name} must be at most {_MOST[name]:,}, not {value:,}")
        if isinstance(self.learning_rate, float) and self.learning_rate >= 1:
            raise ValueError(
                f"task.learning_rate={self.learning_rate:g} would move each weight by about as much in a"
                " step (Adam, 1412.6980, section 2.1); usual are 1e-5 to 1e-2"
            )
        if isinstance(self.weight_decay, int | float) and self.weight_decay < 0:
            raise ValueError(f"task.weight_decay must not be negative ({self.weight_decay})")
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
    loss_also_divided: bool = False  # by the micro-batches of a step once more, as arXiv 2412.17548 logs it


@dataclass
class EvaluateConfig(TaskConfig):
    """Schema of conf/task/evaluate.yaml."""

    reads = ASKING


@dataclass
class CompareConfig(TaskConfig):
    """Schema of conf/task/compare.yaml."""

    reads = frozenset({Area.judge})

    base: str = MISSING  # folder of a run that was evaluated, or of an evaluation: <study>/evaluation/base
    tuned: str = MISSING  # that of the other one


@dataclass
class RobustnessConfig(TaskConfig):
    """Schema of conf/task/robustness.yaml."""

    reads = ASKING

    perturbations: list[str] = MISSING  # names of text/perturb.py
    rates: list[float] = MISSING  # shares of what can be changed
    diacritised_text: str = MISSING  # as typed, or under data_root: diacritics_added learns its words there

    def __post_init__(self) -> None:
        """Refuse perturbations that nobody knows, rates that are no shares, and nothing of either."""
        if isinstance(self.perturbations, list):  # they are not, while the schema is registered
            from arabic_llm.text import perturb  # long patterns, for no other task

            if not self.perturbations:
                raise ValueError(f"task.perturbations is empty; there are: {', '.join(perturb.NAMES)}")
            for name in self.perturbations:
                if name not in perturb.NAMES:
                    guess = did_you_mean(name, list(perturb.NAMES))
                    raise ValueError(f"task.perturbations: no perturbation '{name}'{guess}")
        if self.rates == []:
            raise ValueError("task.rates is empty")
        for rate in self.rates if isinstance(self.rates, list) else ():
            if not 0 < rate <= 1:
                raise ValueError(f"task.rates must be above 0 and at most 1, not {rate:g}")


@dataclass
class SftConfig(FineTuningConfig):
    """Schema of conf/task/sft.yaml."""

    reads = TUNING


@dataclass
class ClassifyConfig(TrainingConfig):
    """Schema of conf/task/classify.yaml."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = tuple(ModelKind)
    reads = ROWS | {Area.labels, Area.training, Area.tuning}


@dataclass
class PretrainConfig(TrainingConfig):
    """Schema of conf/task/pretrain.yaml."""

    reads = frozenset({Area.model, Area.template, Area.training})

    num_documents: int = MISSING  # generated, of some 27 tokens each
    export_to: str | None = None  # folder for the finished model; default: model/ of the run


class Planned(Enum):
    """The task that is planned."""

    sft = "sft"
    classify = "classify"
    dpo = "dpo"
    orpo = "orpo"
    kto = "kto"
    evaluate = "evaluate"


@dataclass
class PlanConfig(TrainingConfig):
    """Schema of conf/task/plan.yaml."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = tuple(ModelKind)
    of: Planned = MISSING  # which task
    exact: bool = MISSING  # rehearse the real code on the meta device besides: some seconds


@dataclass
class PrepareConfig(TaskConfig):
    """Schema of conf/task/prepare.yaml."""

    reads = frozenset({Area.model, Area.rows, Area.items, Area.cleaning})

    epochs: float = MISSING  # of the training that is planned with these rows
    effective_batch_size: int = MISSING  # its sequences per optimiser step

    def __post_init__(self) -> None:
        """Refuse a training that sees nothing."""
        for name in ("epochs", "effective_batch_size"):
            value = getattr(self, name)
            if isinstance(value, int | float) and value <= 0:
                raise ValueError(f"task.{name} must be positive, not {value}")


class Form(Enum):
    """What of a row is learned."""

    answers = "answers"  # and raw texts: task=sft
    pairs = "pairs"  # a better answer and a worse one: task=dpo, task=orpo
    ratings = "ratings"  # an answer, and whether it is to become likelier: task=kto


@dataclass
class InspectConfig(TaskConfig):
    """Schema of conf/task/inspect.yaml."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = (ModelKind.causal,)
    reads = ROWS | {Area.tokens, Area.items}
    rows: int = MISSING  # how many are shown, spread over the data set
    ids: list[str] = field(default_factory=list)  # these rows instead, named as errors name them
    max_length: int = MISSING  # tokens a sequence, as in training
    form: Form = MISSING  # what of a row is learned

    def __post_init__(self) -> None:
        """Refuse to show nothing."""
        if isinstance(self.rows, int) and self.rows < 1:
            raise ValueError(f"task.rows must be at least 1, not {self.rows}")


class ExportFormat(Enum):
    """What a run is handed on as."""

    adapter = "adapter"  # as PEFT reads it, beside its base
    merged = "merged"  # whole weights, as transformers and vLLM read them
    gguf = "gguf"  # one file, as llama.cpp reads it
    ollama = "ollama"  # that file, with the Modelfile that says how it talks


class WeightType(Enum):
    """In what numbers merged weights are written."""

    auto = "auto"  # as the base's own files are
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class GgufType(Enum):
    """In what numbers the matrices of a GGUF file are written; norms and biases are of 32 bits."""

    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    q8_0 = "q8_0"  # 8 bits in blocks of 32 with a scale


@dataclass
class ExportConfig(TaskConfig):
    """Schema of conf/task/export.yaml."""

    reads = frozenset()  # which model, adapter and data: the run says it

    run: str = MISSING  # folder of a finished run that has trained
    formats: list[ExportFormat] = field(default_factory=list)
    dtype: WeightType = MISSING  # of merged weights
    gguf_type: GgufType = MISSING
    shard_mib: int = MISSING  # of a file of merged weights, at most
    num_ctx: int = MISSING  # tokens that Ollama lets a conversation have, at most those of the model
    base: str | None = None  # folder of the base model, where it is another one than the run's
    push: str | None = None  # user/name on the hub: uploaded there, private, with HF_TOKEN

    def __post_init__(self) -> None:
        """Refuse an export of nothing, sizes that hold nothing, and what is no name on the hub."""
        if self.formats == [] and self.run != MISSING:
            raise ValueError(f"task.formats is empty; there are: {', '.join(f.name for f in ExportFormat)}")
        for name in ("shard_mib", "num_ctx"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"task.{name} must be at least 1, not {value}")
        if self.push is not None and not _ON_THE_HUB.fullmatch(self.push):
            raise ValueError(f"task.push={self.push} is no name on the hub; give user/name")


@dataclass
class DownloadConfig(TaskConfig):
    """Schema of conf/task/download.yaml."""


@dataclass
class ReportConfig(TaskConfig):
    """Schema of conf/task/report.yaml."""

    reads = frozenset()

    folders: list[str] = MISSING  # everything below them is looked through

    def __post_init__(self) -> None:
        """Refuse to look nowhere."""
        if isinstance(self.folders, list) and not self.folders:
            raise ValueError("task.folders is empty; name folders of runs, or leave it out")
