"""Whether merged weights still are base and adapter: how far apart what they say next may be, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from arabic_llm.errors import ModelError

# (mean KL in nats, largest difference of two logits as a share of their spread), by the numbers of the
# weights. Sums of float32 in another order differ by 1e-6 of a logit; a weight of float16 is off by up to
# 2^-11 of itself and one of bfloat16 by 2^-8, and over the layers these are some 2^-6 and 2^-3 of a logit.
_ALLOWED = {
    torch.float32: (1e-6, 1e-3),
    torch.float16: (1e-4, 2e-2),
    torch.bfloat16: (1e-2, 2e-1),
}
_OF_LEARNED = 0.1  # a merge may lose this much of what was learned
_NOTHING = 1e-7  # nats: less was learned than two ways to sum tell apart


@dataclass(frozen=True)
class Agreement:
    """How far what two forms of a model say next is apart."""

    kl: float  # nats, the mean over prompts and positions
    largest: float  # difference of two logits
    spread: float  # standard deviation of the logits
    learned: float | None  # nats between base and adapter; none: there is no base

    def line(self) -> str:
        """Return what was found, for people."""
        of = "" if self.learned is None else f" of {self.learned:.2g} that were learned"
        return f"KL {self.kl:.2g} nats{of}, largest difference of a logit {self.largest:.2g}"


def between(
    trained: NDArray[np.float32], merged: NDArray[np.float32], base: NDArray[np.float32] | None
) -> Agreement:
    """Return how far merged logits (P, N, V) are from those of base and adapter."""
    words = min(trained.shape[-1], merged.shape[-1])
    apart = np.abs(trained[..., :words] - merged[..., :words])
    return Agreement(
        kl=_kl(trained, merged),
        largest=float(apart.max()),
        spread=float(trained.std()),
        learned=None if base is None else _kl(trained, base),
    )


def refuse(found: Agreement, dtype: torch.dtype) -> None:
    """Refuse merged weights that say something else. Raises ModelError with the numbers."""
    kl, share = _ALLOWED.get(dtype, _ALLOWED[torch.bfloat16])
    name = str(dtype).removeprefix("torch.")
    if not (found.kl <= kl and found.largest <= share * found.spread):
        raise ModelError(
            f"merged weights do not say what base and adapter say: {found.line()}; in {name} at most {kl:g}"
            f" and {share * found.spread:.2g} are rounding. Nothing was exported; report it"
        )
    if found.learned is not None and found.kl > max(_OF_LEARNED * found.learned, _NOTHING):
        raise ModelError(
            f"in {name} the merged weights lose what was learned: {found.line()}. Nothing was exported;"
            " set task.dtype=float32, or hand on the adapter"
        )


def _kl(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the mean KL divergence of what the second says next from what the first does, in nats."""
    words = min(first.shape[-1], second.shape[-1])
    p, q = (_log_shares(one[..., :words].astype(np.float64)) for one in (first, second))
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def _log_shares(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(-1, keepdims=True)
    log_shares: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_shares
