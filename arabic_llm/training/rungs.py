"""Where a run stops before its end: what it has learned by then is measured, and a checkpoint is left.

The schedule is that of the whole run, so it has trained as the whole one would have up to that step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arabic_llm import files, processes
from arabic_llm.data.tokens.chat import IGNORED, TokenRow
from arabic_llm.errors import StoppedError
from arabic_llm.training import checkpoint
from arabic_llm.training.callbacks import LeftError, StopCalmly
from arabic_llm.training.held_out_loss import Measure
from arabic_llm.training.trainer import GuardedTrainer

_PAIRED = ("labelled", "pair", "rated")  # kinds of rows without a loss of their own tokens


@contextmanager
def stopping(
    trainer: GuardedTrainer, dev: Sequence[TokenRow], stop_after: int | None, calm: StopCalmly
) -> Iterator[None]:
    """Have a trainer stop after a step, if that comes before its end. Raises StoppedError then."""
    if stop_after is None or stop_after >= trainer.args.max_steps:
        yield
        return
    folder = Path(trainer.args.output_dir)
    if (last := checkpoint.newest_whole(folder)) is not None:
        step = checkpoint.step_of(last)
        if step > stop_after or (step == stop_after and path(folder, step).is_file()):
            raise _stopped(step)
    trainer.add_callback(Rung(trainer.nats, dev, folder, stop_after, calm))
    yield
    raise _stopped(stop_after)


def _stopped(step: int) -> StoppedError:
    return StoppedError(f"stopped after step {step} with a checkpoint; without stop_after it carries on")


def path(training: Path, step: int) -> Path:
    """Return the file of what was measured after a step."""
    return training / f"rung-{step}.json"


class Rung(TrainerCallback):  # type: ignore[misc]
    """After one step: the loss of each dev row into a file, a checkpoint, the end."""

    def __init__(
        self, measure: Measure, dev: Sequence[TokenRow], directory: Path, step: int, calm: StopCalmly
    ) -> None:
        """Take what returns the nats of each row, the rows, the folder, the step, and who hears signals."""
        self._measure, self._step, self._calm = measure, step, calm
        self._dev = [row for row in dev if row.kind not in _PAIRED]
        self._path = path(directory, step)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure a checkpoint of this step, where a signal came before. Raises StoppedError."""
        if state.global_step == self._step:
            self._write()
            raise _stopped(self._step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure, and have the trainer save and end, where it is time."""
        if state.global_step == self._step:
            self._write()
            self._calm.stop_after_a_checkpoint(control)

    def _write(self) -> None:
        """Write the loss of each row; after a signal leave that for the next start."""
        with suppress(LeftError), self._calm.measuring(self._step):
            nats = self._measure(self._dev, lambda _rows: self._calm.heed())
            tokens = [int(np.sum(np.array(row.labels[1:]) != IGNORED)) for row in self._dev]
            if processes.is_main():
                found = {"step": self._step, "nats": nats.tolist(), "tokens": tokens}
                files.write_state(self._path, found)
