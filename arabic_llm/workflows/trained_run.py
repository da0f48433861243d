"""A run that has trained, opened again: which model, base, tokenizer and adapter it is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arabic_llm import files
from arabic_llm.config.adapter import AdapterConfig, Method, Quantization
from arabic_llm.config.model import OWN_TEMPLATE, ModelConfig
from arabic_llm.data.tokens import chat_template
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.data.tokens.template_checks import TEMPLATE_FILE
from arabic_llm.errors import CheckpointError, ConfigError, DamagedError
from arabic_llm.models import adapter_files, bases, tokenization
from arabic_llm.models.bases import Base

T = TypeVar("T")
_MANIFEST, _RESULT = "manifest.json", "result.json"
_TASKS = ("sft", "study", "dpo", "orpo", "kto")  # whose models talk


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: what it was told, and what it has left."""

    directory: Path
    manifest: dict[str, Any]
    model: ModelConfig  # talks in the template that was saved with what was trained
    adapter: AdapterConfig
    trained: Path  # folder of its adapter, or of its weights

    @property
    def is_adapter(self) -> bool:
        """Return whether what was trained is an adapter beside its base."""
        return self.adapter.method is Method.lora

    @property
    def is_4bit(self) -> bool:
        """Return whether its base was held in 4 bits."""
        return self.adapter.quantization is Quantization.nf4

    @property
    def identity(self) -> dict[str, Any]:
        """Return what the run was told, as plain values."""
        told: dict[str, Any] = self.manifest["identity"]
        return told


def opened(directory: Path, base: str | None) -> TrainedRun:
    """Return what a folder holds; `base` is where its base lies now, if not where it was.

    Raises ConfigError for what is no run that has trained a model that talks, CheckpointError for one
    that never finished or is damaged.
    """
    if not (directory / _MANIFEST).is_file():
        raise ConfigError(
            f"task.run: {directory} is no run of this program (no {_MANIFEST}); give its folder"
        )
    manifest = files.read_state(directory / _MANIFEST, is_old_too=True)
    told = _told(directory, manifest)
    if (name := told["task"].get("name")) not in _TASKS:
        raise ConfigError(
            f"task.run: {directory} is a run of task={name}, which leaves no model that talks; give one of"
            " task=sft or task=study"
        )
    if stages := told["task"].get("stages"):
        each = ", ".join(str(directory / stage) for stage in stages)
        raise ConfigError(f"task.run: {directory} was trained in stages; give one of them: {each}")
    if not (directory / _RESULT).is_file():
        raise CheckpointError(
            f"task.run: {directory} never finished (no {_RESULT}); finish it first:"
            f" {manifest.get('command', 'type its command again')}"
        )
    model, adapter = _typed(ModelConfig, told["model"]), _typed(AdapterConfig, told["adapter"])
    trained = directory / adapter.method.folder
    if not files.is_whole(trained):
        raise CheckpointError(f"task.run: {trained} is missing, or a file of it was changed after training")
    if base is not None:
        model = replace(model, path=base, builtin=False)
    template = trained / TEMPLATE_FILE
    if model.chat_template != OWN_TEMPLATE and template.is_file():  # its own lies there too, unmarked
        model = replace(model, chat_template=str(template))
    return TrainedRun(directory, manifest, model, adapter, trained)


def base_of(run: TrainedRun, cache_dir: Path) -> Base:
    """Return the base of a run, as it lies here. Raises CheckpointError when it is another one now."""
    base = bases.locate(run.model, cache_dir)
    if run.is_adapter:
        adapter_files.refuse_other_base(adapter_files.read(run.trained), base)
    return base


def codec_of(run: TrainedRun) -> Codec:
    """Return tokenizer and template as what was trained has learned them."""
    return chat_template.prepare(tokenization.load(Base(run.trained, "")), run.model)


def _told(directory: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration in a manifest. Raises DamagedError for one without."""
    told = manifest.get("identity")
    parts = ("model", "adapter", "task", "data")
    if not isinstance(told, dict) or not all(isinstance(told.get(part), dict) for part in parts):
        raise DamagedError(
            f"{directory / _MANIFEST} is damaged: it does not say of which model the run was"
        )
    return told


def _typed(kind: type[T], told: dict[str, Any]) -> T:
    """Return settings as they were told, of an earlier version too: what it did not know is as it is."""
    known = {name: value for name, value in told.items() if name in kind.__dataclass_fields__}  # type: ignore[attr-defined]
    try:
        typed: T = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), known))  # type: ignore[assignment]
    except (ValueError, OmegaConfBaseException) as error:
        raise ConfigError(f"task.run: {str(error).splitlines()[0]}") from error
    return typed
