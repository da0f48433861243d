"""Rotary positions whose frequencies follow the length of what is read: such texts share nothing.

Dynamic NTK's (2306.15595) grow with the longest text so far and stay, LongRoPE's (2402.13753) are others
beyond a length: read in a batch, or after a longer text, a text would be another one to the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel

# Of these the frequencies are fixed when the model is made (transformers' modeling_rope_utils).
_OF_ANY_LENGTH = {"default", "linear", "llama3", "proportional", "yarn"}


def follow_length(model: PreTrainedModel, longest: int | None = None) -> bool:
    """Return whether a text's frequencies depend on lengths, where the longest has so many tokens.

    A kind that is not known here may do anything.
    """
    config = model.config.get_text_config()
    kinds = list(_kinds(getattr(config, "rope_parameters", None)))
    if all(kind.get("rope_type", "default") in _OF_ANY_LENGTH for kind in kinds):
        return False
    limits = [kind.get("original_max_position_embeddings") for kind in kinds]
    known = [limit for limit in (*limits, config.max_position_embeddings) if limit]
    are_known = all(kind.get("rope_type") in {*_OF_ANY_LENGTH, "dynamic", "longrope"} for kind in kinds)
    return longest is None or not are_known or longest > min(known)


def forget_lengths(model: PreTrainedModel) -> None:
    """Let a model's frequencies be as they were before it read anything."""
    for module in model.modules():
        if not hasattr(module, "original_max_seq_len"):
            continue
        for name in [own for own in vars(module) if own.endswith("max_seq_len_cached")]:
            setattr(module, name, module.original_max_seq_len)
        buffers = dict(module.named_buffers(recurse=False))
        for name in [own for own in buffers if own.endswith("original_inv_freq")]:
            now = name.removesuffix("original_inv_freq") + "inv_freq"
            module.register_buffer(now, buffers[name].to(buffers[now].device, copy=True), persistent=False)


def _kinds(parameters: Any) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each kind of layer: one for all, or one for each."""
    if not isinstance(parameters, dict):
        return
    if any(isinstance(value, dict) for value in parameters.values()):
        for value in parameters.values():
            yield from _kinds(value)
    else:
        yield parameters
