"""The configuration of a model's shape as transformers' own class of that family."""

from __future__ import annotations

import inspect
import re
from copy import deepcopy
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from arabic_llm.config.complaints import did_you_mean
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.errors import ConfigError
from arabic_llm.models.families import OTHER

_BEFORE_5 = ("rope_scaling", "rope_theta")  # of transformers: read as rope_parameters
_OF_SOME = ("max_position_embeddings", "type_vocab_size")  # which not every family has
_READ = re.compile(r'kwargs\.(?:pop|get)\(\s*"(\w+)"')  # in the code of a class
_OF_LAYERS = "layer_types"  # filled in by classes that have it


def to_transformers(a: ArchitectureConfig, **more: Any) -> PretrainedConfig:
    """Return transformers' configuration of a shape, with what else is to be set.

    Raises ConfigError for a model_type that it does not know, and for a field that its class lacks.
    """
    refuse_unknown(a)
    kind = CONFIG_MAPPING[a.model_type]
    fields = {name: value for name, value in a.fields().items() if not _is_derived(kind, name)}
    config: PretrainedConfig = AutoConfig.for_model(
        **deepcopy(fields) | more
    )  # it writes into what is nested
    return config


def refuse_unknown(a: ArchitectureConfig) -> None:
    """Refuse fields that transformers' class of a family lacks: it would take them and do nothing."""
    if a.model_type not in CONFIG_MAPPING:
        raise ConfigError(
            f"model.architecture.model_type={a.model_type}: transformers has no such model; take the"
            " model_type of its config.json"
        )
    kind = CONFIG_MAPPING[a.model_type]
    known = {*kind().to_dict(), *kind.attribute_map, *_BEFORE_5, _OF_LAYERS, *_of_old(kind)}
    for name in a.other:
        if name not in known:
            guess = did_you_mean(f"model.architecture.{OTHER}.{name}", sorted(known))
            raise ConfigError(f"{kind.__name__} has no field '{name}' (model.architecture.{OTHER}){guess}")
    for name in _OF_SOME:
        if getattr(a, name) is not None and name not in known:
            raise ConfigError(f"{kind.__name__} has no field '{name}'; leave model.architecture.{name} out")


def _is_derived(kind: type[PretrainedConfig], name: str) -> bool:
    """Return whether a class computes a field of others: Falcon's width of a head."""
    found = getattr(kind, name, None)
    return isinstance(found, property) and found.fset is None


def _of_old(kind: type[PretrainedConfig]) -> set[str]:
    """Return the fields that a class reads as config.json once spelled them: sliding_window_pattern."""
    return set(_READ.findall(inspect.getsource(kind)))


def refuse_other(a: ArchitectureConfig, config: PretrainedConfig) -> None:
    """Refuse fields that config.json leaves to its class, where somebody says another."""
    found = config.to_dict()
    for name in (*a.other, *_OF_SOME):
        expected, setting = a.fields().get(name), f"{OTHER}.{name}" if name in a.other else name
        if expected is not None and name not in _BEFORE_5 and found.get(name, expected) != expected:
            raise ConfigError(
                f"model.architecture.{setting}={expected}: the model that is there has {found[name]};"
                " leave it out, or give the right model.path"
            )
