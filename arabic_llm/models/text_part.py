"""The model of text inside one that also sees or hears: what its config.json says, and how it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm.models import opening

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PART = "text_config"
# Names of its weights in a file of the whole, older and newer: as in one of text alone.
_NAMES = {
    r"^(?:model\.)?language_model\.lm_head\.": "lm_head.",
    r"^(?:model\.)?language_model\.(?:model\.)?": "model.",
}


def fields(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a config.json that speak of the model of tokens: of one that sees, a part."""
    return {**said, **said[_PART]} if has(said) else dict(said)


def has(said: Mapping[str, Any]) -> bool:
    """Return whether a config.json is of a model that sees or hears too."""
    return isinstance(said.get(_PART), dict)


def options(folder: Path, model_type: str) -> dict[str, Any]:
    """Return what transformers' from_pretrained needs to load the text alone; nothing for what is alone.

    Raises CheckpointError.
    """
    if not _is_part(opening.read_object(folder / "config.json"), model_type):
        return {}
    return {"config": _config(folder), "key_mapping": dict(_NAMES)}


def unused(names: Iterable[str], model: PreTrainedModel, given: Mapping[str, Any]) -> list[str]:
    """Return the weights that found no place, without those of what sees or hears: they are left out.

    `given` is what the model was loaded with.
    """
    if given.get("key_mapping") != _NAMES:
        return list(names)
    return [name for name in names if _is_of_text(name, model)]


def _is_of_text(name: str, model: PreTrainedModel) -> bool:
    first, _, rest = name.partition(".")
    if first == model.base_model_prefix:
        return hasattr(model.base_model, rest.partition(".")[0])
    return hasattr(model, first)


def _is_part(said: Mapping[str, Any], model_type: str) -> bool:
    return has(said) and said.get("model_type") != model_type


def _config(folder: Path) -> Any:
    from transformers import AutoConfig  # imports torch

    with opening.opened(folder):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
