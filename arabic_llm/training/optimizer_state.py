"""Moments of AdamW as torch names them and as bitsandbytes does: a checkpoint of one serves the other."""

from __future__ import annotations

from typing import Any

import torch

_NAMES = {"exp_avg": "state1", "exp_avg_sq": "state2"}  # of torch: of bitsandbytes
_WRAPPED = "__bnb_optimizer_quant_state__"  # where Optimizer8bit.state_dict puts all but the step


def accept_either(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser take up the moments of 32 bits that the other kind has saved.

    hw may change between a run and its resumption, and with it where the moments are, and who updates them.
    """
    is_torch, load = isinstance(optimizer, torch.optim.AdamW), optimizer.load_state_dict

    def translated(saved: dict[str, Any]) -> None:
        names = {own: other for other, own in _NAMES.items()} if is_torch else _NAMES
        state = {key: _renamed(value, names, is_torch) for key, value in saved["state"].items()}
        load({**saved, "state": state})

    optimizer.load_state_dict = translated  # type: ignore[method-assign,assignment]


def _renamed(moments: dict[str, Any], names: dict[str, str], is_torch: bool) -> dict[str, Any]:
    flat = {**moments, **moments.get(_WRAPPED, {})}
    flat.pop(_WRAPPED, None)
    renamed = {names.get(name, name): value for name, value in flat.items()}
    if "step" in renamed:
        step = float(renamed["step"])
        renamed["step"] = torch.tensor(step) if is_torch else int(step)
    return renamed
