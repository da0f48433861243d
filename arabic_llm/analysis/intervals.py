"""95% intervals of scores and of paired differences that hold with few items too, and where none varies.

A sample that does not vary bootstraps to an interval of no width: certainty from nothing. Right and wrong
have intervals that hold there; of graded scores (F1), which lie between 0 and 1, n items that are all alike
leave room for a share of z^2 / (n + z^2) others (Wilson's bound for none of n), whatever those may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

Values = npt.NDArray[np.float64]  # of each item
Pair = tuple[Values, Values]  # before and after, item by item
Interval = tuple[float, float]

RESAMPLES, AT_ONCE = 10_000, 500
ALPHA = 0.05
Z = float(ndtri(1 - ALPHA / 2))
_CLOSE = 1e-12


def is_binary(*values: Values) -> bool:
    """Return whether every item is right or wrong."""
    return all(bool(np.isin(one, (0.0, 1.0)).all()) for one in values)


def is_alike(values: Values) -> bool:
    """Return whether all items have the same value: no resample of them varies."""
    return bool(np.ptp(values) < _CLOSE)


def mean(parts: Sequence[Values], weights: Sequence[float] = (1.0,)) -> Interval:
    """Return the interval of a weighted mean of means of scores.

    Of one part that is right or wrong Wilson's (1927), else Student's t, with the degrees of freedom of
    Satterthwaite (1946).
    """
    if len(parts) == 1 and is_binary(*parts):
        return wilson(float(parts[0].sum()), len(parts[0]))
    return _combined(parts, weights, _student, floor=0.0)


def paired(pairs: Sequence[Pair], weights: Sequence[float] = (1.0,), *, seed: int) -> Interval:
    """Return the interval of a weighted mean of mean differences, after - before.

    Of right and wrong Tango's, else a percentile bootstrap over the items of each part.
    """
    changes = [after - before for before, after in pairs]
    if all(is_binary(*pair) for pair in pairs):
        return _of_signs(changes, weights)
    return _combined(changes, weights, lambda own, shares: _bootstrap(own, shares, seed), floor=-1.0)


def wilson(right: float, n: int) -> Interval:
    """Return Wilson's score interval of a share (1927): it holds where all are right, and where none is."""
    p = right / n
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def tango(gained: float, lost: float, n: float) -> Interval:
    """Return the score interval of a difference of paired shares (Tango 1998, Stat. Med. 17:891).

    It inverts the test of each difference D by the likeliest share of lost items given D; where nothing
    changed it reaches z^2 / (n + z^2) to both sides. A test holds it against published values.
    """
    seen = (gained - lost) / n

    def score(true: float) -> float:
        b = (2 * n - gained + lost) * true - gained - lost
        share = (np.sqrt(b**2 + 8 * n * lost * true * (1 - true)) - b) / (4 * n)  # lost, given D = true
        variance = n * (2 * share + true * (1 - true))
        if variance <= 0:
            return 0.0 if abs(seen - true) < _CLOSE else float(np.copysign(np.inf, seen - true))
        return float(n * (seen - true) / np.sqrt(variance))

    def end(sign: int) -> float:
        """Return where the test of D, on one side of what was seen, is significant at last."""
        least, most = sorted((seen, float(sign)))
        if most - least < _CLOSE:
            return float(sign)
        return float(brentq(lambda true: np.clip(sign * score(true), -9, 9) + Z, least, most, xtol=1e-12))

    return end(-1), end(1)


def _of_signs(changes: Sequence[Values], weights: Sequence[float]) -> Interval:
    """Return Tango's interval of a weighted mean, of as many items as would be as sure of it.

    That is the effective sample size of Korn and Graubard (1998, Survey Methodology 24:193): of items of
    unlike weight, and fewer where the variances of the parts say so.
    """
    pairs = list(zip(changes, weights, strict=True))
    gained, lost = (sum(w * float((s * part > 0).mean()) for part, w in pairs) for s in (1, -1))
    n = 1 / sum(w**2 / len(part) for part, w in pairs)
    if len(pairs) > 1:
        variance = sum(w**2 * float(part.var(ddof=1)) / len(part) for part, w in pairs if len(part) > 1)
        spread = gained + lost - (gained - lost) ** 2
        n = min(n, spread / variance) if min(spread, variance) > _CLOSE else n
    return tango(gained * n, lost * n, n)


def _combined(
    parts: Sequence[Values],
    weights: Sequence[float],
    of_varied: Callable[[Sequence[Values], Sequence[float]], Interval],
    floor: float,
) -> Interval:
    """Return the interval of a weighted mean, of which some parts may not vary: their room is added.

    Independent parts are combined by the squares of how far each reaches (Zou and Donner 2008, Statistics
    in Medicine 27:1693). No score is below `floor` or above 1.
    """
    middle = sum(weight * float(part.mean()) for weight, part in zip(weights, parts, strict=True))
    pairs = list(zip(parts, weights, strict=True))
    alike, varied = ([pair for pair in pairs if is_alike(pair[0]) == which] for which in (True, False))
    down = up = 0.0
    if varied:
        own, shares = zip(*varied, strict=True)
        low, high = of_varied(own, shares)
        at = sum(weight * float(part.mean()) for part, weight in varied)
        down, up = at - low, high - at
    if alike:
        whole = sum(weight for _, weight in alike)
        effective = whole**2 / sum(weight**2 / len(part) for part, weight in alike)  # items (Kish 1965)
        others = Z**2 / (effective + Z**2)
        at = sum(weight * float(part.mean()) for part, weight in alike)
        down = float(np.hypot(down, others * (at - floor * whole)))
        up = float(np.hypot(up, others * (whole - at)))
    if any(part.min() < floor or part.max() > 1 for part in parts):  # a scale that we do not know
        return middle - down, middle + up
    return max(floor, middle - down), min(1.0, middle + up)


def _student(parts: Sequence[Values], weights: Sequence[float]) -> Interval:
    variances = [
        weight**2 * float(part.var(ddof=1)) / len(part) for weight, part in zip(weights, parts, strict=True)
    ]
    freedom = sum(variances) ** 2 / sum(
        own**2 / (len(part) - 1) for own, part in zip(variances, parts, strict=True)
    )
    middle = sum(weight * float(part.mean()) for weight, part in zip(weights, parts, strict=True))
    half = float(stdtrit(freedom, 1 - ALPHA / 2)) * sum(variances) ** 0.5
    return middle - half, middle + half


def _bootstrap(parts: Sequence[Values], weights: Sequence[float], seed: int) -> Interval:
    """Return the percentile interval of a weighted mean of means, each part resampled by itself.

    How often each distinct value is drawn is multinomial: no need to draw the items one by one.
    """
    draw = np.random.default_rng(seed)
    means = np.zeros(RESAMPLES)
    for part, weight in zip(parts, weights, strict=True):
        values, counts = np.unique(part, return_counts=True)
        for start in range(0, RESAMPLES, AT_ONCE):
            drawn = draw.multinomial(len(part), counts / len(part), size=AT_ONCE)
            means[start : start + AT_ONCE] += weight * (drawn @ values) / len(part)
    tail = 100 * ALPHA / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
