"""What is forgotten while something else is learned: the loss on held-out texts at every checkpoint."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arabic_llm import files, processes
from arabic_llm.data.tokens import chat
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.tracking import Tracker
from arabic_llm.training.callbacks import METRICS, LeftError, StopCalmly, write_line
from arabic_llm.training.checkpoint import HELD_OUT

log = logging.getLogger(__name__)
SHARE = "held_out_share"  # in the first line of metrics.jsonl: how much of each text is read
Nats = NDArray[np.float64]  # [N texts]
Measure = Callable[[Sequence[TokenRow], Callable[[int], None]], Nats]


@dataclass(frozen=True)
class HeldOut:
    """Texts of one language, each one sequence in which every token is predicted, and their UTF-8 bytes."""

    rows: Sequence[TokenRow]
    num_bytes: int
    share: float = 1.0  # of each text's characters that is read

    @property
    def num_tokens(self) -> NDArray[np.int64]:
        """Return the tokens that are predicted of each text [N]: all but what opens it."""
        return np.array([sum(label >= 0 for label in row.labels) for row in self.rows])


def encode(codec: Codec, texts: Mapping[str, Sequence[str]], share: float = 1.0) -> dict[str, HeldOut]:
    """Return language -> texts as token rows, of each the first `share` of its characters."""
    read = {language: [cut(piece, share) for piece in pieces] for language, pieces in texts.items()}
    return {
        language: HeldOut(
            [chat.encode_unseen(codec, piece, language) for piece in pieces],
            sum(len(piece.encode()) for piece in pieces),
            share,
        )
        for language, pieces in read.items()
    }


def cut(piece: str, share: float) -> str:
    """Return the beginning of a text, to the end of a word where one ends there."""
    length = math.ceil(share * len(piece))
    whole_words = piece[: length + 1].rpartition(" ")[0].rstrip()
    return piece if share == 1 else whole_words or piece[:length]


class Drift(TrainerCallback):  # type: ignore[misc]
    """A line of metrics.jsonl with the loss on each language: at the start, each checkpoint and the end.

    Never at the checkpoint of a signal: a run that was cut and carried on writes what a whole one does.
    The line is written before the checkpoint; where a signal came between, when it is carried on.
    """

    def __init__(
        self,
        measure: Measure,
        held_out: Mapping[str, HeldOut],
        run: tuple[Path, Tracker],
        last_step: int,
        calm: StopCalmly,
    ) -> None:
        """Take what returns the nats of each row, the texts, where the lines go, and who hears signals.

        `last_step` is that of the whole run, also where it ends early.
        """
        self._measure = measure
        self._held_out = held_out
        self._directory, self._tracker = run
        self._last_step = last_step
        self._calm = calm
        self._seconds: list[float] = []  # of each measurement
        self._began = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the model as it was; that of a checkpoint where a signal came before it."""
        self._began = time.monotonic()
        if state.global_step == 0:
            nats = self._all_nats(0)
            if processes.is_main():
                files.write_json(
                    self._directory / HELD_OUT, {key: own.tolist() for key, own in nats.items()}
                )
            self._write(0, nats)
        elif self._is_due(args, state) and processes.from_main(lambda: self._is_owed(state.global_step)):
            self._follow(state, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure it where a checkpoint comes next."""
        if self._is_due(args, state):
            self._follow(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say what it cost."""
        spent, whole = sum(self._seconds), time.monotonic() - self._began
        tokens = sum(int(text.num_tokens.sum()) for text in self._held_out.values())
        log.info(
            "held-out loss: %s tokens of %s, measured %s times in %.1f s, %.1f%% of the training",
            *(f"{tokens:,}", ", ".join(self._held_out), len(self._seconds), spent, 100 * spent / whole),
        )

    def _is_due(self, args: TrainingArguments, state: TrainerState) -> bool:
        step: int = state.global_step
        return step % int(args.save_steps) == 0 or step == self._last_step

    def _is_owed(self, step: int) -> bool:
        lines = files.read_json_lines(self._directory / METRICS)
        return not any(line["step"] == step and any("held_out" in key for key in line) for line in lines)

    def _follow(self, state: TrainerState, control: TrainerControl) -> None:
        """Measure and write the line of a step; after a signal leave that for later."""
        try:
            self._write(state.global_step, self._all_nats(state.global_step))
        except LeftError:
            self._calm.stop_after_a_checkpoint(control)

    def _all_nats(self, step: int) -> dict[str, Nats]:
        """Return the nats of each text. Raises LeftError when a signal comes; at step 0 the run ends."""
        started = time.monotonic()
        count = sum(len(text.rows) for text in self._held_out.values())
        bar = tqdm(total=count, desc="held-out loss", unit="text", leave=False)

        def after(num_rows: int) -> None:
            bar.update(num_rows)
            self._calm.heed()

        with self._calm.measuring(step), bar:
            nats = {language: self._measure(text.rows, after) for language, text in self._held_out.items()}
        self._seconds.append(time.monotonic() - started)
        return nats

    def _write(self, step: int, nats: Mapping[str, Nats]) -> None:
        before = processes.from_main(lambda: files.read_json(self._directory / HELD_OUT))
        line: dict[str, float] = {"step": step}
        shares = {text.share for text in self._held_out.values()} - {1.0}
        if step == 0 and shares:
            line[SHARE] = min(shares)
        for language, own in nats.items():
            text = self._held_out[language]
            rise, error = risen(np.array(before[language]), own, text.num_tokens)
            line |= {
                f"held_out_loss/{language}": float(own.sum() / text.num_tokens.sum()),  # nats a token
                f"held_out_bits_per_byte/{language}": float(own.sum() / np.log(2) / text.num_bytes),
                f"held_out_rise/{language}": rise,  # since step 0, nats a token
                f"held_out_rise_stderr/{language}": error,
                f"held_out_texts/{language}": len(own),
            }
        write_line(self._directory / METRICS, line, self._tracker)


def risen(before: Nats, now: Nats, num_tokens: NDArray[np.int64]) -> tuple[float, float]:
    """Return how much the loss has risen, in nats a token, and the standard error of that over the texts.

    Paired, text by text: a ratio of two sums (Cochran 1977, Sampling Techniques, section 2.11).
    """
    rises, whole, n = now - before, num_tokens.sum(), len(before)
    rise = rises.sum() / whole
    error = np.sqrt(n / (n - 1) * np.square(rises - rise * num_tokens).sum()) / whole
    return float(rise), float(error)
