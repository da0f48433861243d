"""Who sees whom, as the layers of a model take it: one mask for all, or one for each kind of layer."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

Masks = torch.Tensor | dict[str, torch.Tensor] | None


def window(model: PreTrainedModel) -> int | None:
    """Return how many tokens a layer looks back, where some layers slide and are named so."""
    kinds = getattr(model.config, "layer_types", None) or []
    size: int | None = getattr(model.config, "sliding_window", None)
    return size if "sliding_attention" in kinds else None


def of_layers(
    model: PreTrainedModel,
    sees: torch.Tensor,
    positions: torch.Tensor,
    before: torch.Tensor,
    *,
    additive: bool | None = None,
) -> Masks:
    """Return who sees whom (B, N, L, bool) as layers take it, also those that slide.

    Tokens look from positions (B, N) at those before them (B, L). A mask is what SDPA takes, or what eager
    attention adds to its scores: by the model's own attention, or as told.
    """
    is_additive = model.config._attn_implementation != "sdpa" if additive is None else additive

    def as_taken(seen: torch.Tensor) -> torch.Tensor:
        seen = seen[:, None].to(model.device)
        if not is_additive:
            return seen
        return torch.zeros_like(seen, dtype=model.dtype).masked_fill_(~seen, torch.finfo(model.dtype).min)

    if (size := window(model)) is None:
        return as_taken(sees)
    near = positions[:, :, None] - before[:, None] < size
    return {"full_attention": as_taken(sees), "sliding_attention": as_taken(sees & near)}
