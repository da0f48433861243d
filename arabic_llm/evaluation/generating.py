"""How answers are generated: as the task asks, whatever the checkpoint's generation_config.json says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel

from arabic_llm.errors import ModelError


@contextmanager
def neutral(model: PreTrainedModel) -> Iterator[None]:
    """Let a model generate without its checkpoint's penalties, limits, forced and forbidden tokens.

    Only the tokens that end an answer stay. A configuration given to generate() would not do: transformers
    fills what it leaves open from the model's own.
    """
    own = model.generation_config
    ends = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    # An adapter hands the configuration on to the model it stands on.
    holders = [module for module in {model, *model.modules()} if "generation_config" in vars(module)]
    before = [vars(module)["generation_config"] for module in holders]
    for module in holders:
        module.generation_config = GenerationConfig(**ends)
    try:
        yield
    finally:
        for module, config in zip(holders, before, strict=True):
            module.generation_config = config


class StopAtNotFinite(LogitsProcessor):  # type: ignore[misc]
    """Ends a generation at logits that are not finite: the likeliest of them would be any token."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take what each row of the batch answers."""
        self._names = names

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the logits [rows, V] as they are. Raises ModelError where none of a row's is the highest.

        An infinity below is no fault: a model may rule tokens out by it.
        """
        highest = scores.amax(-1)  # nan, where any is
        if not highest.isfinite().all():
            row = int((~highest.isfinite()).nonzero()[0])
            refuse(float(highest[row]), self._names[row])
        return scores


def refuse(value: float, name: str) -> None:
    """Refuse an answer's log-probability, or a logit, that is not finite; it is named by task and item."""
    if not math.isfinite(value):
        raise ModelError(
            f"{name}: the model's logits are not finite there ({value}), so it has no answer; its weights,"
            " or hw.precision, are at fault"
        )
