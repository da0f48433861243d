"""What a mix comes to: shares asked and achieved, how often rows are seen, what buckets save of padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arabic_llm.data.preparing.mixing import MixedBucketSampler


@dataclass(frozen=True)
class Share:
    """What a source, or a language, is of the whole run; shares of 1."""

    name: str
    asked: float  # of sequences
    sequences: float
    tokens: float
    times_seen: float  # each of its sequences, on average


@dataclass(frozen=True)
class Padding:
    """Share of the positions that hold no token, where each forward pass is padded to its longest."""

    sequences: int  # a forward pass
    in_order: float  # as the run goes
    without_buckets: float


@dataclass(frozen=True)
class MixReport:
    """A mix as its order gives it, over the whole run."""

    sources: tuple[Share, ...]
    languages: tuple[Share, ...]
    num_buckets: int
    padding: tuple[Padding, ...]  # by each number of sequences, above 1, that divides a step's

    def lines(self) -> list[str]:
        """Return the report as the user reads it: nothing for one source in one bucket."""
        shown = [*self.sources] if len(self.sources) > 1 else []
        if len(self.languages) > 1:
            shown += self.languages
        width = max((len(share.name) for share in shown), default=0)
        lines = [
            f"mix: {share.name:<{width}}  asked {share.asked:6.1%}, achieved {share.sequences:6.1%} of"
            f" sequences, {share.tokens:6.1%} of tokens; each row seen {share.times_seen:.2f} times"
            for share in shown
        ]
        if self.padding and (shown or self.num_buckets > 1):
            lines.append(self._padding_line())
        return lines

    def _padding_line(self) -> str:
        if self.num_buckets == 1:
            sizes = [f"{p.in_order:.1%} at {p.sequences}" for p in self.padding]
            return f"padding, of positions, by sequences a forward pass: {', '.join(sizes)}"
        sizes = [f"{p.without_buckets:.1%} -> {p.in_order:.1%} at {p.sequences}" for p in self.padding]
        return (
            f"padding saved by {self.num_buckets} length buckets, of positions, by sequences a forward"
            f" pass: {', '.join(sizes)}"
        )


def report(sampler: MixedBucketSampler) -> MixReport:
    """Return what the sampler's order comes to. Raises ConfigError for a mix that cannot be."""
    order, mix = sampler.order(), sampler.mix
    plain = replace(sampler, mix=replace(mix, num_buckets=1)).order() if mix.num_buckets > 1 else order
    order, plain = sampler.by_length(order), sampler.by_length(plain)  # as a schedule has them
    asked = mix.shares(sampler.counts)
    by_source = {name: name for name in asked}
    by_language = {name: mix.languages.get(name, "other languages") for name in asked}
    sizes = [size for size in range(sampler.batch, 1, -1) if sampler.batch % size == 0]
    return MixReport(
        sources=_shares(sampler, order, asked, by_source),
        languages=_shares(sampler, order, asked, by_language),
        num_buckets=mix.num_buckets,
        padding=tuple(
            Padding(size, padding(order, sampler.lengths, size), padding(plain, sampler.lengths, size))
            for size in sizes
        ),
    )


def padding(order: NDArray[np.int64], lengths: NDArray[np.int64], size: int) -> float:
    """Return the share of positions that are padding where `size` sequences make a forward pass."""
    passes = lengths[order].reshape(-1, size)
    return float(1 - passes.sum() / (passes.max(axis=1).sum() * size))


def _shares(
    sampler: MixedBucketSampler,
    order: NDArray[np.int64],
    asked: Mapping[str, float],
    group_of: Mapping[str, str],
) -> tuple[Share, ...]:
    """Return the shares of groups of sources, by name."""
    names = sorted(set(group_of.values()))
    numbers = {source: names.index(group) for source, group in group_of.items()}
    group = np.array([numbers[source] for source in sampler.sources])
    rows = np.bincount(group, minlength=len(names))
    drawn = np.bincount(group[order], minlength=len(names))
    tokens = np.bincount(group[order], weights=sampler.lengths[order], minlength=len(names))
    return tuple(
        Share(
            name,
            sum(asked[source] for source in group_of if group_of[source] == name),
            float(drawn[number] / len(order)),
            float(tokens[number] / tokens.sum()),
            float(drawn[number] / rows[number]),
        )
        for number, name in enumerate(names)
    )
