"""The same questions in several varieties: how far each lies from one of them, question by question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from arabic_llm.analysis import intervals
from arabic_llm.analysis.scores import Evaluation
from arabic_llm.analysis.statistics import holm, sign_test, verdict

COMPARED_WITH = "compared_with"  # of an evaluation's traits: the variety that others are held against
_SEED = 0  # of the bootstrap of graded scores
Values = dict[str, dict[int, float]]  # variety -> place of a question -> its score


@dataclass(frozen=True)
class Gap:
    """One variety against another on the same questions, in the first metric of their suite's entry.

    `low` and `high` bound the 95% interval of variety - against; `holm_p` is corrected for all gaps to the
    variety that the entry names, or for all other pairs together.
    """

    entry: str
    variety: str
    against: str
    n: int
    value: float
    against_value: float
    low: float
    high: float
    p: float
    holm_p: float
    is_headline: bool  # against the variety that the entry names

    @property
    def difference(self) -> float:
        """Return how much more the variety scores."""
        return self.value - self.against_value

    @property
    def verdict(self) -> str:
        """Return better or worse where the interval leaves out 0 and the test agrees; else noise."""
        return verdict(self.low, self.high, self.holm_p)


@dataclass(frozen=True)
class GapChange:
    """What became of the gap of one variety to the one that its entry names, on the same questions."""

    base: Gap
    tuned: Gap
    low: float
    high: float
    holm_p: float  # corrected for all varieties of the entry

    @property
    def difference(self) -> float:
        """Return how much more the variety gained than the other did."""
        return self.tuned.difference - self.base.difference

    @property
    def verdict(self) -> str:
        """Return better or worse where the interval leaves out 0 and the test agrees; else noise."""
        return verdict(self.low, self.high, self.holm_p)


def changes(base: Evaluation, tuned: Evaluation) -> list[GapChange]:
    """Return what became of each gap to the variety that an entry names."""
    found: list[GapChange] = []
    after = {(gap.entry, gap.variety): gap for gap in gaps(tuned) if gap.is_headline}
    before = [gap for gap in gaps(base) if gap.is_headline]
    for entry in dict.fromkeys(gap.entry for gap in before):
        own = [gap for gap in before if gap.entry == entry]
        sides = [_values(side, entry) for side in (base, tuned)]
        pairs = [(_apart(sides[0], gap), _apart(sides[1], gap)) for gap in own]
        p_values = holm([sign_test(*pair) for pair in pairs])
        for gap, pair, p in zip(own, pairs, p_values, strict=True):
            low, high = intervals.paired([pair], seed=_SEED)
            found.append(GapChange(gap, after[entry, gap.variety], low, high, p))
    return found


def gaps(evaluation: Evaluation) -> list[Gap]:
    """Return the gaps of each entry that names a variety to compare with: to that one, then all pairs."""
    found: list[Gap] = []
    for entry, traits in evaluation.traits.items():
        if (reference := traits.get(COMPARED_WITH)) is None or entry not in evaluation.judged["tasks"]:
            continue
        values = _values(evaluation, entry)
        others = [name for name in values if name != reference]
        found += _family(entry, values, [(name, str(reference)) for name in others], is_headline=True)
        found += _family(entry, values, list(combinations(others, 2)), is_headline=False)
    return found


def _values(evaluation: Evaluation, entry: str) -> Values:
    """Return what each variety scores, question by question."""
    values: Values = {}
    prefix = f"{entry}::"
    leaves = evaluation.judged["tasks"][entry]["versions"]
    for item in evaluation.items:
        if item.task in leaves:
            place = int(item.id.partition("-")[0])
            values.setdefault(item.task.removeprefix(prefix), {})[place] = item.first
    return values


def _family(
    entry: str,
    values: Values,
    pairs: Sequence[tuple[str, str]],
    *,
    is_headline: bool,
) -> Iterator[Gap]:
    rows = [_gap(entry, values, *pair, is_headline=is_headline) for pair in pairs]
    for row, p in zip(rows, holm([row.p for row in rows]), strict=True):
        yield replace(row, holm_p=p)


def _gap(entry: str, values: Values, variety: str, against: str, *, is_headline: bool) -> Gap:
    own, other = _both(values, variety, against)
    low, high = intervals.paired([(other, own)], seed=_SEED)
    p = sign_test(other, own)
    means = (float(own.mean()), float(other.mean()))
    return Gap(entry, variety, against, len(own), *means, low, high, p, p, is_headline)


def _both(values: Values, variety: str, against: str) -> intervals.Pair:
    """Return the scores of two varieties on the questions that both were asked, in one order."""
    places = sorted(values[variety].keys() & values[against].keys())
    own, other = (np.array([values[name][place] for place in places]) for name in (variety, against))
    return own, other


def _apart(values: Values, gap: Gap) -> npt.NDArray[np.float64]:
    """Return how far a variety lies from the other, question by question."""
    own, other = _both(values, gap.variety, gap.against)
    return own - other
