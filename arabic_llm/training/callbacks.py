"""What the user sees of a training run while it goes: one bar, metrics.jsonl, and a calm way out."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import psutil
import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arabic_llm import files, processes
from arabic_llm.tracking import Tracker
from arabic_llm.training import checkpoint
from arabic_llm.training.observer import Observer
from arabic_llm.training.schedule import TokenCounts

METRICS = checkpoint.METRICS
# Seconds. Linux says that a parent has ended once for each of its threads (prctl(2), PR_SET_PDEATHSIG): two
# SIGTERM so close together are one.
_ONE_DEATH = 1.0


class Metrics(TrainerCallback):  # type: ignore[misc]
    """One line of metrics.jsonl a step, flushed, and a copy to the tracker; one progress bar."""

    def __init__(
        self,
        path: Path,
        counts: TokenCounts,
        tracker: Tracker,
        observer: Observer,
        dev_tokens_per_byte: float | None = None,
    ) -> None:
        """Take the tokens of each step, from the schedule, and who watches them; none: dev is no text."""
        self._path = path
        self._dev_tokens_per_byte = dev_tokens_per_byte
        self._seen = np.concatenate([[0], np.cumsum(counts.all)])
        self._supervised = np.concatenate([[0], np.cumsum(counts.supervised)])
        self._tracker = tracker
        self._observer = observer
        self._bar: tqdm[Any] | None = None
        self._clock = (0, 0.0)  # (step, seconds) of the last line

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar where the run stands."""
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="training",
            unit="step",
            leave=False,
        )
        self._clock = (state.global_step, time.monotonic())

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write what was logged."""
        logs = logs or {}
        if "eval_loss" in logs:
            of_pairs = {f"dev_{name}": value for name, value in _of_pairs(logs).items()}
            self._write({"step": state.global_step, **self._on_dev(logs["eval_loss"]), **of_pairs})
        elif "loss" in logs:
            self._write(self._line(state.global_step, logs))
            if self._bar is not None:
                self._bar.n = state.global_step
                self._bar.set_postfix(loss=f"{logs['loss']:.3f}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _on_dev(self, loss: float) -> dict[str, float | None]:
        if self._dev_tokens_per_byte is None:
            return {"dev_loss": loss}
        bits = loss / math.log(2) * self._dev_tokens_per_byte
        return {"dev_loss": loss, "dev_bits_per_byte": bits}

    def _line(self, step: int, logs: dict[str, float]) -> dict[str, float | None]:
        since, then = self._clock
        now = time.monotonic()
        self._clock = (step, now)
        return {
            "step": step,
            "loss": logs["loss"],  # nats a supervised token
            "learning_rate": logs["learning_rate"],
            # before clipping; none where float16's scaler left the step out
            "grad_norm": logs["grad_norm"] if math.isfinite(logs["grad_norm"]) else None,
            "tokens_seen": int(self._seen[step]),
            "supervised_tokens_per_second": self._supervised_since(since, step) / (now - then),
            "seconds_per_step": (now - then) / (step - since),
            "memory_mib": _memory_mib(),
            **_of_pairs(logs),
            **self._observer.figures(step),
        }

    def _supervised_since(self, step: int, now: int) -> float:
        return float(self._supervised[now] - self._supervised[step])

    def _write(self, line: dict[str, float | None]) -> None:
        write_line(self._path, line, self._tracker)


def _of_pairs(logs: Mapping[str, float]) -> dict[str, float]:
    """Return what a trainer of preferences logs: means over the answers since the last line."""
    of_pairs = ("reward_", "log_prob_", "tokens_", "kl")
    return {name: value for name, value in logs.items() if name.startswith(of_pairs)}


def write_line(path: Path, line: Mapping[str, float | None], tracker: Tracker) -> None:
    """Add a line to metrics.jsonl, flushed, and give the tracker a copy: the main process does."""
    if not processes.is_main():
        return
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    tracker.log(dict(line))


class StopEarly(TrainerCallback):  # type: ignore[misc]
    """Stop when the loss on dev has not been better for so many evaluations.

    transformers' own forgets its count when a run is resumed; this one counts in metrics.jsonl.
    """

    def __init__(self, path: Path, patience: int) -> None:
        """Take metrics.jsonl, and the evaluations to wait."""
        self._path = path
        self._patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask the trainer to end, if it is time."""
        if has_stopped_early(self._path, self._patience):
            control.should_training_stop = True


