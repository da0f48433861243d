"""What trainers are guarded against: values that are not finite, memory that runs out, half a save."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import Trainer

from arabic_llm import disk, files, processes
from arabic_llm.config.complaints import typed_list
from arabic_llm.errors import HardwareError, TrainingError
from arabic_llm.models import finite, placement
from arabic_llm.training import answer_head, checkpoint, first_dev_loss, optimizer_state
from arabic_llm.training.callbacks import LeftError, StopCalmly
from arabic_llm.training.observer import Observer
from arabic_llm.training.schedule import Schedule

_NAMED = 16  # rows named in the line of an error
# Float16 begins with a scale of 2^16 and halves it at each infinity: after so many it is not the scale.
_MOST_SKIPPED = 24


class Guards(Trainer):  # type: ignore[misc]
    """Stops a trainer at the first non-finite value and commits its checkpoints."""

    def __init__(
        self,
        *,
        schedule: Schedule,
        row_ids: list[list[str]],
        keep: int,
        observer: Observer,
        calm: StopCalmly,
        kept_first: Path | None = None,
        **options: Any,
    ) -> None:
        """Take the trainer's own options, the schedule, each sequence's row names, checkpoints to keep.

        kept_first is where the loss on dev before the first step is kept for other runs of the base.
        """
        options["callbacks"] = [*observer.callbacks(), *options["callbacks"]]
        super().__init__(**options)
        self._observer = observer
        self._calm = calm
        self._schedule = schedule
        self._row_ids = row_ids
        self._keep = keep
        self._kept_first = kept_first
        self._passes = (-1, 0)  # (step, forward passes done in it)
        self._updating = -1  # step whose gradients are there: its weights may have begun to change
        self._skipped = 0  # steps in a row that float16's scaler did not take
        self._random: list[torch.Tensor] = []  # states of the generators when the step began

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train. Raises HardwareError when memory runs out, after a checkpoint of what is done."""
        try:
            return super().train(*args, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if (short := placement.shortage(error)) is None:
                raise
        # Here nothing holds the tensors of the step any longer.
        self._observer.close()
        self.model.zero_grad()
        placement.release()
        self._keep_what_is_done()
        raise HardwareError(self._no_memory(short))

    def get_train_dataloader(self) -> Any:
        """Return the batches of this process: of so many sequences each, or as its schedule is cut."""
        if self._schedule.cuts is None:
            return super().get_train_dataloader()
        passes = self._schedule.passes(processes.rank(), processes.count())
        loader = DataLoader(self.train_dataset, batch_sampler=passes, collate_fn=self.data_collator)
        own = {"num_processes": 1, "process_index": 0}  # they are shared out already
        return prepare_data_loader(loader, self.args.device, put_on_device=True, **own)

    def create_optimizer(self, *args: Any) -> torch.optim.Optimizer:
        """Return the optimiser, which takes up what it or the other AdamW has saved."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args)
        optimizer_state.accept_either(optimizer)
        return optimizer

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one forward and backward pass. Raises TrainingError when its loss is not finite."""
        step, done = self.state.global_step, 0
        if self._passes[0] == step:
            done = self._passes[1]
        else:
            self._random = _random_states()
        self._passes = (step, done + 1)
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        wrong = None
        if not torch.isfinite(loss):
            number = done * processes.count() + processes.rank()  # they take batches in turn
            rows = self._schedule.rows_of_pass(step, number, self.args.per_device_train_batch_size)
            wrong = self._not_finite(f"loss is {loss.item()}", rows)
        for said in filter(None, processes.gather(wrong)):
            raise TrainingError(said)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the gradient norm before clipping. Raises TrainingError when it is not finite.

        In float16 the scaler meets infinities now and then, skips the step and lowers its scale.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        is_finite = bool(torch.isfinite(torch.as_tensor(norm)))
        self._skipped = 0 if is_finite else self._skipped + 1
        self._updating = self.state.global_step
        if self._skipped > (0 if self.accelerator.scaler is None else _MOST_SKIPPED):
            rows = self._schedule.rows_of(self.state.global_step)
            raise TrainingError(self._not_finite(f"gradient norm is {float(norm)}", rows))
        return norm

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Return eval_loss: nats a label over the whole dev set, not a mean of batch means.

        Each process of a run reads all of it: shared out, its last batches would be filled up with copies.
        After a signal it is left for later: nothing is returned. Raises TrainingError where not finite.
        """
        self.model.eval()
        try:
            loss = (
                self._dev_loss()
                if self.state.global_step
                else first_dev_loss.loss(self._kept_first, self._dev_loss)
            )
        except LeftError:
            if self.state.global_step == self._initial_global_step:
                raise KeyboardInterrupt(self._calm.before_a_step()) from None
            self._calm.stop_after_a_checkpoint(self.control)
            return {}
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _dev_loss(self) -> float:
        """Return the loss on dev. Raises LeftError after a signal, TrainingError where it is not finite."""
        total, tokens = self._dev_sums()
        if self.args.average_tokens_across_devices:
            total /= processes.count()  # compute_loss has made up for the mean over processes
        loss = float(total) / tokens
        if not math.isfinite(loss):
            raise TrainingError(self.unlike_a_loss("the loss on dev", loss))
        return loss

    def _dev_sums(self) -> tuple[torch.Tensor, int]:
        """Return the loss on the dev set, summed over its labels, and how many there are.

        Raises LeftError after a signal. Where it says which weights are the best it is waited for: a
        checkpoint is written with it.
        """
        total, tokens = torch.zeros((), dtype=torch.float64), 0
        own = torch.Generator()  # a loader draws a number: left or not, what is trained next is the same
        loader = DataLoader(
            self.eval_dataset, self.args.eval_batch_size, collate_fn=self.data_collator, generator=own
        )
        step = self.state.global_step
        is_left = self.args.metric_for_best_model is None or step == self._initial_global_step
        with self._calm.measuring(step) if is_left else nullcontext(), torch.no_grad():
            self._before_dev(self._calm.heed if is_left else _unheeded)
            for batch in tqdm(loader, "loss on dev", unit="batch", leave=False):
                if is_left:
                    self._calm.heed()
                inputs = self._prepare_inputs(batch)
                tokens += self.num_predicted(inputs["labels"])
                with self.compute_loss_context_manager():
                    total += self.compute_loss(self.model, inputs, num_items_in_batch=1).double().cpu()
        return total, tokens

    def _before_dev(self, heed: Callable[[], None]) -> None:
        """Find what the loss on dev is compared with; `heed` may raise LeftError."""

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Take up the weights of a checkpoint, in the types they are trained in."""
        dtypes = trained_dtypes(self.model)
        super()._load_from_checkpoint(*args, **kwargs)
        keep_dtypes(self.model, dtypes)

    def _load_best_model(self) -> None:
        """Take up the weights of the best checkpoint, likewise."""
        dtypes = trained_dtypes(self.model)
        super()._load_best_model()
        keep_dtypes(self.model, dtypes)

    @staticmethod
    def num_predicted(labels: torch.Tensor) -> int:
        """Return how many labels of a batch the loss counts."""
        return answer_head.num_labels(labels)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, then seal it; older ones go only after that.

        Raises TrainingError for weights that are not finite.
        """
        finite.refuse(self.model, f"step {self.state.global_step}, before its checkpoint")
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with disk.room_for(folder):
            # Trainer's own: SFTTrainer would write a model card into every checkpoint.
            Trainer._save_checkpoint(self, model, trial)
            processes.wait()  # each has written its part
            best = self.state.best_model_checkpoint
            processes.from_main(lambda: checkpoint.commit(folder, self._keep, best))

    def _keep_what_is_done(self) -> None:
        """Write a checkpoint of the last whole step, as if the one that failed had not begun."""
        if processes.count() > 1:
            return  # the others do not know, and would have to write their part
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        if step in (0, self._updating) or self._passes[0] != step or files.is_whole(folder):
            return
        _set_random_states(self._random)
        self._save_checkpoint(self.model, None)

    def _no_memory(self, short: str) -> str:
        step, size = self.state.global_step, self.args.per_device_train_batch_size
        settings = [f"hw.micro_batch_size={size // 2}"] if size > 1 else []
        if self._schedule.cuts is not None:
            settings = ["half of hw.tokens_per_micro_batch"]
        settings += [] if self.args.gradient_checkpointing else ["hw.gradient_checkpointing=true"]
        if self._passes[0] != step:
            settings = [f"hw.eval_batch_size={max(1, self.args.per_device_eval_batch_size // 2)}"]
        last = checkpoint.newest_whole(Path(self.args.output_dir))
        done = f"carries on from step {checkpoint.step_of(last)}" if last else "begins at the first step"
        same = f"With {' or '.join(settings)} the same command {done}. " if settings else ""
        return (
            f"step {step + 1}: {short}; {self._observer.expected(self.args)}. {same}A lower"
            " task.max_length or adapter.rank, or a smaller model, needs less and begins anew"
        )

    def unlike_a_loss(self, what: str, value: float) -> str:
        """Return the line of an error: a loss that is not finite, and what to do."""
        step = self.state.global_step
        cure = "lower task.learning_rate" if step else "its weights, or hw.precision, are at fault"
        return f"after step {step}: {what} is {value}, which no weights that are whole give; {cure}"

    def _not_finite(self, what: str, sequences: list[int]) -> str:
        rows = [name for sequence in sequences for name in self._row_ids[sequence]]
        names = ", ".join(rows[:_NAMED])
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        return (
            f"step {self.state.global_step + 1}: {what}; no weight was changed by it. Rows: {names}{more}."
            f" Look at these rows (task=inspect {typed_list('task.ids', rows[:_NAMED])}), lower"
            " task.learning_rate, or train in another hw.precision"
        )


def _random_states() -> list[torch.Tensor]:
    """Return the states of torch's generators, which dropout draws from: the CPU's, then each card's."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def _set_random_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states[1:])


def _unheeded() -> None:
    """Go on whatever signal came."""


def trained_dtypes(model: torch.nn.Module) -> dict[str, torch.dtype]:
    """Return the types of what is trained, by name."""
    return {name: p.dtype for name, p in model.named_parameters() if p.requires_grad}


def keep_dtypes(model: torch.nn.Module, dtypes: dict[str, torch.dtype]) -> None:
    """Undo casts of what is trained.

    TRL makes adapters of quantised models bfloat16, PEFT those that it reads from the disk float32.
    """
    for name, parameter in model.named_parameters():
        if parameter.dtype is not dtypes.get(name, parameter.dtype):
            parameter.data = parameter.data.to(dtypes[name])
