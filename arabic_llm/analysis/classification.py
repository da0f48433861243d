"""Scores of classifiers on the same texts: accuracy, macro F1, quadratic weighted kappa, and what is noise.

scikit-learn has each of them for one confusion; here they are of ten thousand at once, and tests hold both
against each other.

R resamples, G groups of texts with the same label and the same answers, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from arabic_llm.analysis import intervals
from arabic_llm.analysis.statistics import holm, verdict

Array = npt.NDArray[np.float64]

_ACCURACY = "accuracy"
_RESAMPLES = 10_000
_AT_ONCE = 500
_TAILS = (2.5, 97.5)  # percentiles of a 95% interval
_SAME = 1e-12  # two differences closer than this are one


@dataclass(frozen=True)
class Measure:
    """A score of one classifier; `low` and `high` bound its 95% interval.

    Of accuracy it is Wilson's, else a bootstrap over the texts: nan where no resample varies.
    """

    system: str
    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """How much more the first classifier scores than another on the same texts.

    The interval is paired: of accuracy Tango's, else a bootstrap over the texts, nan where no resample
    varies; then `p` alone decides. `p` is that of approximate randomisation (Noreen
    1989; for F1, Yeh 2000, cs/0008005): how often exchanging the two answers of a text at random makes
    as large a difference. `holm_p` is corrected for all gains beside it.
    """

    metric: str
    against: str
    difference: float
    low: float
    high: float
    p: float
    holm_p: float

    @property
    def verdict(self) -> str:
        """Return better or worse where the interval leaves out 0 and chance does not explain it."""
        ends = (self.difference,) * 2 if np.isnan(self.low) else (self.low, self.high)
        return verdict(*ends, self.holm_p)


def accuracy(confusion: Array) -> Array:
    """Return the share of right answers of confusions [..., C, C]: rows are labels, columns answers."""
    right: Array = np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))
    return right


def class_scores(confusion: Array) -> tuple[Array, Array, Array]:
    """Return precision, recall and F1 [..., C] of each class; what divides by nothing is nan."""
    found = np.diagonal(confusion, axis1=-2, axis2=-1)
    right, given = confusion.sum(-1), confusion.sum(-2)
    with np.errstate(invalid="ignore"):
        return found / given, found / right, 2 * found / (right + given)


def macro_f1(confusion: Array) -> Array:
    """Return the mean F1 of the classes that are ever right or answered, as scikit-learn has it."""
    is_there = confusion.sum(-1) + confusion.sum(-2) > 0
    f1 = np.where(is_there, class_scores(confusion)[2], 0.0)
    mean: Array = f1.sum(-1) / is_there.sum(-1)
    return mean


def quadratic_kappa(confusion: Array) -> Array:
    """Return the quadratic weighted kappa of ordered classes (Cohen 1968): 1 is agreement, 0 is chance.

    An answer k classes away costs k squared. Where all labels and all answers are one class, chance
    agrees as well: 0.
    """
    steps = np.arange(confusion.shape[-1])
    cost = (steps[:, None] - steps[None, :]) ** 2
    by_chance = confusion.sum(-1)[..., :, None] * confusion.sum(-2)[..., None, :]
    observed = (cost * confusion).sum((-2, -1))
    expected = (cost * by_chance).sum((-2, -1)) / confusion.sum((-2, -1))
    with np.errstate(invalid="ignore"):
        return np.where(expected > 0, 1 - observed / expected, 0.0)


def scorers(*, ordered: bool) -> dict[str, Callable[[Array], Array]]:
    """Return what classifiers are judged by, by name."""
    chosen: dict[str, Callable[[Array], Array]] = {_ACCURACY: accuracy, "macro F1": macro_f1}
    if ordered:
        chosen["quadratic kappa"] = quadratic_kappa
    return chosen


def confusion_matrix(labels: Sequence[int], answers: Sequence[int], num_classes: int) -> Array:
    """Return how many texts of each class [C] got each answer [C]."""
    counts: Array = metrics.confusion_matrix(labels, answers, labels=range(num_classes)).astype(float)
    return counts


def measure(
    labels: Sequence[int],
    answers: Mapping[str, Sequence[int]],
    num_classes: int,
    *,
    ordered: bool,
    seed: int,
) -> tuple[list[Measure], list[Gain]]:
    """Return each system's scores, and what the first system gains over each of the others.

    All systems are looked at in the same resamples. In a resample in which a rare class is neither right
    nor answered, macro F1 is the mean over the others.
    """
    scores, draw = scorers(ordered=ordered), np.random.default_rng(seed)
    whole = {name: confusion_matrix(labels, said, num_classes) for name, said in answers.items()}
    resampled = _resampled(labels, answers, num_classes, draw)
    right = {name: np.equal(labels, said).astype(float) for name, said in answers.items()}
    measures = []
    for name in answers:
        for metric, score in scores.items():
            is_share = metric == _ACCURACY
            ends = intervals.mean([right[name]]) if is_share else _interval(score(resampled[name]))
            measures.append(Measure(name, metric, float(score(whole[name])), *ends))
    first, *others = answers
    gains: list[Gain] = []
    for name in others:
        exchanged = _exchanged(labels, answers[first], answers[name], num_classes, draw)
        for metric, score in scores.items():
            gained = float(score(whole[first]) - score(whole[name]))
            by_chance = score(exchanged[0]) - score(exchanged[1])
            as_large = int((np.abs(by_chance) >= abs(gained) - _SAME).sum())
            p = (as_large + 1) / (_RESAMPLES + 1)  # what was found is one of the exchanges
            if metric == _ACCURACY:
                ends = intervals.paired([(right[name], right[first])], seed=seed)
            else:
                ends = _interval(score(resampled[first]) - score(resampled[name]))
            gains.append(Gain(metric, name, gained, *ends, p, holm_p=p))
    corrected = holm([gain.p for gain in gains])
    return measures, [replace(gain, holm_p=p) for gain, p in zip(gains, corrected, strict=True)]


def _resampled(
    labels: Sequence[int],
    answers: Mapping[str, Sequence[int]],
    num_classes: int,
    draw: np.random.Generator,
) -> dict[str, Array]:
    """Return the confusions [R, C, C] of each system in resamples of the texts, the same for all.

    How often each group is drawn is multinomial: no need to draw the texts one by one.
    """
    groups, sizes = _groups(labels, *answers.values())
    cells = [_cells(groups[0], said, num_classes) for said in groups[1:]]
    found = {name: np.zeros((_RESAMPLES, num_classes, num_classes)) for name in answers}
    for start in range(0, _RESAMPLES, _AT_ONCE):
        drawn = draw.multinomial(len(labels), sizes / len(labels), size=_AT_ONCE).astype(float)  # [R, G]
        for name, cell in zip(answers, cells, strict=True):
            found[name][start : start + _AT_ONCE] = (drawn @ cell).reshape(-1, num_classes, num_classes)
    return found


def _exchanged(
    labels: Sequence[int],
    first: Sequence[int],
    other: Sequence[int],
    num_classes: int,
    draw: np.random.Generator,
) -> tuple[Array, Array]:
    """Return both systems' confusions [R, C, C] after exchanging their answers, text by text, at random."""
    groups, sizes = _groups(labels, first, other)
    cells = [_cells(groups[0], said, num_classes) for said in groups[1:]]
    exchanged = draw.binomial(sizes, 0.5, size=(_RESAMPLES, len(sizes)))  # [R, G]: how many of a group
    moved = exchanged @ (cells[1] - cells[0])
    both = (sizes @ cells[0] + moved, sizes @ cells[1] - moved)
    one, two = (counts.reshape(-1, num_classes, num_classes) for counts in both)
    return one, two


def _groups(*columns: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct rows of the columns, one column a line, and how often each comes."""
    rows, counts = np.unique(np.array(columns).T, axis=0, return_counts=True)
    return rows.T, counts


def _cells(labels: npt.NDArray[np.int64], answers: npt.NDArray[np.int64], num_classes: int) -> Array:
    """Return [G, C * C]: 1 where each group stands in a confusion."""
    cells = np.zeros((len(labels), num_classes * num_classes))
    cells[np.arange(len(labels)), labels * num_classes + answers] = 1
    return cells


def _interval(values: Array) -> tuple[float, float]:
    """Return the percentiles of resamples; nan where none of them varies: they cannot tell."""
    if np.ptp(values) < _SAME:
        return np.nan, np.nan
    low, high = np.percentile(values, _TAILS)
    return float(low), float(high)
