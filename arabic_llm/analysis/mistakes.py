"""Every wrong item under one kind, by checks in a fixed order; the kinds counted and compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arabic_llm.analysis import intervals, statistics
from arabic_llm.analysis.mistake_checks import CHOSEN, FOUND_BY, GENERATED
from arabic_llm.analysis.scores import Item
from arabic_llm.analysis.wrong_item import Case

OTHER = "other"  # well formed, and plainly wrong
KINDS = (*dict.fromkeys((*GENERATED, *CHOSEN)), OTHER)
_FEWEST = 10  # items on which an answer is wrong, before it is said to be given to all


@dataclass(frozen=True)
class Mistake:
    """A wrong item, its kind and why."""

    item: Item
    kind: str
    reason: str = ""
    judged_by: str = ""  # the model that said so; nothing: a check

    @property
    def label(self) -> str:
        """Return the kind as tables name it: what a model said is never counted with what a check found."""
        return f"{self.kind} (judged by {self.judged_by})" if self.judged_by else self.kind


@dataclass(frozen=True)
class SortedMistakes:
    """The items of an evaluation, and the wrong ones of them by kind: each of these once."""

    items: Sequence[Item]
    mistakes: Sequence[Mistake]

    def __post_init__(self) -> None:
        """Refuse a sorting that lost an item: items = right ones + mistakes of every kind."""
        wrong = [key(item) for item in self.items if not item.is_right]
        if wrong != [key(mistake.item) for mistake in self.mistakes]:
            raise ValueError(f"{len(wrong)} wrong items, {len(self.mistakes)} mistakes: not the same items")

    def counts(self, part: Callable[[Item], str]) -> dict[str, tuple[int, Counter[str]]]:
        """Return part -> (items, mistakes by label), for the parts that items name."""
        sizes = Counter(part(item) for item in self.items)
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for mistake in self.mistakes:
            kinds[part(mistake.item)][mistake.label] += 1
        return {name: (size, kinds[name]) for name, size in sizes.items() if name}


@dataclass(frozen=True)
class Change:
    """How often mistakes of one label were made before and after, as shares of the same items.

    `low` and `high` bound the 95% interval of tuned - base, `holm_p` is corrected for the kinds.
    """

    label: str
    n: int
    base: float
    tuned: float
    low: float
    high: float
    holm_p: float
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return fewer or more where the interval leaves out 0 and the sign test agrees; else noise."""
        said = statistics.verdict(self.low, self.high, self.holm_p)
        return {"better": "more", "worse": "fewer"}.get(said, said)


def key(item: Item) -> tuple[str, str]:
    """Return what tells an item apart."""
    return item.task, item.id


def sort(items: Sequence[Item]) -> SortedMistakes:
    """Return the items with a kind for each wrong one: that of the first check that finds something."""
    overused = _overused(items)
    wrong = [item for item in items if not item.is_right]
    return SortedMistakes(
        items, [_sorted(Case(item, overused.get((item.task, item.answer_index)))) for item in wrong]
    )


def changes(base: SortedMistakes, tuned: SortedMistakes, seed: int) -> list[Change]:
    """Return the change of every label that either has, over the items that both have."""
    before, after = ({key(m.item): m.label for m in one.mistakes} for one in (base, tuned))
    common = sorted({key(item) for item in base.items} & {key(item) for item in tuned.items})
    rows = []
    for label in labels(base, tuned):
        a, b = (np.array([made.get(k) == label for k in common], float) for made in (before, after))
        low, high = intervals.paired([(a, b)], seed=seed)
        p = statistics.sign_test(a, b)
        note = "" if (a != b).any() else statistics.NOTHING
        rows.append(Change(label, len(common), float(a.mean()), float(b.mean()), low, high, p, note))
    corrected = statistics.holm([row.holm_p for row in rows])
    return [replace(row, holm_p=p) for row, p in zip(rows, corrected, strict=True)]


def labels(*several: SortedMistakes) -> list[str]:
    """Return the labels of their mistakes, in the order of the checks; a judge's after a check's."""
    found = {(KINDS.index(m.kind), m.judged_by): m.label for one in several for m in one.mistakes}
    return [label for _, label in sorted(found.items())]


def explained() -> dict[str, str]:
    """Return kind -> what stands under it."""
    return {**FOUND_BY, OTHER: "well formed, plainly wrong."}


def _sorted(case: Case) -> Mistake:
    checks = CHOSEN if case.item.num_choices else GENERATED
    for kind, check in checks.items():
        if reason := check(case):
            return Mistake(case.item, kind, reason)
    return Mistake(case.item, OTHER)


def _overused(items: Sequence[Item]) -> dict[tuple[str, int], float]:
    """Return (task, choice) -> the share that was given it, of the items on which it is wrong."""
    by_task: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.num_choices:
            by_task[item.task].append(item)
    shares = {}
    for task, own in by_task.items():
        for choice in {item.answer_index for item in own}:
            wrong = [item.answer_index == choice for item in own if item.target_index != choice]
            if len(wrong) >= _FEWEST:
                shares[task, choice] = sum(wrong) / len(wrong)
    return shares
