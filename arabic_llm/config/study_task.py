"""Types of conf/task/study.yaml: what a study trains, stage after stage, each judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from arabic_llm.config.data import DataConfig
from arabic_llm.config.preference_task import DpoConfig, KtoConfig, OrpoConfig
from arabic_llm.config.task import ASKING, TUNING, FineTuningConfig


class Stage(Enum):
    """What a study may train, one after the other: tasks, by their names."""

    sft = "sft"
    dpo = "dpo"
    orpo = "orpo"
    kto = "kto"


BASE = "base"  # what is trained first stands on it


@dataclass
class StudyConfig(FineTuningConfig):
    """Schema of conf/task/study.yaml. Its own settings of training are those of its stage sft."""

    reads = TUNING | ASKING

    stages: list[Stage] = field(default_factory=list)  # none: sft alone, judged before and after
    starts_from: dict[str, str | None] = field(default_factory=dict)  # another earlier stage, or base
    prompts: list[str] = field(default_factory=list)  # put to the base and to each stage, for the report
    pairs: DataConfig = field(default_factory=DataConfig)  # that every stage but sft learns from
    dpo: DpoConfig = field(default_factory=DpoConfig)
    orpo: OrpoConfig = field(default_factory=OrpoConfig)
    kto: KtoConfig = field(default_factory=KtoConfig)

    def __post_init__(self) -> None:
        """Refuse stages that are trained twice, and starts that are not there yet."""
        super().__post_init__()
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"task.stages: {twice[0]} stands there twice; each stage is trained once")
        for prompt in self.prompts:
            if not isinstance(prompt, str):  # YAML makes a mapping of a colon and a space
                raise ValueError(f"task.prompts: {prompt} is no text; quote it")
        for name, start in self.starts_from.items():
            if start is None:
                continue
            if name not in names:
                raise ValueError(
                    f"task.starts_from: no stage '{name}' in task.stages ({', '.join(names) or 'none'})"
                )
            earlier = [BASE, *names[: names.index(name)]]
            if start not in earlier:
                raise ValueError(
                    f"task.starts_from: {name} cannot start from '{start}'; before it there are:"
                    f" {', '.join(earlier)}"
                )

    def start_of(self, stage: Stage) -> str:
        """Return what a stage starts from: what is named, else the stage before it, else the base."""
        at = self.stages.index(stage)
        return self.starts_from.get(stage.name) or (self.stages[at - 1].name if at else BASE)

    @property
    def learns_from_pairs(self) -> bool:
        """Return whether any stage needs them."""
        return any(stage is not Stage.sft for stage in self.stages)
