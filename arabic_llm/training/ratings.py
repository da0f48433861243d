"""The guarded trainer on rated answers: each alone, against what has become of other answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from arabic_llm import processes
from arabic_llm.config.preference_task import KtoConfig
from arabic_llm.data.tokens.chat import IGNORED, TokenRow, prompt_length
from arabic_llm.models import streaming
from arabic_llm.training import preference_losses
from arabic_llm.training.means import Means, won
from arabic_llm.training.preference_losses import Rated
from arabic_llm.training.trainer import GuardedTrainer

_OTHERS = "the loss of answers to other prompts"
_MOST_TURNS = 64  # of the answers of a step, looked at for one in which none meets its own prompt

Other = tuple[list[TokenRow], list[float]]  # answers to other prompts, and what the reference says


class GuardedRatings(GuardedTrainer):
    """Learns from rated answers; every answer has the same weight, in whatever micro-batch it comes.

    How far the model has moved is found once a step, before its first pass, of all its answers: no
    micro-batch, and no number of processes, changes what is learned.
    """

    loss_is_scaled_for_ga = True  # over all micro-batches of a step, by compute_loss

    def __init__(self, *, task: KtoConfig, **options: Any) -> None:
        """Take the settings of the loss beside the trainer's own options."""
        super().__init__(**options)
        self.task = task
        self._means = Means()
        self._moved: dict[bool, float] = {True: 0.0, False: 0.0}  # nats, by: is it training?
        self._known = -1  # the step of which it is known
        self.reference_N: torch.Tensor = torch.zeros(0)
        self.others: Callable[[int], Other] | None = None  # of a step
        self.others_of_dev: Other | None = None

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one forward and backward pass; before the first one of a step see how far the model is."""
        step = self.state.global_step
        if self.others is not None and self._known != step:
            self._moved[True] = self._divergence(
                self.others(step), lambda: None, is_shared=not self._asks_together()
            )
            self._known = step
        return super().training_step(*args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **counted: Any
    ) -> Any:
        """Return the loss of the answers, summed, divided by those of the step in all processes."""
        inputs = dict(inputs)
        numbers, is_desirable = inputs.pop("rated"), inputs.pop("is_desirable").bool()
        log_probs_BS = model(**inputs, fused_lm_head=True).log_probs  # noqa: N806 (shape)
        log_prob = log_probs_BS.sum(1)
        tokens = (inputs["labels"][:, 1:] != IGNORED).sum(1)
        reference = self.reference_N[numbers.cpu()].to(log_prob)
        rated = Rated(log_prob, reference, is_desirable, self._moved[self.model.training], tokens)
        self._count(rated)
        total = preference_losses.kto(rated, self.task).sum()
        # The mean over processes comes after it.
        loss = total * processes.count() / counted["num_items_in_batch"]
        return (loss, None) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the means of what was counted since the last line."""
        if (is_training := "loss" in logs) or "eval_loss" in logs:
            means = self._means.take(is_training)
            if {"reward_chosen", "reward_rejected"} <= means.keys():
                means["reward_margin"] = means["reward_chosen"] - means["reward_rejected"]
            logs |= means
        super().log(logs, *args, **kwargs)

    def _before_dev(self, heed: Callable[[], None]) -> None:
        if self.others_of_dev is not None:
            self._moved[False] = self._divergence(self.others_of_dev, heed, is_shared=False)

    def _divergence(self, other: Other, heed: Callable[[], None], *, is_shared: bool) -> float:
        """Return the nats by which answers to other prompts have become likelier, at least 0 (z_0).

        Without dropout, and the mean is over all of them: shared out, each process asks for a part.
        """
        rows, reference = other
        own = slice(processes.rank(), None, processes.count()) if is_shared else slice(None)
        risen = -self.nats(rows[own], lambda _: heed(), _OTHERS) - np.array(reference[own])
        found = (float(risen.sum()), len(risen))
        given = processes.gather(found) if is_shared else [found]
        return max(0.0, sum(total for total, _ in given) / max(1, sum(count for _, count in given)))

    def _asks_together(self) -> bool:
        """Return whether all processes make every pass: weights are shared out over them."""
        return bool(self.is_fsdp_enabled) or streaming.is_shared_out(self.model)

    def _count(self, rated: Rated) -> None:
        """Add up what a line of metrics says of these answers."""
        task, is_up = self.task, rated.is_desirable_R
        over = preference_losses.rated_margin(rated, task).detach()
        found = {"reward_accuracy": won(torch.where(is_up, over, -over))}
        for name, of_side in (("chosen", is_up), ("rejected", ~is_up)):
            reward = task.beta * (rated.log_prob_R - rated.reference_R)
            found[f"reward_{name}"] = reward[of_side]
            found[f"log_prob_{name}"] = rated.log_prob_R[of_side]
            found[f"tokens_{name}"] = rated.tokens_R[of_side]
        if preference_losses.needs_divergence(task):
            found["kl"] = torch.full_like(over, rated.divergence)
        self._means.add(self.model.training, found)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> int:
        return self._schedule.batch  # of all processes: one may have more of them than another

    @staticmethod
    def num_predicted(labels: torch.Tensor) -> int:
        """Return how many values the loss on dev is a mean of: answers."""
        return len(labels)


def mismatched(rows: Sequence[TokenRow], max_length: int) -> list[TokenRow]:
    """Return the prompts of some rows, each with the answer of another one of them, cut to max_length.

    The answers are turned until the fewest meet their own prompt; those that do are left out.
    """
    prompts = [row.input_ids[: prompt_length(row)] for row in rows]
    best: list[int] = []
    for turn in range(1, min(len(rows), _MOST_TURNS + 1)):
        found = [n for n in range(len(rows)) if prompts[n] != prompts[n - turn]]
        if len(found) > len(best):
            best, chosen = found, turn
        if len(found) == len(rows):
            break
    made = []
    for number in best:
        prompt, other = prompts[number], rows[number - chosen]
        answer, labels = (part[len(prompts[number - chosen]) :] for part in (other.input_ids, other.labels))
        ids = [*prompt, *answer][:max_length]
        made.append(
            replace(
                rows[number],
                kind="chat",
                input_ids=ids,
                labels=[*[IGNORED] * len(prompt), *labels][: len(ids)],
            )
        )
    return made
