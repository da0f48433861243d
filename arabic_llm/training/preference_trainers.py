"""The trainer of a preference task, with all that it compares answers with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from arabic_llm.config.preference_task import KtoConfig, PairConfig, PreferenceConfig
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.training import preference_losses, reference_log_probs
from arabic_llm.training.callbacks import StopCalmly
from arabic_llm.training.preferences import GuardedPreferences
from arabic_llm.training.ratings import GuardedRatings, Other, mismatched
from arabic_llm.training.schedule import Schedule


def trainer_of(task: PreferenceConfig) -> Callable[..., Any]:
    """Return the trainer of a task that learns from preferences."""
    if isinstance(task, KtoConfig):
        return partial(GuardedRatings, task=task)
    if not isinstance(task, PairConfig):
        raise TypeError(f"no trainer of {type(task).__name__}")
    return partial(GuardedPreferences, task=task)


def ask_reference(
    trainer: Any,
    rows: tuple[Sequence[TokenRow], Sequence[TokenRow]],
    plan: Schedule,
    kept: Path,
    calm: StopCalmly,
) -> None:
    """Give the trainer what its reference says of train and dev rows: the model as it is now, or once was.

    KTO asks of answers to other prompts too: those of the rows of a step, and those of dev.
    """
    train, dev = rows
    with calm.measuring(0):
        ask = partial(reference_log_probs.log_probs, trainer.nats, heed=calm.heed)
        found = ask([*train, *dev], kept)
        if not isinstance(trainer, GuardedRatings):
            trainer.reference_N2 = found
            return
        trainer.reference_N = found[:, 0]
        if not preference_losses.needs_divergence(trainer.task):
            return
        length = trainer.task.max_length
        steps = [
            mismatched([train[n] for n in plan.rows_of(step)], length) for step in range(plan.num_steps)
        ]
        of_dev = mismatched(dev, length)
        every = [*(row for step in steps for row in step), *of_dev]
        known = iter(ask(every, reference_log_probs.path_beside(kept, every))[:, 0].double().numpy())
        others: list[Other] = [([*made], [next(known) for _ in made]) for made in (*steps, of_dev)]
        trainer.others_of_dev, trainer.others = others[-1], others.__getitem__
