"""What a score loses where the same questions are asked in another way, paired item by item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arabic_llm.analysis import intervals, statistics
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.analysis.statistics import Difference

_NOTHING = (np.nan, np.nan)  # changed, nothing to bound


@dataclass(frozen=True)
class Condition:
    """One perturbation at one rate, with the seed of its draws."""

    perturbation: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Return how files and lines name it."""
        return f"{self.perturbation}-{self.rate:g}"


@dataclass(frozen=True)
class Drop:
    """What one score loses under a condition, paired item by item.

    `difference` is from clean (its base) to perturbed (its tuned). The drop over the items that the
    condition changes at all is a plain mean, with its own interval; nan where it changes none.
    """

    condition: Condition
    difference: Difference
    num_changed: int
    changed_drop: float
    changed_low: float
    changed_high: float
    token_ratio: float  # tokens of the perturbed questions / tokens of the clean ones

    @property
    def drop(self) -> tuple[float, float, float]:
        """Return (drop, low, high): more than 0 is worse."""
        row = self.difference
        return 0.0 - row.difference, 0.0 - row.high, 0.0 - row.low

    @property
    def changed_share(self) -> float:
        """Return the share of items that the condition changes."""
        return self.num_changed / self.difference.base.n


def drops(
    clean: Evaluation, asked: Evaluation, condition: Condition, tokens: Mapping[str, tuple[int, int]]
) -> list[Drop]:
    """Return what each whole score loses; tokens are those that each leaf's questions had and have."""
    asked = _with_ids_of(clean, asked)
    same_items = {(s.name, s.metric): s.tasks for s in asked.scores}
    wholes = [
        s for s in clean.scores if clean.is_whole(s) and same_items.get((s.name, s.metric)) == s.tasks
    ]
    hashes = {(item.task, item.id): item.prompt_hash for item in asked.items}
    changed = {
        (item.task, item.id) for item in clean.items if hashes.get((item.task, item.id)) != item.prompt_hash
    }
    rows = []
    for row in statistics.paired(replace(clean, scores=wholes), asked, condition.seed):
        before, after = clean.values(row.base), asked.values(row.tuned)
        both = np.array([(after[key], before[key]) for key in sorted(before) if key in changed]).T
        low, high = intervals.paired([(both[0], both[1])], seed=condition.seed) if len(both) else _NOTHING
        lost = float((both[1] - both[0]).mean()) if len(both) else np.nan
        own = [tokens[task] for task in row.base.tasks]
        ratio = sum(after for _, after in own) / sum(before for before, _ in own)
        rows.append(Drop(condition, row, both.shape[-1], lost, low, high, ratio))
    return rows


def gathered(rows: Sequence[Drop]) -> list[Drop]:
    """Return the rows task by task, with p-values that know of each other (Holm)."""
    holm = statistics.holm([row.difference.sign_p for row in rows])
    corrected = [
        replace(row, difference=replace(row.difference, holm_p=p))
        for row, p in zip(rows, holm, strict=True)
    ]
    tasks = list(dict.fromkeys(row.difference.base.name for row in rows))
    return sorted(corrected, key=lambda row: tasks.index(row.difference.base.name))


def changed_answers(clean: Evaluation, asked: Evaluation) -> Iterator[tuple[Item, Item]]:
    """Yield (clean, perturbed) items with another answer: those that became wrong first."""
    after = {_place(item): item for item in asked.items}
    pairs = [(item, after[_place(item)]) for item in clean.items if _place(item) in after]
    other = [(a, b) for a, b in pairs if a.answer != b.answer and a.prompt_hash != b.prompt_hash]
    yield from sorted(other, key=lambda pair: pair[1].first - pair[0].first)


def _with_ids_of(clean: Evaluation, asked: Evaluation) -> Evaluation:
    """Return the perturbed evaluation with the ids of the clean one: ids hold a hash of the document."""
    ids = {_place(item): item.id for item in clean.items}
    return replace(asked, items=[replace(item, id=ids[_place(item)]) for item in asked.items])


def _place(item: Item) -> tuple[str, str]:
    return item.task, item.id.partition("-")[0]
