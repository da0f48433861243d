"""Which sequences each step sees: sources in their shares, evenly interleaved, like lengths together."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from arabic_llm.config.data import DataConfig
from arabic_llm.errors import ConfigError

# Shapes: N sequences, S sources, D draws = num_steps * batch, K buckets of length.
_NOTHING = 1e-9  # a share below it is the rounding of a sum


@dataclass(frozen=True)
class Mix:
    """What is asked for; sources go by the names that token rows hold."""

    weights: Mapping[str, float] = field(default_factory=dict)  # none: each source as many as it has
    languages: Mapping[str, str] = field(default_factory=dict)  # of the sources that name one
    quotas: Mapping[str, float] = field(default_factory=dict)  # shares of languages
    num_buckets: int = 1  # classes of length; 1: length has no say in the order

    @classmethod
    def of(cls, data: DataConfig) -> Mix:
        """Return the mix of a data set. Raises ConfigError when two of its sources have one name."""
        read = [source for source in data.sources.values() if source.weight != 0]
        for name, count in Counter(source.name for source in read).items():
            if count > 1:
                raise ConfigError(f"data.sources: {count} are named {name}; give each its own name")
        return cls(
            weights={source.name: source.weight for source in read if source.weight is not None},
            languages={source.name: source.language for source in read if source.language is not None},
            quotas=data.language_quotas,
            num_buckets=data.num_length_buckets,
        )

    def shares(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Return each source's share of the sequences, from how many it has; they add up to 1.

        Sources of a language with a quota keep their proportions inside it, the others in what is left.
        Raises ConfigError when a share is asked of what has no rows, when the quotas leave nothing to
        a source, and when nothing takes what they leave.
        """
        weights, quotas = self.weights or counts, {**self.quotas, "": 1 - sum(self.quotas.values())}
        if gone := sorted(name for name in self.weights if name not in counts):
            raise ConfigError(f"data.sources: no row of {gone[0]} is left to draw; set its weight to 0")
        group = {name: self.languages.get(name, "") for name in counts}
        group = {name: language if language in quotas else "" for name, language in group.items()}
        totals: defaultdict[str, float] = defaultdict(float)
        for name, language in group.items():
            totals[language] += weights[name]
        for language, quota in quotas.items():
            if language not in totals and quota > _NOTHING:
                raise ConfigError(
                    f"data.language_quotas.{language}: no row in this language is left; leave it out"
                    if language
                    else f"data.language_quotas add up to {1 - quota:g}, and there is no source in another"
                    " language to take the rest; let them add up to 1"
                )
        shares = {name: weights[name] / totals[group[name]] * quotas[group[name]] for name in counts}
        if left_out := sorted(name for name, share in shares.items() if share < _NOTHING):
            raise ConfigError(f"data.language_quotas leave nothing to {left_out[0]}; set its weight to 0")
        return shares


@dataclass(frozen=True)
class MixedBucketSampler:
    """The whole order of a run as a function of its rows, its mix and its seed: hw has no say in it.

    An epoch is as many draws as there are sequences. Each source is drawn in an order of its own,
    every sequence once before any again, and goes on where it stopped when an epoch ends.
    """

    sources: Sequence[str]  # of the N sequences
    lengths: NDArray[np.int64]  # [N] tokens
    mix: Mix
    batch: int  # sequences an optimiser step
    num_steps: int
    seed: int

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return how many sequences each source has, by name."""
        return dict(sorted(Counter(self.sources).items()))

    def order(self) -> NDArray[np.int64]:
        """Return the indices [D] of the sequences: step s sees order[s * batch : (s + 1) * batch].

        With buckets, a step's sequences come from one bucket, the longest first; only a step in which
        an epoch ends and the next begins is mixed. The epochs hold what they hold without buckets.
        Raises ConfigError for a mix that its sources cannot give.
        """
        order = self._draws()
        if self.mix.num_buckets == 1:
            return order
        epoch = len(self.sources)
        for start in range(0, len(order), epoch):
            first = math.ceil(start / self.batch) * self.batch
            last = min(start + epoch, len(order)) // self.batch * self.batch
            if first < last:
                order[first:last] = self._bucketed(order[first:last])
        return self.by_length(order)

    def by_length(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return an order with the longest sequences of each step first, and like lengths side by side.

        A step is made of the same sequences, and those that go through the model at once hardly padded.
        """
        steps = order.reshape(-1, self.batch)
        longest_first = np.argsort(-self.lengths[steps], axis=1, kind="stable")
        by_length: NDArray[np.int64] = np.take_along_axis(steps, longest_first, axis=1).ravel()
        return by_length

    def _draws(self) -> NDArray[np.int64]:
        """Return the order [D] before lengths are looked at."""
        total, shares = self.num_steps * self.batch, self.mix.shares(self.counts)
        drawn = _apportioned(np.array([shares[name] for name in self.counts]), total)
        numbers = {name: number for number, name in enumerate(self.counts)}
        source_of = np.array([numbers[name] for name in self.sources])
        streams = []
        for name, count in zip(numbers, drawn.tolist(), strict=True):
            draw = f"order/{self.seed}/{name}" if len(numbers) > 1 else f"order/{self.seed}"
            rows = np.flatnonzero(source_of == numbers[name])
            streams.append(_again_and_again(rows, count, draw))
        return _interleaved(streams)

    def _bucketed(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return whole steps of rows, each of one bucket, the buckets in turn.

        Buckets are as equal in number as whole steps allow; inside one, rows keep their order, and so
        the even mix of their sources.
        """
        num_steps = len(rows) // self.batch
        num_buckets = min(self.mix.num_buckets, max(1, num_steps))  # of more, all but those are empty
        edges = np.arange(num_buckets + 1) * num_steps // num_buckets
        # Longest first: what does not fit the memory fails at the start.
        by_length = np.argsort(-self.lengths[rows], kind="stable")
        buckets = [np.sort(bucket) for bucket in np.split(by_length, edges[1:-1] * self.batch)]
        return _interleaved([rows[bucket].reshape(-1, self.batch) for bucket in buckets]).ravel()


def _apportioned(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return whole numbers [S] in these shares that add up to the total: largest remainders."""
    asked = shares * total
    whole = np.floor(asked).astype(np.int64)
    whole[np.argsort(whole - asked, kind="stable")[: total - whole.sum()]] += 1
    return whole


def _interleaved(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the items of all parts, each part in its order and spread evenly over the whole."""
    when = np.concatenate([(np.arange(len(part)) + 0.5) / max(len(part), 1) for part in parts])
    items: NDArray[np.int64] = np.concatenate(parts)[np.argsort(when, kind="stable")]
    return items


def _again_and_again(rows: NDArray[np.int64], count: int, draw: str) -> NDArray[np.int64]:
    """Return so many rows: all in an order of their own, then all in another, and so on."""
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(draw.encode()).digest()[:8]))
    passes = max(1, math.ceil(count / len(rows)))
    drawn: NDArray[np.int64] = np.concatenate([generator.permutation(rows) for _ in range(passes)])
    return drawn[:count]
