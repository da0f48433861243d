"""Who watches what a training step takes: nobody, or the laboratory, which training does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from transformers import TrainerCallback, TrainingArguments


class Observer(Protocol):
    """Watches steps and changes none of them; what goes wrong in it is said, and training goes on."""

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return what transformers calls when steps begin and end."""

    def figures(self, step: int) -> Mapping[str, float | None]:
        """Return what the line of metrics.jsonl says of a step besides."""

    def expected(self, args: TrainingArguments) -> str:
        """Return what the pass that runs was expected to take, in words, for when it took more."""

    def close(self) -> None:
        """Leave training alone, as after an error; a second time does nothing."""


class Nobody:
    """The observer of runs that nobody watches."""

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return none."""
        return ()

    def figures(self, step: int) -> Mapping[str, float | None]:
        """Return none."""
        return {}

    def expected(self, args: TrainingArguments) -> str:
        """Return that nothing is known."""
        return "nothing was predicted"

    def close(self) -> None:
        """Do nothing."""
