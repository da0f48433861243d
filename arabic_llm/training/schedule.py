"""Which rows each optimiser step sees: decided once, before the first step, from the seed alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    # Where the forward passes of a step begin and end, where it is cut by tokens: each step into as many.
    cuts: npt.NDArray[np.int64] | None = None  # [steps, passes + 1]

    @property
    def num_passes(self) -> int:
        """Return how many forward passes each step is cut into."""
        return 0 if self.cuts is None else self.cuts.shape[1] - 1

    def until(self, step: int) -> Schedule:
        """Return the schedule of the first steps only."""
        return replace(self, order=self.order[: step * self.batch], num_steps=step)

    def rows_of_pass(self, step: int, number: int, size: int) -> list[int]:
        """Return the indices of the rows of one forward pass: of `size`, or as it is cut."""
        if self.cuts is None:
            return self.rows_of(step, number * size, size)
        first, last = self.cuts[step, number : number + 2].tolist()
        return self.rows_of(step, first, last - first)

    def passes(self, rank: int, count: int) -> list[list[int]]:
        """Return the places in the order that one of `count` processes gets at once; they take turns."""
        cuts = [] if self.cuts is None else self.cuts.tolist()
        return [
            list(range(step * self.batch + first, step * self.batch + last))
            for step, own in enumerate(cuts)
            for first, last in list(itertools.pairwise(own))[rank::count]
        ]

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
    lengths = np.array([sum(pieces) for pieces in seq_lengths[:]])
    steps, batch = settings.num_steps(len(sources)), settings.effective_batch_size
    return MixedBucketSampler(sources, lengths, mix, batch, steps, seed)


def plan(sampler: MixedBucketSampler) -> Schedule:
    """Return the schedule of a whole run, the longest sequences of each step first.

    Raises ConfigError for a mix that its sources cannot give.
    """
    return Schedule(sampler.by_length(sampler.order()), sampler.num_steps, sampler.batch)


def cut_by_tokens(
    schedule: Schedule, seq_lengths: Sequence[Sequence[int]], most: tuple[int, int], num_processes: int
) -> Schedule:
    """Return the schedule with its steps cut into forward passes of at most so many sequences and tokens.

    Padding counts. Every step has as many passes as the one that needs most: transformers wants it so.
    A sequence that is longer alone goes alone.
    """
    lengths = np.array([sum(pieces) for pieces in seq_lengths])
    steps = lengths[schedule.order].reshape(schedule.num_steps, schedule.batch)
    ends = [_ends(step, *most) for step in steps]
    count = -(-max(len(own) for own in ends) // num_processes) * num_processes
    cuts = [[0, *_finer(own, step, count)] for own, step in zip(ends, steps, strict=True)]
    return replace(schedule, cuts=np.array(cuts))


def _ends(lengths: npt.NDArray[np.int64], most_rows: int, most_tokens: int) -> list[int]:
    """Return where passes end, of the longest first: each as many as the longest of it allows."""
    ends = [0]
    while ends[-1] < len(lengths):
        rows = min(most_rows, max(1, most_tokens // int(lengths[ends[-1]])))
        ends.append(min(len(lengths), ends[-1] + rows))
    return ends[1:]


def _finer(ends: list[int], lengths: npt.NDArray[np.int64], count: int) -> list[int]:
    """Return where passes end when there are `count`: the fullest that has two rows is halved."""
    while len(ends) < count:
        begins = [0, *ends[:-1]]
        fullest = max(
            (number for number, end in enumerate(ends) if end - begins[number] > 1),
            key=lambda number: (ends[number] - begins[number]) * lengths[begins[number]],
        )
        ends = sorted({*ends, (begins[fullest] + ends[fullest]) // 2})
    return ends


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
