"""The configuration of a model's shape as transformers' own class of that family, and back."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from arabic_llm.config.complaints import did_you_mean
from arabic_llm.config.model import ArchitectureConfig, ModelKind
from arabic_llm.errors import ConfigError
from arabic_llm.models.families import OTHER

_BEFORE_5 = ("rope_scaling", "rope_theta")  # of transformers: read as rope_parameters
_OF_SOME = ("max_position_embeddings", "type_vocab_size")  # which not every family has
_CONTINUING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # classes of a config.json
_INNER = 4  # GPT-2 and its kin: the width between two layers, in widths of a token
_SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads")
_NO_SHAPE = (
    *("architectures", "dtype", "torch_dtype", "transformers_version", "id2label", "label2id", "use_cache"),
    *("problem_type", "quantization_config", "output_attentions", "output_hidden_states", "return_dict"),
)
_READ = re.compile(r'kwargs\.(?:pop|get)\(\s*"(\w+)"')  # in the code of a class
_OF_LAYERS = "layer_types"  # filled in by classes that have it


def to_transformers(a: ArchitectureConfig, **more: Any) -> PretrainedConfig:
    """Return transformers' configuration of a shape, with what else is to be set.

    Raises ConfigError for a model_type that it does not know, and for a field that its class lacks.
    """
    refuse_unknown(a)
    kind = CONFIG_MAPPING[a.model_type]
    fields = {name: value for name, value in a.fields().items() if not _is_derived(kind, name)}
    own = deepcopy(fields) | more  # it writes into what is nested
    config: PretrainedConfig = AutoConfig.for_model(**own)
    return config


def _is_derived(kind: type, name: str) -> bool:
    """Return whether a class works a field out of others and takes none: the width of Falcon's heads."""
    own = getattr(kind, name, None)
    return isinstance(own, property) and own.fset is None


def kind_of(settings: Mapping[str, Any]) -> ModelKind:
    """Return what the model of a config.json predicts. Raises ConfigError where that is no token."""
    kind = str(settings.get("model_type"))
    _refuse_no_class(kind)
    named = settings.get("architectures")
    continues = isinstance(named, list) and any(str(name).endswith(_CONTINUING) for name in named)
    if settings.get("is_encoder_decoder") is not True:
        if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not continues:
            return ModelKind.masked
        if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            return ModelKind.causal
    raise ConfigError(
        f"model_type={kind} is of a model that neither continues a text nor fills gaps in one; take one"
        " that does"
    )


def of_settings(settings: Mapping[str, Any]) -> ArchitectureConfig:
    """Return the shape that a config.json gives a model of tokens, with the defaults of its class.

    Raises ConfigError for a model_type that transformers does not know.
    """
    _refuse_no_class(str(settings.get("model_type")))
    config = AutoConfig.for_model(**settings).get_text_config()
    config.allow_global_per_layer_attribute_access = True  # Gemma-4's layers differ: those of most count
    read: dict[str, Any] = {
        name: getattr(config, name, None) for name in ArchitectureConfig.__dataclass_fields__
    }
    # A state space model has no heads.
    heads, hidden = read["num_attention_heads"] or 1, read["hidden_size"]
    known = _known(type(config))
    read |= {name: None for name in _OF_SOME if name not in known}  # a config.json may say anything
    inner = read["intermediate_size"] or _INNER * hidden
    named = read | {
        "model_type": config.model_type,
        "intermediate_size": max(inner) if isinstance(inner, list) else inner,  # one for each layer
        "num_attention_heads": heads,
        "num_key_value_heads": read["num_key_value_heads"] or heads,
        "head_dim": read["head_dim"] or hidden // heads,
        "tie_word_embeddings": bool(read["tie_word_embeddings"]),
        "attention_bias": bool(read["attention_bias"]),
        OTHER: _beside(config, known),
    }
    return ArchitectureConfig(**named)


def _beside(config: PretrainedConfig, known: set[str]) -> dict[str, Any]:
    """Return the fields of a configuration that its class would not have by itself, and that JSON holds."""
    named = {name: getattr(config, name) for name in _SIZES if hasattr(config, name)}
    own, usual = config.to_dict(), type(config)(**named).to_dict()
    shape = ArchitectureConfig.__dataclass_fields__
    said = {*shape, *_NO_SHAPE, *(its for ours, its in config.attribute_map.items() if ours in shape)}
    beside = {}
    for name, value in own.items():
        is_one = name in known - said and not name.startswith("_") and not name.endswith("token_id")
        if is_one and value != usual.get(name):
            try:
                beside[name] = json.loads(json.dumps(value, allow_nan=False))
            except (TypeError, ValueError):
                continue
    return beside


def _refuse_no_class(model_type: str) -> None:
    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, CONFIG_MAPPING.keys(), n=3, cutoff=0)
        raise ConfigError(
            f"transformers {version('transformers')} has no model_type '{model_type:.40}'"
            f" (nearest: {', '.join(near)}); take a model that it has, or a newer transformers"
        )


def refuse_unknown(a: ArchitectureConfig) -> None:
    """Refuse fields that transformers' class of a family lacks: it would take them and do nothing."""
    if a.model_type not in CONFIG_MAPPING:
        raise ConfigError(
            f"model.architecture.model_type={a.model_type}: transformers has no such model; take the"
            " model_type of its config.json"
        )
    kind = CONFIG_MAPPING[a.model_type]
    known = _known(kind)
    for name in a.other:
        if name not in known:
            guess = did_you_mean(f"model.architecture.{OTHER}.{name}", sorted(known))
            raise ConfigError(f"{kind.__name__} has no field '{name}' (model.architecture.{OTHER}){guess}")
    for name in _OF_SOME:
        if getattr(a, name) is not None and name not in known:
            raise ConfigError(f"{kind.__name__} has no field '{name}'; leave model.architecture.{name} out")


def _known(kind: Any) -> set[str]:
    """Return the fields of a class of configurations."""
    return {*kind().to_dict(), *kind.attribute_map, *_BEFORE_5, _OF_LAYERS, *_of_old(kind)}


def _of_old(kind: type[PretrainedConfig]) -> set[str]:
    """Return the fields that a class reads as config.json once spelled them: sliding_window_pattern."""
    return set(_READ.findall(inspect.getsource(kind)))


def refuse_recomputing(model: PreTrainedModel) -> None:
    """Refuse to have layers computed again by code that does not know how."""
    if not model.supports_gradient_checkpointing:
        raise ConfigError(
            f"hw.gradient_checkpointing=true: transformers' {type(model).__name__} computes no layer again;"
            " set it to false"
        )


def refuse_other(a: ArchitectureConfig, config: PretrainedConfig) -> None:
    """Refuse fields that config.json leaves to its class, where somebody says another."""
    found = config.get_text_config().to_dict()
    for name in (*a.other, *_OF_SOME):
        expected, setting = a.fields().get(name), f"{OTHER}.{name}" if name in a.other else name
        if expected is not None and name not in _BEFORE_5 and found.get(name, expected) != expected:
            raise ConfigError(
                f"model.architecture.{setting}={expected}: the model that is there has {found[name]};"
                " leave it out, or give the right model.path"
            )
