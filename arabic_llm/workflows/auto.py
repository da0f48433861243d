"""A model of which no YAML need be written: what one would say is read, once, from its own files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from arabic_llm.config.model import AUTO, OWN_TEMPLATE, ArchitectureConfig, ModelConfig, ModelKind
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import Area, DownloadConfig, PlanConfig, TaskConfig
from arabic_llm.errors import ConfigError
from arabic_llm.models import families, folders, opening, text_part

log = logging.getLogger(__name__)
_TOKENS = ("stop_token", "pad_token", "end_of_text")
_UNSAID, _MOST = 2048, 2**24  # tokens: where nothing says how many are seen; what no model sees


@dataclass(frozen=True)
class _Own:
    """A model as it is found: what it is called, which template is asked for, and where it lies."""

    name: str
    template: str
    folder: Path


def fill(cfg: DictConfig) -> None:
    """Set what model=auto leaves open, and say it in one line; a model that a YAML names stays as it is.

    Raises UserError naming the file that is missing, cannot be used, or is of another kind of model.
    """
    model, task = cfg.model, OmegaConf.get_type(cfg.task) or TaskConfig
    if OmegaConf.is_missing(model.architecture, "model_type") or model.architecture.model_type != AUTO:
        return
    is_brought, is_planned = issubclass(task, DownloadConfig), issubclass(task, PlanConfig)
    talks = Area.template in task.reads and not is_brought and not is_planned
    if Area.model not in task.reads:
        _set(cfg, _blank())
        return
    from arabic_llm.models import bases  # huggingface_hub

    asked = _asked(model)
    folder = bases.settings_folder(asked, network=not is_brought, tokenizer=talks)
    if folder is None:  # yet
        _set(cfg, _blank())
        return
    own = _Own(asked.name, str(model.chat_template), folder)
    opening.check(folder)
    shape = folders.shape(folder)
    found = _of_shape(own, shape)
    if found["kind"] is ModelKind.masked:  # it does not talk
        found |= dict.fromkeys(_TOKENS, "")
        found |= {"chat_template": ""} if model.chat_template == OWN_TEMPLATE else {}
    elif talks:
        found |= _talk(own, model, shape)
    _set(cfg, found)
    log.info("%s", _line(cfg.model, own))


def check(config: RunConfig) -> None:
    """Refuse a folder with another model than its YAML says before anything is planned, or only said.

    Raises ConfigError naming what differs.
    """
    place, is_brought = folders.place(config.model), isinstance(config.task, DownloadConfig)
    reads = config.task.reads & {Area.training, Area.asking} and not is_brought and not config.model.builtin
    if reads and (place / folders.CONFIG).is_file():
        opening.check(place)
        folders.check_shape(config.model, place)


def _asked(model: DictConfig) -> ModelConfig:
    """Return where a model is to be looked for. Raises ConfigError where nothing says it."""
    if model.path is None and model.hub_id is None:
        raise ConfigError(
            "model=auto reads a model from its files: give its folder (model.path=my/folder) or its name on"
            " the hub (model.hub_id=owner/name)"
        )
    settings: dict[str, Any] = {
        **{name: model[name] for name in ("name", "path", "hub_id", "revision")},
        **dict.fromkeys(("chat_template", *_TOKENS), AUTO),
        "extra_files": OmegaConf.to_container(model.extra_files),
    }
    asked = ModelConfig(**settings)
    from arabic_llm import downloads  # huggingface_hub

    if model.path is None and downloads.is_ours(folder := folders.place(asked)):
        downloads.refuse_another(folder, str(model.hub_id))
    return asked


def _blank() -> dict[str, Any]:
    """Return what stands where a task reads no model, or brings one that is not here yet."""
    sizes = {name: 0 for name, of in ArchitectureConfig.__annotations__.items() if of == "int"}
    return {"max_length": _UNSAID, "architecture": {**sizes, "tie_word_embeddings": False}}


def _of_shape(own: _Own, shape: ArchitectureConfig) -> dict[str, Any]:
    settings = opening.read_object(own.folder / folders.CONFIG)
    path = own.folder / "tokenizer_config.json"
    of_tokenizer = opening.read_object(path) if path.is_file() else {}
    seen = [shape.max_position_embeddings, of_tokenizer.get("model_max_length"), settings.get("seq_length")]
    lengths = [int(n) for n in seen if isinstance(n, int | float) and 0 < n <= _MOST]
    return {
        "kind": _kind(settings, own.folder),
        "max_length": min(lengths, default=_UNSAID),
        "architecture": vars(shape),
    }


def _kind(settings: dict[str, Any], folder: Path) -> ModelKind:
    """Return whether a model continues a text or fills gaps in one; a family of the table without torch."""
    if (family := families.known(str(settings.get("model_type")))) is not None:
        return ModelKind.masked if family.is_masked else ModelKind.causal
    from arabic_llm.models import shape  # imports torch

    try:
        return shape.kind_of(settings)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error


def _talk(own: _Own, model: DictConfig, shape: ArchitectureConfig) -> dict[str, Any]:
    """Return the template and the tokens that a model talks with, but those that were set."""
    from arabic_llm.data.tokens import chat_template, protocol
    from arabic_llm.models import bases, tokenization  # transformers

    name = own.name
    tokenizer = tokenization.load(bases.tokenizer_of(name, own.folder))
    ids = tokenizer.get_vocab()
    by_id = {number: token for token, number in ids.items()}
    added = tuple(str(token) for token in tokenizer.added_tokens_decoder.values())
    named = {
        key: str(token) for key, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
    }
    ends = [by_id.get(number) for number in _ends(own.folder)]
    special = {*added, *named.values()}  # config.json may name any number
    vocabulary = protocol.Vocabulary(
        ids, added, named, tuple(token for token in ends if token in special), shape.vocab_size
    )
    template, text = model.chat_template, chat_template.own_template(tokenizer)
    if template == OWN_TEMPLATE and text is None:
        template = "chatml" if protocol.has_chatml(vocabulary) else "chatml_eos"
    tokens = dict(vocabulary.named)
    if template != OWN_TEMPLATE or text is None:
        text = chat_template.template_text(template)
        tokens |= {"eos_token": protocol.end_of_text(vocabulary, name)}
    plain = partial(chat_template.written, text, template, tokens)
    set_ = {key: model[key] for key in _TOKENS if model[key] != AUTO}
    stop = set_.get("stop_token") or protocol.stop_token(vocabulary, plain, name)
    return {
        "chat_template": template,
        "stop_token": stop,
        "pad_token": set_.get("pad_token") or protocol.pad_token(vocabulary, plain, name, stop),
        "end_of_text": set_.get("end_of_text") or protocol.end_of_text(vocabulary, name, stop),
    }


def _ends(folder: Path) -> list[int]:
    """Return the ids that end what a model writes, as the files beside its weights say."""
    found: list[int] = []
    for name in ("generation_config.json", folders.CONFIG):
        path = folder / name
        said = text_part.fields(opening.read_object(path)).get("eos_token_id") if path.is_file() else None
        listed = said if isinstance(said, list) else [said]
        found += [number for number in listed if isinstance(number, int) and number not in found]
    return found


def _set(cfg: DictConfig, found: dict[str, Any]) -> None:
    """Set what is still open; what was set, by a YAML or on the command line, stays."""
    model = cfg.model
    shape = found.pop("architecture")
    with open_dict(cfg):
        for of, values in ((model, found), (model.architecture, shape)):
            for name, value in values.items():
                is_open = OmegaConf.is_missing(of, name) or of[name] in (AUTO, None, False, {})
                if is_open or (name in ("kind", "chat_template") and value != of[name]):
                    of[name] = value


def _line(model: DictConfig, own: _Own) -> str:
    a, talk = model.architecture, ""
    if model.kind is ModelKind.masked:
        talk = "; a masked language model"
    elif model.stop_token != AUTO:
        brought = " (it brings none)" if own.template != model.chat_template else ""
        talk = f"; chat template: {model.chat_template}{brought}, an answer ends with {model.stop_token},"
        talk += f" a text with {model.end_of_text}, {model.pad_token} pads"
    return (
        f"model=auto: {model.name} is {a.model_type} of {a.num_hidden_layers} layers in {own.folder}{talk};"
        f" up to {model.max_length:,} tokens, learning rate {model.learning_rate:g}"
    )
