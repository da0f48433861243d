"""Settings of a task, after a task of another kind, or one that trains nothing, was refused."""

from __future__ import annotations

from arabic_llm.config.adapter import Method
from arabic_llm.config.run import RunConfig
from arabic_llm.config.synthesize_task import SynthesizeConfig
from arabic_llm.config.task import FineTuningConfig, HeldOutConfig, TrainingConfig
from arabic_llm.errors import ConfigError


def training(config: RunConfig) -> TrainingConfig:
    """Return the settings of a task that trains. Raises ConfigError when there is nothing to train."""
    if not isinstance(config.task, TrainingConfig):
        raise ConfigError(f"task={config.task.name} does not train")
    if config.adapter.method is Method.none:
        raise ConfigError("adapter=none trains nothing; choose lora, qlora, dora, rslora or full")
    return config.task


def synthesis(config: RunConfig) -> SynthesizeConfig:
    """Return the settings of task=synthesize. Raises ConfigError for another task."""
    if not isinstance(config.task, SynthesizeConfig):
        raise ConfigError("task=synthesize is needed here")
    return config.task


def followed(task: TrainingConfig) -> HeldOutConfig:
    """Return the texts whose loss is followed; none for a task that has no setting of them."""
    return task.held_out if isinstance(task, FineTuningConfig) else HeldOutConfig(num_bytes=0)
