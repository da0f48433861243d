"""Looks at weights before they are kept: what is not finite is never sealed."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from arabic_llm import processes
from arabic_llm.errors import TrainingError


def refuse(model: nn.Module, when: str) -> None:
    """Refuse a model that holds a trained weight that is not finite; each process looks at its part.

    Raises TrainingError, in every process, naming the weight: it begins with when it was looked at.
    """
    for found in filter(None, processes.gather(_first(model))):
        raise TrainingError(
            f"{when}: {found}, and every answer would be too; it was not kept. Lower task.learning_rate or"
            " task.weight_decay"
        )


def _first(model: nn.Module) -> str | None:
    """Return which trained weight is not finite, the first of them, or None."""
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        own = parameter.detach()
        own = own.to_local() if isinstance(own, DTensor) else own
        if own.numel() and (wrong := _not_finite(own)) is not None:
            return f"the weights {name} hold {wrong}, which is not finite"
    return None


def _not_finite(tensor: torch.Tensor) -> float | None:
    """Return nan or an infinity that a tensor holds; no copy is made, as isfinite makes one."""
    return next((bound for each in tensor.aminmax() if not math.isfinite(bound := float(each))), None)
