"""How a training ended, as it wrote it down step by step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm import files, processes
from arabic_llm.config.task import TrainingConfig
from arabic_llm.training import callbacks

_MEMORY = ("measured", "predicted")


@dataclass(frozen=True)
class Outcome:
    """How training ended. Losses in nats a supervised token."""

    steps: int
    train_loss: float  # of the last step
    dev_loss: float | None
    resumed_from: int  # step of the checkpoint it carried on from; 0: from the start
    kept_step: int  # after which the weights are as they were kept: the best, where it stopped early
    measured_mib: float | None  # memory of a step of the process that trained last, in tensors
    predicted_mib: float | None
    dev_bits_per_byte: float | None = None  # the loss on dev for each byte of its text, of any vocabulary
    dev_loss_before: float | None = None  # before the first step
    measured_batch: tuple[int, int] | None = None  # sequences of the measured pass, and tokens of each

    @property
    def on_dev(self) -> str:
        """Return the loss on dev before and after, as the end of a line."""
        if self.dev_loss is None:
            return ""
        before = "" if self.dev_loss_before is None else f"{self.dev_loss_before:.3f} -> "
        return f", on dev {before}{self.dev_loss:.3f}{self.bits}"

    @property
    def bits(self) -> str:
        """Return the loss on dev for each byte, as what stands behind that for each token."""
        return "" if self.dev_bits_per_byte is None else f" ({self.dev_bits_per_byte:.3f} bits a byte)"

    @property
    def memory(self) -> str:
        """Return the memory of a step, measured and predicted, as the end of a line."""
        if self.measured_mib is None:
            return ""
        predicted = "not" if self.predicted_mib is None else f"{self.predicted_mib:,.0f}"
        of = "" if self.measured_batch is None else " of {} x {:,} tokens".format(*self.measured_batch)
        return f"; a step{of} took {self.measured_mib:,.0f} MiB, {predicted} predicted"


def read(directory: Path, settings: TrainingConfig, resumed_from: int) -> Outcome:
    """Return how training ended, from metrics.jsonl, when the main process has written it."""
    processes.wait()
    lines = files.read_json_lines(directory / callbacks.METRICS)
    losses = [line for line in lines if "loss" in line]
    dev = callbacks.dev_losses(directory / callbacks.METRICS)
    steps, loss = losses[-1]["step"], losses[-1]["loss"]
    kept, dev_loss = steps, dev[-1][1] if dev else None
    if dev and settings.early_stopping_patience is not None:
        kept, dev_loss = min(dev, key=lambda one: one[1])  # the best checkpoint was loaded at the end
    memory = [line for line in losses if "measured_mib" in line]
    measured, predicted = (memory[-1][f"{kind}_mib"] if memory else None for kind in _MEMORY)
    bits = [line.get("dev_bits_per_byte") for line in lines if line.get("dev_loss") == dev_loss and dev]
    before = [line["dev_loss"] for line in lines if "dev_loss" in line and not line["step"]]
    return Outcome(
        *(steps, loss, dev_loss, resumed_from, kept, measured, predicted),
        dev_bits_per_byte=bits[-1] if bits else None,
        dev_loss_before=before[0] if before else None,
        measured_batch=_batch(memory[-1]) if memory else None,
    )


def _batch(line: dict[str, Any]) -> tuple[int, int] | None:
    """Return sequences and tokens of the pass that was measured; runs of before say nothing of it."""
    sequences, tokens = line.get("measured_sequences"), line.get("measured_tokens")
    return None if sequences is None or tokens is None else (int(sequences), int(tokens))
