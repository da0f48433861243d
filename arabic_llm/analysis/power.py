"""How much another model must score more before so many items show it 4 times of 5, by our own verdict.

The other model answers independently, item by item; what two models have in common makes it smaller. The
level is 5%, before the correction for what is tested beside it. A test by simulation holds all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import bdtr, bdtrik, gammaln, ndtri, xlog1py, xlogy

from arabic_llm.analysis.intervals import ALPHA, Values, Z, is_binary

POWER = 0.8
_POWER_Z = float(ndtri(POWER))
_TAIL = 9  # standard deviations of a binomial, beyond which nothing counts
_CLOSE = 1e-9


def smallest_difference(parts: Sequence[Values], weights: Sequence[float] = (1.0,)) -> float | None:
    """Return the least gain that is called better with a power of 0.8, as a share.

    Where no gain can be so large, the least loss, below 0; None where no loss is either. Of items that are
    right or wrong the power is exact (McNemar's test), of a weighted mean that of as many items as count
    alike. Of graded scores it is that of the test if they are normal.
    """
    if is_binary(*parts):
        return _of_shares(parts, weights)
    if len(parts) > 1:
        return _of_graded_mean(parts, weights)
    (part,) = parts
    deviation, gained = float(part.std(ddof=1)) if len(part) > 1 else 0.0, _least_sign(len(part))
    return 2**0.5 * deviation * float(ndtri(gained)) if deviation and gained else None


def _of_shares(parts: Sequence[Values], weights: Sequence[float]) -> float | None:
    counts = np.array([weight**2 / len(part) for weight, part in zip(weights, parts, strict=True)])
    n = round(1 / counts.sum())  # items that count alike (Kish 1965)
    shares = np.array([part.mean() for part in parts])
    right, varied = (float(counts @ of / counts.sum()) for of in (shares, shares * (1 - shares)))
    return _of_share(n, round(right, 12), round(varied, 12))


@lru_cache(maxsize=4096)
def _of_share(n: int, right: float, varied: float) -> float | None:
    """Return it of n items: so many are right, and right here and wrong there if nothing differs."""
    for sign, own in ((1, right), (-1, 1 - right)):  # a loss is a gain of wrong answers
        room = min(1 - own, varied / own) if own else 1.0
        least = _least(partial(_power_of_gain, n, own, varied), room)
        if least is not None:
            return sign * least
    return None


def _power_of_gain(n: int, right: float, varied: float, gain: float) -> float:
    return _power(n, varied + gain * (1 - right), varied - gain * right)


@lru_cache(maxsize=256)
def _least_sign(n: int) -> float | None:
    """Return the least probability that an item became better, of n that all changed, that is found."""
    half = _least(lambda d: _power(n, 0.5 + d, 0.5 - d), 0.5 - _CLOSE)
    return None if half is None else 0.5 + half


def _of_graded_mean(parts: Sequence[Values], weights: Sequence[float]) -> float | None:
    """Return it by the normal law of drawn signs, whose deviation holds the difference itself."""
    counts = [weight**2 / len(part) for weight, part in zip(weights, parts, strict=True)]
    spread = 2 * sum(count * float(part.var()) for count, part in zip(counts, parts, strict=True))
    value = sum(weight * float(part.mean()) for weight, part in zip(weights, parts, strict=True))

    def excess(d: float) -> float:
        """Return how far a difference lies above what is found 4 times of 5."""
        return float(d - Z * (spread + d**2 * sum(counts)) ** 0.5 - _POWER_Z * spread**0.5)

    for sign, room in ((1, 1 - value), (-1, value)):
        if room > _CLOSE and excess(room) > 0:
            return sign * float(brentq(excess, 0.0, room))
    return None


def _least(power: Callable[[float], float], room: float) -> float | None:
    """Return the least difference of that power, None where all the room has less."""
    if room < _CLOSE or power(room) < POWER:
        return None
    return float(brentq(lambda d: power(d) - POWER, 0.0, room, xtol=1e-7))


def _power(n: int, gained: float, lost: float) -> float:
    """Return how often the exact sign test of n items finds a gain, given how often an item does either."""
    changed = min(gained + lost, 1.0)
    if not changed:
        return 0.0
    reach = _TAIL * (n * changed * (1 - changed)) ** 0.5 + 1
    num_changed = np.arange(max(0, int(n * changed - reach)), min(n, int(n * changed + reach)) + 1)
    most_lost = _most_lost(n)[num_changed]
    of_them = min(max(lost / changed, 0.0), 1.0)
    found = bdtr(np.maximum(most_lost, 0), num_changed, of_them) * (most_lost >= 0)
    return float(_binomial(num_changed, n, changed) @ found)


@lru_cache(maxsize=64)
def _most_lost(n: int) -> npt.NDArray[np.int64]:
    """Return, for 0 to n changed items, how many may be lost where the others show a gain; -1: none may."""
    changed = np.arange(1, n + 1)
    with np.errstate(invalid="ignore"):
        most = np.floor(np.nan_to_num(bdtrik(ALPHA / 2, changed, 0.5), nan=-1.0))
    most += bdtr(most + 1, changed, 0.5) <= ALPHA / 2  # the inverse is of a continued function
    most -= bdtr(np.maximum(most, 0), changed, 0.5) > ALPHA / 2
    return np.concatenate([[-1], np.maximum(most, -1)]).astype(np.int64)


def _binomial(k: npt.NDArray[np.int64], n: int, p: float) -> npt.NDArray[np.float64]:
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    mass: npt.NDArray[np.float64] = np.exp(ways + xlogy(k, p) + xlog1py(n - k, -p))
    return mass
