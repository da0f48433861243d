"""Which layers get an adapter: linear ones of the text; never its head, a router, or what sees or hears."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from peft.utils.transformers_weight_conversion import (
    convert_peft_adapter_state_dict_for_transformers,
    convert_peft_config_for_transformers,
)
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from arabic_llm.errors import ConfigError
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR
from arabic_llm.models.load import HEADS

log = logging.getLogger(__name__)
_EXPERTS, _ROUTER, _GATES = "experts", "router", ("gate", "shared_expert_gate")  # parts of layers' names
_DIMENSIONS = 2  # of a matrix; the weights of all experts in one tensor have one more


@dataclass(frozen=True)
class Targets:
    """Layers that get an adapter, as PEFT looks for them."""

    modules: list[str]  # names of layers, or how they end
    parameters: list[
        str
    ]  # how the names of weights of routed experts end: asked for, never found by itself


def find(model: PreTrainedModel, wanted: Sequence[str]) -> Targets:
    """Return the layers of a model that are wanted: as named, or all linear ones.

    Those of a family in the table are as it names them; of others the model itself is looked at.
    Raises ConfigError for a name that is of no linear layer of the text, and for a router.
    """
    layers, experts = list(linear_layers(model)), list(_experts(model))
    named = list(wanted)
    if ALL_LINEAR in named:
        of_family = families.linear_modules(model.config.model_type)
        every = _told_apart(model, layers) if of_family == ALL_LINEAR else list(of_family)
        named = [*every, *(name for name in named if name != ALL_LINEAR)]
    of_experts = [name for name in named if not _ending(layers, name) and _ending(experts, name)]
    modules = [name for name in named if name not in of_experts]
    _refuse_others(model, modules, (layers, experts))
    text = {*_of_text(model)}
    if any(name not in text for end in modules for name in _ending(_linear(model), end)):
        modules = [
            name for end in modules for name in _ending(layers, end)
        ]  # in full: a tower has them too
    return Targets(modules, of_experts)


def linear_layers(model: PreTrainedModel) -> Iterator[str]:
    """Yield the names of the linear layers of the text: no head, no router, no routed expert."""
    heads = {*_heads(model)}
    for name in _of_text(model):
        if name not in heads and _EXPERTS not in name.split(".") and not _is_router(model, name):
            yield name


def _of_text(model: PreTrainedModel) -> Iterator[str]:
    """Yield the linear layers that are not of what sees or hears."""
    prefix, heads = _text(model), {*_heads(model)}
    yield from (name for name in _linear(model) if name.startswith(prefix) or name in heads)


def _linear(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))]


def _heads(model: PreTrainedModel) -> Iterator[str]:
    """Yield the modules of heads: of tokens, of classes, and what is drawn anew with the latter."""
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if module is head or any(part.endswith((*HEADS, "pooler")) for part in name.split(".")):
            yield name


def _is_router(model: PreTrainedModel, name: str) -> bool:
    """Return whether a linear layer says which experts are asked, or how much a shared one counts."""
    block, _, last = name.rpartition(".")
    is_gate = last in _GATES and hasattr(model.get_submodule(block), _EXPERTS)
    return is_gate or any(part.endswith(_ROUTER) for part in name.split("."))


def _experts(model: nn.Module) -> Iterator[str]:
    """Yield the weights of routed experts that are one tensor of all of them."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > _DIMENSIONS and _EXPERTS in name.split("."):
            yield name


def _text(model: PreTrainedModel) -> str:
    """Return what the names of the text's layers begin with, in a model that also sees or hears."""
    text = model.config.get_text_config()
    if text is model.config:
        return ""
    parts = (
        name
        for name, module in model.named_modules()
        if isinstance(module, PreTrainedModel) and module.config.model_type == text.model_type
    )
    return next((f"{name}." for name in parts if name), "")


def _told_apart(model: PreTrainedModel, layers: list[str]) -> list[str]:
    """Return the layers that PEFT does not take for routed experts, whose names theirs once were."""
    layers = _plain(model, layers)
    config = LoraConfig(target_modules=layers)
    convert_peft_config_for_transformers(config, model, None)
    kept = {*(config.target_modules or ())}
    _tell(layers, [*kept], "PEFT takes their names for those of routed experts")
    found = [name for name in layers if name in kept]
    return _read_as_written(model, found)


def _read_as_written(model: PreTrainedModel, layers: list[str]) -> list[str]:
    """Return the layers whose adapters PEFT finds again in its own file.

    It renames them as a base's files rename weights, and those of Laguna's shared experts to what is none.
    """
    files = {f"base_model.model.{name}.lora_A.weight": name for name in layers}
    drawn = {file: torch.empty(1, 1) for file in files}
    read = convert_peft_adapter_state_dict_for_transformers(model, LoraConfig(target_modules=layers), drawn)
    kept = [name for file, name in files.items() if file in read]
    _tell(layers, kept, "PEFT does not find them again in a saved adapter")
    return kept


def _plain(model: PreTrainedModel, layers: list[str]) -> list[str]:
    """Return the layers that are Linear's own product, and that PEFT takes in a model of this type."""
    kept = [name for name in layers if not _is_own_pass(model.get_submodule(name))]
    _tell(layers, kept, "their own code does more than a product")
    probe, taken = LoraConfig(target_modules=kept), []
    for name in kept:
        with suppress(ValueError):  # which says the same at its first layer: of Mamba's kin
            _check_lora_target_modules_mamba(probe, model, name.rpartition(".")[2])
            taken.append(name)
    _tell(kept, taken, f"PEFT adapts none of them in a {model.config.model_type}")
    return taken


def _is_own_pass(module: Any) -> bool:
    """Return whether a model's code has a linear layer that is no product: DeepSeek-V4's is of groups."""
    if not type(module).__module__.startswith("transformers.models.") or "forward" not in vars(
        type(module)
    ):
        return False
    row = module.weight.new_ones(1, module.in_features)
    with torch.no_grad(), suppress(RuntimeError):
        own, product = module(row), nn.functional.linear(row, module.weight, module.bias)
        is_seen = own.shape == product.shape and not own.is_meta
        return own.shape != product.shape or (is_seen and not torch.allclose(own, product))
    return True


def _tell(layers: list[str], kept: list[str], why: str) -> None:
    """Say which layers have no adapter."""
    if lost := [name for name in layers if name not in kept]:
        ends = ", ".join(dict.fromkeys(".".join(name.split(".")[-2:]) for name in lost))
        log.info("adapter: none on %s: %s", ends, why)


def _ending(names: Iterable[str], end: str) -> list[str]:
    """Return the names that PEFT finds by how they end."""
    return [name for name in names if name == end or name.endswith(f".{end}")]


def _refuse_others(model: PreTrainedModel, named: list[str], known: tuple[list[str], list[str]]) -> None:
    """Refuse names of no layer of the text, and of routers."""
    text, (layers, experts) = list(_of_text(model)), known
    for name in named:
        found = _ending(text, name)
        if not found:
            there = sorted({layer.rpartition(".")[2] for layer in (*layers, *experts)})
            raise ConfigError(
                f"adapter.target_modules: this model has no '{name}'; there are: {', '.join(there)}"
            )
        if router := next((layer for layer in found if _is_router(model, layer)), None):
            raise ConfigError(
                f"adapter.target_modules: {router} says how much experts count, and is never adapted;"
                f" leave '{name}' out"
            )
