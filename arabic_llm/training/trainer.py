"""TRL's SFTTrainer, with the guards it lacks: what is not finite stops, what is saved is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from trl import SFTTrainer

from arabic_llm import files
from arabic_llm.data.chat import IGNORED
from arabic_llm.errors import TrainingError
from arabic_llm.training import checkpoint, moments
from arabic_llm.training.schedule import Schedule

_NAMED = 16  # rows named in the line of an error


class GuardedTrainer(SFTTrainer):  # type: ignore[misc]
    """An SFTTrainer that stops at the first non-finite value and commits its checkpoints."""

    def __init__(self, *, schedule: Schedule, row_ids: list[list[str]], keep: int, **options: Any) -> None:
        """Take SFTTrainer's own options, the schedule, each sequence's row names, checkpoints to keep."""
        super().__init__(**options)
        self._schedule = schedule
        self._row_ids = row_ids
        self._keep = keep
        self._passes = (-1, 0)  # (step, forward passes done in it)

    def create_optimizer(self, *args: Any) -> torch.optim.Optimizer:
        """Return the optimiser, which takes up what it or the other AdamW has saved."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args)
        moments.accept_either(optimizer)
        return optimizer

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one forward and backward pass. Raises TrainingError when its loss is not finite."""
        step, done = self.state.global_step, 0
        if self._passes[0] == step:
            done = self._passes[1]
        self._passes = (step, done + 1)
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            size = self.args.per_device_train_batch_size
            rows = self._schedule.rows_of(step, done * size, size)
            raise TrainingError(self._not_finite(f"loss is {loss.item()}", rows))
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the gradient norm before clipping. Raises TrainingError when it is not finite.

        In float16 the scaler meets infinities now and then, skips the step and lowers its scale.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        if self.accelerator.scaler is None and not torch.isfinite(torch.as_tensor(norm)):
            rows = self._schedule.rows_of(self.state.global_step)
            raise TrainingError(self._not_finite(f"gradient norm is {float(norm)}", rows))
        return norm

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Return eval_loss: nats a supervised token over the whole dev set, not a mean of batch means."""
        self.model.eval()
        total = torch.zeros((), dtype=torch.float64)
        tokens = 0
        with torch.no_grad():
            for batch in self.get_eval_dataloader():
                inputs = self._prepare_inputs(batch)
                tokens += int((inputs["labels"][:, 1:] != IGNORED).sum())
                with self.compute_loss_context_manager():
                    total += self.compute_loss(self.model, inputs, num_items_in_batch=1).double().cpu()
        metrics = {"eval_loss": float(total) / tokens}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, then seal it; older ones go only after that."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with files.room_on_disk(folder):
            # Trainer's own: SFTTrainer would write a model card into every checkpoint.
            Trainer._save_checkpoint(self, model, trial)
            checkpoint.commit(folder, self._keep, self.state.best_model_checkpoint)

    def _not_finite(self, what: str, sequences: list[int]) -> str:
        rows = [name for sequence in sequences for name in self._row_ids[sequence]]
        names = ", ".join(rows[:_NAMED])
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        return (
            f"step {self.state.global_step + 1}: {what}; no weight was changed by it. Rows: {names}{more}."
            " Look at these rows (task=inspect), lower task.learning_rate, or train in another"
            " hw.precision"
        )
