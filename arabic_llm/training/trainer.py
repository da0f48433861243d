"""Trainers of token rows and of classes, with guards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from trl import SFTTrainer

from arabic_llm import processes
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.errors import TrainingError
from arabic_llm.training import answer_head, class_loss
from arabic_llm.training.guards import Guards


class GuardedTrainer(Guards, SFTTrainer):  # type: ignore[misc]
    """An SFTTrainer with guards: token rows."""

    def __init__(self, **options: Any) -> None:
        """Take what guards take; the loss is of labels alone."""
        super().__init__(**options)
        answer_head.install(self.model)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **counted: Any
    ) -> Any:
        """Return the loss of a batch's labels, over those of the whole step in all processes.

        TRL's own finds entropies as well, which nobody reads; that of a mixture of experts has a part more,
        for their balance, while it is trained.
        """
        if (self.aux_loss_enabled and self.model.training) or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, **counted)
        num_items = counted.get("num_items_in_batch")
        outputs = model(**inputs, fused_lm_head=True, **counted)
        loss = outputs.loss
        if self.aux_loss_enabled:  # transformers has added it
            loss = -outputs.log_probs.sum() / (num_items or self.num_predicted(inputs["labels"]))
        is_mean = self.args.average_tokens_across_devices and num_items is not None
        return loss * processes.count() if is_mean else loss

    def nats(
        self,
        rows: Sequence[TokenRow],
        after: Callable[[int], None],
        what: str = "the loss on held-out texts",
    ) -> NDArray[np.float64]:
        """Return the loss of each row, summed over its labels; `after` is told the rows of each batch done.

        Training goes on as if it had not been asked: no random number is drawn (a DataLoader draws one),
        no metric of TRL's is touched, the mode of the model is as it was, also when `after` raises. Raises
        TrainingError where a loss is not finite.
        """
        was_training, size = self.model.training, self.args.per_device_eval_batch_size
        self.model.eval()
        losses = np.zeros(len(rows))
        by_length = sorted(range(len(rows)), key=lambda number: len(rows[number].input_ids))
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                for start in range(0, len(rows), size):
                    batch = by_length[start : start + size]
                    inputs = self._prepare_inputs(self.data_collator([_feature(rows[n]) for n in batch]))
                    log_probs_BT = self.model(**inputs, fused_lm_head=True).log_probs  # noqa: N806 (shape)
                    losses[batch] = -log_probs_BT.double().sum(1).cpu().numpy()
                    after(len(batch))
        finally:
            self.model.train(was_training)
        if not np.isfinite(losses).all():
            raise TrainingError(self.unlike_a_loss(what, losses.sum()))
        return losses


def _feature(row: TokenRow) -> dict[str, list[int]]:
    return {"input_ids": row.input_ids, "labels": row.labels, "seq_lengths": [len(row.input_ids)]}


class GuardedClassifier(Guards):
    """A Trainer with guards: one class a row, every row the same weight."""

    loss_is_scaled_for_ga = True  # over all micro-batches of a step, by compute_loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **counted: Any
    ) -> Any:
        """Return the cross-entropy of the classes, summed over the rows, divided by those of the step."""
        num_rows = counted.get("num_items_in_batch") or len(inputs["labels"])
        loss, outputs = class_loss.loss(model, inputs, num_rows)
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> int:
        return sum(len(batch["labels"]) for batch in batch_samples)

    @staticmethod
    def num_predicted(labels: torch.Tensor) -> int:
        """Return how many rows a batch has: each has one label."""
        return len(labels)
