"""The model as it was trained, in float32 on the CPU: what every export is held against."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel
from transformers import PreTrainedModel

from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.export import logits, probes


class Reference:
    """A base with its adapter, read when it is first asked."""

    def __init__(self, load: Callable[[], PreTrainedModel], codec: Codec) -> None:
        """Take what reads the model."""
        self._load, self._codec = load, codec

    @cached_property
    def model(self) -> PreTrainedModel:
        """Return the model."""
        return self._load()

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Return the tokens of the prompts that all forms are asked."""
        whole = self._codec.tokenizer(probes.prompts(self._codec), add_special_tokens=False)
        found: list[list[int]] = whole["input_ids"]
        return found

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """Return what it says next after each prompt (P, N, V)."""
        return logits.of_model(self.model, self.prompts)

    @cached_property
    def of_base(self) -> NDArray[np.float32] | None:
        """Return what its base says next; None for a model that was trained whole."""
        if not isinstance(self.model, PeftModel):
            return None
        with self.model.disable_adapter():
            return logits.of_model(self.model, self.prompts)

    @property
    def spread(self) -> float:
        """Return the standard deviation of its logits."""
        return float(self.logits.std())

    def gaps(self, prompts: list[list[int]], answers: list[list[int]]) -> list[list[float]]:
        """Return how far each token of each answer is below the one that it would have said."""
        return logits.gaps(self.model, prompts, answers)
