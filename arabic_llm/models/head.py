"""The weights that a model's head multiplies with, looked up where an adapter or a plan has put them."""

from __future__ import annotations

import torch
from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper
from torch import nn
from transformers import PreTrainedModel

from arabic_llm.errors import ConfigError
from arabic_llm.models.host_head import HostHead


def weight_and_bias(head: nn.Module) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Return what the head multiplies with and adds, as its forward pass does; None: it does more.

    A copy of the head that is trained (PEFT's modules_to_save) stands for it, and of single words that are
    trained (trainable_token_indices) the whole weight with them in it; both know of gradients.
    """
    if isinstance(head, ModulesToSaveWrapper):
        is_own = head.disable_adapters or not head.active_adapters
        head = head.original_module if is_own else head.modules_to_save[head.active_adapters[0]]
    if isinstance(head, TrainableTokensWrapper):  # its pass adds no bias
        is_plain = _is_plain(head.original_module) and head.original_module.bias is None
        return (head.weight, None) if is_plain else None
    if isinstance(head, HostHead):
        return head.weight, head.bias
    return (head.weight, head.bias) if isinstance(head, nn.Linear) and _is_plain(head) else None


def to_host(model: PreTrainedModel, device: str) -> None:
    """Hold a head on the host, for a device. Raises ConfigError for one that is more than a product."""
    head = model.get_output_embeddings()
    if head is None or (parts := weight_and_bias(head)) is None:
        raise ConfigError(
            f"hw.head_on_host: the head of {type(model).__name__} is more than a product with its table;"
            " leave it out"
        )
    model.set_output_embeddings(HostHead(*parts, device))


def _is_plain(layer: nn.Module) -> bool:
    """Return whether a layer is Linear's own pass: one in 4 bits or with LoRA is another."""
    return type(layer).forward is nn.Linear.forward
