"""Which rows each optimiser step sees: decided once, before the first step, from the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arabic_llm.config.task import TrainingConfig
from arabic_llm.data.preparing.mixing import Mix, MixedBucketSampler
from arabic_llm.data.tokens.chat import IGNORED


@dataclass(frozen=True)
class Schedule:
    """Rows in the order they are trained on: step s sees order[s * batch : (s + 1) * batch]."""

    order: npt.NDArray[np.int64]
    num_steps: int
    batch: int  # sequences per optimiser step

    def until(self, step: int) -> Schedule:
        """Return the schedule of the first steps only."""
        return Schedule(self.order[: step * self.batch], step, self.batch)

    def rows_of(self, step: int, start: int = 0, count: int | None = None) -> list[int]:
        """Return the indices of the rows of one step (from 0), or of `count` of them from `start`."""
        first = step * self.batch + start
        last = (step + 1) * self.batch if count is None else first + count
        return [int(row) for row in self.order[first:last]]


def sampler(
    settings: TrainingConfig,
    sources: Sequence[str],
    seq_lengths: Sequence[Sequence[int]],
    mix: Mix,
    seed: int,
) -> MixedBucketSampler:
    """Return what decides the order, from the source of each sequence and the tokens of its pieces.

    Batches run on across epochs, so that every step has the full batch, whatever hw is.
    """
    lengths = np.array([sum(pieces) for pieces in seq_lengths])
    steps, batch = settings.num_steps(len(sources)), settings.effective_batch_size
    return MixedBucketSampler(sources, lengths, mix, batch, steps, seed)


def plan(sampler: MixedBucketSampler) -> Schedule:
    """Return the schedule of a whole run, the longest sequences of each step first.

    Raises ConfigError for a mix that its sources cannot give.
    """
    return Schedule(sampler.by_length(sampler.order()), sampler.num_steps, sampler.batch)


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of each optimiser step: all, and those that the loss counts."""

    all: npt.NDArray[np.int64]
    supervised: npt.NDArray[np.int64]


def count_tokens(schedule: Schedule, labels: Sequence[Sequence[int]]) -> TokenCounts:
    """Return the tokens of each step; the first position of a row predicts nothing."""
    rows = [(len(row), sum(label != IGNORED for label in row[1:])) for row in labels]
    steps = np.array(rows)[schedule.order].reshape(schedule.num_steps, schedule.batch, 2).sum(1)
    return TokenCounts(all=steps[:, 0], supervised=steps[:, 1])
