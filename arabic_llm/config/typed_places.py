"""Where a setting was typed that its type knows by another place: a stage's, its pairs', of a source."""

from __future__ import annotations

import re
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from arabic_llm.config.data import DataConfig, SourceConfig
from arabic_llm.config.preference_task import DpoConfig, KtoConfig, OrpoConfig
from arabic_llm.config.study_task import Stage
from arabic_llm.config.task import TrainingConfig

_CHOICE = re.compile(r"(task=\w+ (?:\S+=\S+ )*)?(?<![\w./-])data=(?=\w)")
_PAIRS = "task.pairs"
_Kind = type[SourceConfig | TrainingConfig]
_KINDS: dict[Stage, _Kind] = {Stage.dpo: DpoConfig, Stage.orpo: OrpoConfig, Stage.kto: KtoConfig}


def of_stage(message: str, stage: Stage) -> str:
    """Return what the task of a stage says, in the names that a study has for its settings and pairs."""
    if stage is Stage.sft:
        return message  # a study's own settings are those of this stage
    message = _moved(message, "task", f"task.{stage.name}", _KINDS[stage])
    message = _moved(message, "data", _PAIRS, DataConfig)
    # a command for another task keeps the group: task=download data=NAME
    return _CHOICE.sub(lambda found: found[0] if found[1] else f"{_PAIRS}=", message)


def of_refused(cfg: DictConfig) -> str | None:
    """Return what a part of a configuration refuses, named as typed; None where none is at fault."""
    for place, part, own in _parts(cfg):
        try:
            OmegaConf.to_object(part)
        except ValueError as error:
            group = "data" if issubclass(own, SourceConfig) else "task"
            return _moved(str(error), group, place, own)
    return None


def _parts(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig, _Kind]]:
    """Yield (place, part, its type) of every part that stands inside its like, the innermost first."""
    for key in map(str, cfg):
        if OmegaConf.is_missing(cfg, key) or not isinstance(cfg[key], DictConfig):
            continue
        place = f"{prefix}{key}"
        yield from _parts(cfg[key], f"{place}.")
        kind = OmegaConf.get_type(cfg[key])
        if "." in place and isinstance(kind, type) and issubclass(kind, SourceConfig | TrainingConfig):
            yield place, cfg[key], kind


def _moved(message: str, group: str, place: str, kind: _Kind) -> str:
    """Return a message in which the settings of a type are named at another place than their group's."""
    names = "|".join(kind.__dataclass_fields__)
    return re.sub(rf"(?<![\w./-]){group}\.(?=({names})\b)", f"{place}.", message)
