"""Everything a run knows: a choice of each group of conf/, and the keys beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from arabic_llm.config.adapter import AdapterConfig, Quantization
from arabic_llm.config.data import DataConfig
from arabic_llm.config.hw import HardwareConfig, Precision
from arabic_llm.config.model import ModelConfig, ModelKind
from arabic_llm.config.suite import JudgeConfig, SuiteConfig
from arabic_llm.config.sweep_settings import SweepConfig
from arabic_llm.config.task import Optimizer, TaskConfig


class Tracking(Enum):
    """Who gets a copy of metrics.jsonl."""

    wandb = "wandb"
    none = "none"


class Language(Enum):
    """What reports are written in."""

    en = "en"
    ar = "ar"


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
    seed: int = MISSING  # of every draw: splits, order of rows, first weights of an adapter
    resume: bool = MISSING  # carry on what an earlier run of this command left; false: begin anew
    stop_after: int | None = None  # steps: then it is stopped, to be carried on
    sweep: SweepConfig = field(default_factory=SweepConfig)
    dry_run: bool = MISSING  # say what would happen and write nothing
    tracking: Tracking = MISSING
    lang: Language = MISSING  # of reports: tables, figures, and what is said of them
    data_root: str = MISSING  # <data_root>/<data set>/ is where local copies are looked for
    cache_dir: str = MISSING  # what several runs share: token rows, evaluations
    output_dir: str = MISSING  # of this run: hydra.run.dir=my/folder sets it

    def __post_init__(self) -> None:
        """Refuse a model its task is not for, sequences it cannot see, and what no generator takes."""
        if self.model.kind not in getattr(self.task, "model_kinds", ModelKind):
            raise ValueError(
                f"task={self.task.name} is not for model={self.model.name}, a masked language model:"
                " task=classify trains it and task=evaluate judges it"
            )
        for asked in self.suite.tasks.values():
            if asked.own_rows and asked.data is None:  # a stage that learns from pairs is asked the same
                asked.data, asked.seed = self.data, self.seed
                asked.language = asked.language or self.data.language
        self._refuse_no_place()
        if isinstance(self.seed, int) and not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), not {self.seed}")
        if self.stop_after is not None and self.stop_after < 1:
            raise ValueError(f"stop_after must be at least 1, not {self.stop_after}")
        if self.hw.streamed_layers:
            self._refuse_streaming(self.hw.streamed_layers)
        self._refuse_other_moments()
        self._refuse_too_long()

    def _refuse_no_place(self) -> None:
        for name in ("data_root", "cache_dir", "output_dir"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; give a folder, or leave it out")

    def _refuse_other_moments(self) -> None:
        in_half = getattr(self.adapter, "dtype", None) is Precision.bfloat16
        in_half &= getattr(self.task, "optimizer", None) is Optimizer.adamw
        if in_half and self.hw.optimizer_on_host:
            raise ValueError(
                "hw.optimizer_on_host=true has moments of 32 bits, and adapter.dtype=bfloat16 of 16: hw"
                " would change what is learned; leave it out, or set task.optimizer=adamw_8bit"
            )

    def _refuse_streaming(self, number: int) -> None:
        """Refuse to stream layers that are not there, not of 4 bits, or not computed again."""
        setting = f"hw.streamed_layers={number}"
        if getattr(self.adapter, "quantization", None) is not Quantization.nf4:
            name = getattr(self.adapter, "name", None)
            raise ValueError(
                f"{setting} is of layers in 4 bits, and adapter={name} has none: take adapter=qlora"
            )
        if self.hw.gradient_checkpointing is False:
            raise ValueError(
                f"{setting} needs layers that are computed again on the way back: leave"
                " hw.gradient_checkpointing=false out"
            )
        if self.hw.fsdp:
            raise ValueError(f"{setting} and hw.fsdp=true are two ways for the same layers; leave one out")
        there = self.model.architecture.num_hidden_layers
        if isinstance(there, int) and number > there:
            raise ValueError(
                f"{setting} is more than the {there} layers of model={self.model.name}; lower it"
            )

    def _refuse_too_long(self) -> None:
        length = getattr(self.task, "max_length", None)
        if (
            isinstance(length, int)
            and isinstance(self.model.max_length, int)
            and length > self.model.max_length
        ):
            seen = f"{self.model.max_length} tokens that model={self.model.name} can see"
            raise ValueError(f"task.max_length={length} is more than the {seen}; lower it")