def dev_losses(path: Path) -> list[tuple[int, float]]:
    """Return (step, loss on dev) of every evaluation after the first step."""
    lines = files.read_json_lines(path) if path.exists() else []
    return [(line["step"], line["dev_loss"]) for line in lines if "dev_loss" in line and line["step"]]


def owes_dev_loss(path: Path, step: int, eval_steps: int) -> bool:
    """Return whether a run was left after a step whose loss on dev is due; the main process says so."""
    due = step > 0 and step % eval_steps == 0
    return due and processes.from_main(lambda: step not in dict(dev_losses(path)))


def has_stopped_early(path: Path, patience: int | None) -> bool:
    """Return whether the best evaluation lies `patience` or more evaluations back.

    The main process says so, who writes them.
    """

    def is_past_it(patience: int) -> bool:
        losses = [loss for _, loss in dev_losses(path)]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

    return patience is not None and processes.from_main(lambda: is_past_it(patience))


class LeftError(Exception):
    """A signal came while something was measured: what is measured is left where it is."""


class StopCalmly(TrainerCallback):  # type: ignore[misc]
    """After a signal: finish the step, save a checkpoint, stop; what is only measured is left at once."""

    def __init__(self) -> None:
        """Start with no signal."""
        self.signal: signal.Signals | None = None
        self._is_measuring = False
        self._began, self._seconds = time.monotonic(), 0.0  # of a step; how long the last one took
        self._asked = 0.0  # when a signal came

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Look at the clock."""
        self._began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask the trainer for a checkpoint and the end, if a signal came to any process of the run."""
        self._seconds = time.monotonic() - self._began
        if self.is_asked():
            self.stop_after_a_checkpoint(control)

    def is_asked(self) -> bool:
        """Return whether a signal came to any process of the run: all ask at the same place."""
        self.signal = next(filter(None, processes.gather(self.signal)), None)
        return self.signal is not None

    @staticmethod
    def stop_after_a_checkpoint(control: TrainerControl) -> None:
        """Have the trainer save a checkpoint and end."""
        control.should_save = control.should_training_stop = True

    def heed(self) -> None:
        """Leave what is being measured, if a signal came: all processes ask. Raises LeftError."""
        if self.is_asked():
            raise LeftError

    def before_a_step(self) -> str:
        """Return what to say of a run that a signal ended before it has done a step."""
        name = self.signal.name if self.signal is not None else "a signal"
        return f"interrupted ({name}) before the first step; the same command begins there"

    @contextmanager
    def measuring(self, step: int) -> Iterator[None]:
        """Leave at once after a signal, where it is one process: it changes no weight.

        Raises LeftError; before the first step, where there is nothing to save, KeyboardInterrupt.
        """
        self._is_measuring = processes.count() == 1
        try:
            yield
        except LeftError:
            if step > 0 or self.signal is None:
                raise
            raise KeyboardInterrupt(self.before_a_step()) from None
        finally:
            self._is_measuring = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch Ctrl-C and SIGTERM; a second one ends the process at once.

        Raises KeyboardInterrupt at the end when one was caught.
        """

        def caught(number: int, _frame: FrameType | None) -> None:
            if self.signal is not None:
                if number == signal.SIGTERM and time.monotonic() - self._asked < _ONE_DEATH:
                    return
                raise KeyboardInterrupt
            self.signal, self._asked = signal.Signals(number), time.monotonic()
            if self._is_measuring:
                raise LeftError
            if processes.is_main():
                with suppress(OSError):  # not by logging: this may have come while a line was written
                    os.write(sys.stderr.fileno(), f"\n{self._answer()}\n".encode())

        with processes.catching(caught):
            yield
        if self.signal is not None:
            raise KeyboardInterrupt(
                f"interrupted ({self.signal.name}) after a checkpoint; the same command carries on"
            )

    def _answer(self) -> str:
        """Return what a signal is answered with at once."""
        steps = f", about {self._seconds:.0f} s," if self._seconds >= 1 else ""
        return f"stopping after this step{steps} with a checkpoint; again ends now"


def forget_after(path: Path, step: int) -> None:
    """Leave in metrics.jsonl only what a checkpoint of that step knows; what is no line of it goes too."""
    if files.is_in_the_way(path):
        files.set_aside(path)
    if not path.exists():
        return
    lines = []
    for text in path.read_bytes().split(b"\n"):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and line["step"] <= step:
            lines.append(line)
    files.write_json_lines(path, lines)


def _memory_mib() -> float:
    """Return the peak of the GPU's allocated memory, or on a CPU the memory this process holds."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return float(psutil.Process().memory_info().rss) / 2**20
