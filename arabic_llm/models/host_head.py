"""A frozen head whose table lies in memory of the host: its rows come to the card block by block.

The loss reads it so by itself: TRL's kernels take 32,768 rows at a time, and what they take is brought.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_ROWS = 32768  # at once, where logits are wanted and not a loss


class HostTable(torch.Tensor):
    """A table of which rows that are taken come to a device; to all else it is a tensor of the host."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    goes_to: torch.device

    @classmethod
    def of(cls, table: torch.Tensor, device: str) -> HostTable:
        """Return a table [V, H] that stays on the host, pinned where a card is to read it."""
        held = table.detach()
        if held.device.type != "meta":
            held = held.to("cpu")
            held = held.pin_memory() if torch.device(device).type == "cuda" else held
        own = held.as_subclass(cls)
        own.goes_to = torch.device(device)
        return own

    def __getitem__(self, rows: Any) -> torch.Tensor:
        """Return rows on the device."""
        return arrived(self.as_subclass(torch.Tensor)[rows], self.goes_to)


def arrived(rows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return rows of a table on the device."""
    return rows.to(device, non_blocking=True)


class HostHead(nn.Module):
    """A frozen head of which each block of words comes to the device for its logits."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, device: str) -> None:
        """Take the weight [V, H] and the bias [V] of a linear layer."""
        super().__init__()
        # Not a parameter or a buffer: Trainer and accelerate move those to the card with the model.
        self._table = [HostTable.of(weight, device)]
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @property
    def weight(self) -> HostTable:
        """Return the table."""
        return self._table[0]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of all words."""
        blocks = [slice(start, start + _ROWS) for start in range(0, len(self.weight), _ROWS)]
        biases = [None if self.bias is None else self.bias[block] for block in blocks]
        found = [
            nn.functional.linear(hidden, self.weight[block], bias)
            for block, bias in zip(blocks, biases, strict=True)
        ]
        return torch.cat(found, dim=-1) if len(found) > 1 else found[0]
