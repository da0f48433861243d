"""Log-probabilities of labels, a tile of positions after the other, on devices without Triton.

The logits of one tile exist at a time. N labels, n of them in a tile; H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers import PreTrainedConfig

_TILE = 2**23  # logits: 32 MiB of float32; larger ones are no faster
# What models call the cap of their logits (Gemma, RecurrentGemma, xLSTM, Jev), what they are multiplied by
# (Cohere, Muse Glimmer, Falcon-H1), and divided by (Granite, MiniCPM3; Inkling divides before its head).
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap", "softcap")
_FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_DIVISORS = ("logits_scaling", "logits_mup_width_multiplier")


@dataclass(frozen=True)
class Logits:
    """What a model makes of the head's product before it is a logit."""

    factor: float = 1.0
    cap: float | None = None  # Gemma: cap * tanh(logit / cap)

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Logits:
        """Return what the code of a model does, by its configuration."""
        text = config.get_text_config()
        factor, divisor, cap = (_first(text, names) for names in (_FACTORS, _DIVISORS, _CAPS))
        if factor is None and divisor is not None:
            multiplies = text.model_type == "hyperclovax"  # by what has the name of a divisor
            factor = divisor if multiplies else 1 / divisor
        return cls(1.0 if factor is None else factor, cap)


def _first(config: PreTrainedConfig, names: Sequence[str]) -> float | None:
    """Return the first of these fields that a configuration has and that says something."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), None)


class TiledLogProbs(torch.autograd.Function):
    """Log-probabilities [N] of the targets [N], in float32 at least.

    Of hidden states [N, H], and the weight [V, H] and bias [V] of the head. Where the head is frozen, a
    tile gives its log-probabilities and their slopes at once, and nothing is computed again on the way
    back; where it is trained, every tile is.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        how: tuple[Logits, bool],
    ) -> torch.Tensor:
        """Return them; `how` also says whether there will be a way back."""
        logits, learns = how
        head = _Head.of(hidden, weight, bias, logits)
        is_frozen = not any(ctx.needs_input_grad[1:3])
        found = hidden.new_empty(len(targets), dtype=head.sums)
        slopes = hidden.new_empty(hidden.shape, dtype=head.sums) if learns and is_frozen else None
        for rows in head.tiles(len(targets)):
            if slopes is None:
                found[rows] = head.log_probs(hidden[rows], targets[rows])
            else:
                found[rows], tile = head.slopes(hidden[rows], targets[rows])
                slopes[rows] = head.back(tile)
                del tile  # before the next one is made
        if learns:
            ctx.save_for_backward(*((slopes,) if is_frozen else (hidden, weight, bias, targets)))
        ctx.logits, ctx.dtype, ctx.computed_in = logits, hidden.dtype, head.weight.dtype
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the hidden states, the weight and the bias."""
        if len(ctx.saved_tensors) == 1:
            (slopes,) = ctx.saved_tensors
            return (slopes * gradient[:, None]).to(ctx.dtype), None, None, None, None
        hidden, weight, bias, targets = ctx.saved_tensors
        head = _Head(weight.to(ctx.computed_in), bias, ctx.logits)
        of_hidden = torch.empty_like(hidden)
        of_weight = torch.zeros_like(weight, dtype=head.sums)
        of_bias = None if bias is None else torch.zeros_like(bias, dtype=head.sums)
        for rows in head.tiles(len(targets)):
            _, tile = head.slopes(hidden[rows], targets[rows])
            tile.mul_(gradient[rows, None])
            of_hidden[rows] = head.back(tile)
            of_weight.addmm_(tile.t(), hidden[rows].to(head.sums))
            if of_bias is not None:
                of_bias += tile.sum(0)
            del tile
        of_bias = None if of_bias is None else of_bias.to(bias.dtype)
        return of_hidden, of_weight.to(weight.dtype), of_bias, None, None


@dataclass(frozen=True)
class _Head:
    """A head in the numbers of its product, and those that sums are made in: float32 at least."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    logits: Logits

    @classmethod
    def of(
        cls, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, logits: Logits
    ) -> _Head:
        """Return it as autocast, where it is on, or else the hidden states ask for it."""
        device = hidden.device.type
        is_cast = torch.is_autocast_enabled(device)
        return cls(weight.to(torch.get_autocast_dtype(device) if is_cast else hidden.dtype), bias, logits)

    @property
    def sums(self) -> torch.dtype:
        return torch.promote_types(self.weight.dtype, torch.float32)

    def tiles(self, count: int) -> Iterator[slice]:
        """Yield the rows of each tile of so many labels."""
        size = max(1, _TILE // len(self.weight))
        yield from (slice(start, start + size) for start in range(0, count, size))

    def log_probs(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities [n] of a tile's targets."""
        return self._scored(hidden, targets)[0]

    def slopes(self, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probabilities [n], and how they grow with each product of the head [n, V]."""
        log_probs, powers, total, steep = self._scored(hidden, targets)
        # 1 for the target, less each probability
        slopes = powers.scatter_add_(1, targets[:, None], -total).div_(-total)
        if steep is not None:
            slopes.mul_(steep)
        return log_probs, slopes if self.logits.factor == 1 else slopes.mul_(self.logits.factor)

    def _scored(
        self, hidden: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return the log-probabilities, powers [n, V], their sums [n, 1], how steep a cap is [n, V]."""
        scored = torch.mm(hidden.to(self.weight.dtype), self.weight.t())
        if self.bias is not None:
            scored.add_(self.bias)
        scored = scored.to(self.sums)
        if self.logits.factor != 1:
            scored.mul_(self.logits.factor)
        steep, cap = None, self.logits.cap
        if cap is not None:
            scored.div_(cap).tanh_()
            steep = scored.square().neg_().add_(1)
            scored.mul_(cap)
        chosen, top = scored.gather(1, targets[:, None]), scored.amax(1, keepdim=True)
        powers = scored.sub_(top).exp_()
        total = powers.sum(1, keepdim=True)
        return (chosen - (top + total.log())).squeeze(1), powers, total, steep

    def back(self, slopes: torch.Tensor) -> torch.Tensor:
        """Return the slopes of the hidden states [n, H]."""
        return torch.mm(slopes.to(self.weight.dtype), self.weight)
