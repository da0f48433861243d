"""The voices of a talk: a run's base and what it has trained, on one copy of the base's weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from arabic_llm import machine
from arabic_llm.config.adapter import AdapterConfig, Method
from arabic_llm.config.chat_task import ChatConfig, Show
from arabic_llm.config.model import ModelConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.data.tokens import chat_template
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError
from arabic_llm.export import beside_weights
from arabic_llm.models import adapter, bases, placement, tokenization
from arabic_llm.models.bases import Base
from arabic_llm.models.placement import Placement
from arabic_llm.serving.voices import Sampling, Voice
from arabic_llm.workflows import trained_run
from arabic_llm.workflows.trained_run import TrainedRun

_CURE = "take adapter=qlora, task.show=tuned, or a smaller model"


@dataclass(frozen=True)
class Talker:
    """Which weights talk: a model, its base, and the folder of what was trained on it, if anything was."""

    model: ModelConfig
    adapter: AdapterConfig
    base: Base
    trained: Path | None
    codec: Codec  # of what was trained, or else of the base

    @property
    def is_whole(self) -> bool:
        """Return whether what was trained are all weights: the base is then another model."""
        return self.trained is not None and self.adapter.method is Method.full


def talker(config: RunConfig, task: ChatConfig) -> Talker:
    """Return what a talk is with: a run, or a model with its adapter or without."""
    cache = Path(config.cache_dir)
    if task.run is not None:
        return of_run(trained_run.opened(Path(task.run), task.base), cache)
    base = bases.locate(config.model, cache)
    trained = None if config.adapter.path is None else Path(config.adapter.path)
    codec = chat_template.prepare(tokenization.load(base, trained), config.model)
    return Talker(config.model, config.adapter, base, trained, codec)


def of_run(run: TrainedRun, cache_dir: Path) -> Talker:
    """Return what a talk with a run is with. Raises CheckpointError when its base is another one now."""
    base = trained_run.base_of(run, cache_dir)
    return Talker(run.model, run.adapter, base, run.trained, trained_run.codec_of(run))


def shown(talker: Talker, task: ChatConfig) -> Show:
    """Return whose answers are shown. Raises ConfigError for those of what was not trained."""
    if talker.trained is None:
        if task.show in (Show.tuned, Show.both):
            raise ConfigError(
                f"task.show={task.show.name}: nothing was trained here; give task.run=outputs/sft/NAME, or"
                " adapter.path of an adapter"
            )
        return Show.base
    return task.show or (Show.both if task.web else Show.tuned)


def sampling(config: RunConfig, task: ChatConfig) -> Sampling:
    """Return how answers are drawn."""
    how = (task.max_new_tokens, task.temperature, task.top_p, task.top_k, task.repetition_penalty)
    return Sampling(*how, seed=config.seed)


def voices(config: RunConfig, talker: Talker, show: Show) -> list[Voice]:
    """Return who answers, the base first. Raises UserError where the weights cannot be had."""
    place = placement.resolve(machine.settle(config.hw))
    names: list[Show] = [Show.base, Show.tuned] if show is Show.both else [show]
    with placement.enough_memory(f"reading {talker.model.name}", _CURE):
        models = dict(_models(talker, place, names))
    return [_voice(talker, name, models[name]) for name in names]


def _models(talker: Talker, place: Placement, names: list[Show]) -> Iterator[tuple[Show, PreTrainedModel]]:
    """Yield the weights of each voice: one copy of the base's, where an adapter tells them apart."""
    told = (talker.model, talker.base, talker.adapter, place)
    if talker.is_whole:
        for name in names:
            yield name, _ready(adapter.load_trained(*told, talker.trained if name is Show.tuned else None))
        return
    model = _ready(adapter.load_trained(*told, None if Show.tuned not in names else talker.trained))
    yield from dict.fromkeys(names, model).items()


def _ready(model: PreTrainedModel) -> PreTrainedModel:
    model.requires_grad_(False)
    return model.eval()


def _voice(talker: Talker, name: Show, model: PreTrainedModel) -> Voice:
    codec = talker.codec
    unknown: tuple[int, ...] = ()
    is_off = name is Show.base and hasattr(model, "disable_adapter")
    if name is Show.base and talker.trained is not None:
        codec = chat_template.prepare(tokenization.load(talker.base), talker.model)
        unknown = tuple(sorted(_ids(talker.codec) - _ids(codec)))
    folder = talker.trained if talker.is_whole and name is Show.tuned else talker.base.folder
    ends = tuple(beside_weights.stop_ids(codec, folder or talker.base.folder))
    return Voice(name.name, model, codec, ends, talker.model.max_length, is_off, unknown)


def _ids(codec: Codec) -> set[int]:
    return {*codec.tokenizer.get_vocab().values()}
