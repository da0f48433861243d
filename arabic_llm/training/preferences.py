"""The guarded trainer on pairs: the same schedule, guards and checkpoints, and a loss of two answers."""

from __future__ import annotations

from typing import Any

import torch

from arabic_llm import processes
from arabic_llm.config.preference_task import PairConfig
from arabic_llm.data.tokens.chat import IGNORED
from arabic_llm.training import preference_losses
from arabic_llm.training.means import Means, won
from arabic_llm.training.preference_losses import Pairs
from arabic_llm.training.trainer import GuardedTrainer


class GuardedPreferences(GuardedTrainer):
    """Learns from pairs; every pair has the same weight, in whatever micro-batch it comes."""

    loss_is_scaled_for_ga = True  # over all micro-batches of a step, by compute_loss

    def __init__(self, *, task: PairConfig, **options: Any) -> None:
        """Take the settings of the loss beside the trainer's own options."""
        super().__init__(**options)
        self._task = task
        self._loss = preference_losses.of(task)
        self._means = Means()
        self.reference_N2: torch.Tensor | None = None

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **counted: Any
    ) -> Any:
        """Return the loss of the pairs, summed, divided by those of the step in all processes."""
        inputs = dict(inputs)
        numbers = inputs.pop("pair")
        num_pairs = counted["num_items_in_batch"]
        pairs = self._scored(model, inputs, numbers)
        self._count(pairs)
        # The mean over processes comes after it.
        loss = self._loss(pairs).sum() * processes.count() / num_pairs
        return (loss, None) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the means of what was counted since the last line."""
        if (is_training := "loss" in logs) or "eval_loss" in logs:
            logs |= self._means.take(is_training)
        super().log(logs, *args, **kwargs)

    def _scored(self, model: Any, inputs: dict[str, Any], numbers: torch.Tensor) -> Pairs:
        """Return what a batch's pairs are worth; P pairs, better sides first, S positions that predict."""
        labels_BS = inputs["labels"][:, 1:]  # noqa: N806 (shape)
        is_answer_BS = labels_BS != IGNORED  # noqa: N806
        if preference_losses.scores_prompt(self._task):
            known = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, IGNORED)
            half = len(numbers)
            inputs["labels"] = torch.cat([known[:half], inputs["labels"][half:]])
        log_probs_BS = model(**inputs, fused_lm_head=True).log_probs  # noqa: N806
        sums_B = (log_probs_BS * is_answer_BS).sum(1)  # noqa: N806
        tokens_B = is_answer_BS.sum(1)  # noqa: N806
        is_scored_BS = inputs["labels"][:, 1:] != IGNORED  # noqa: N806
        nll_B = -log_probs_BS.sum(1) / is_scored_BS.sum(1)  # noqa: N806
        chosen, rejected = sums_B.chunk(2)
        references = (
            torch.zeros(len(numbers), 2) if self.reference_N2 is None else self.reference_N2[numbers.cpu()]
        )
        references = references.to(chosen)
        chosen_tokens, rejected_tokens = tokens_B.chunk(2)
        of_reference = references[:, 0], references[:, 1]
        return Pairs(chosen, rejected, *of_reference, chosen_tokens, rejected_tokens, nll_B.chunk(2)[0])

    def _count(self, pairs: Pairs) -> None:
        """Add up what a line of metrics says of these pairs."""
        better, worse = preference_losses.rewards(pairs, self._task)
        margin = better - worse
        found = {
            "reward_chosen": better,
            "reward_rejected": worse,
            "reward_margin": margin,
            "reward_accuracy": won(margin),
            "log_prob_chosen": pairs.chosen_P,
            "log_prob_rejected": pairs.rejected_P,
            "tokens_chosen": pairs.chosen_tokens_P,
            "tokens_rejected": pairs.rejected_tokens_P,
        }
        if self.reference_N2 is not None:
            rises = pairs.chosen_P - pairs.ref_chosen_P, pairs.rejected_P - pairs.ref_rejected_P
            found["kl"] = torch.cat(rises)
        self._means.add(self.model.training, found)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> int:
        return self._schedule.batch  # of all processes: one may have more of them than another

    @staticmethod
    def num_predicted(labels: torch.Tensor) -> int:
        """Return how many values the loss on dev is a mean of: pairs."""
        return len(labels) // 2
