"""`make dashboards`: save the workspaces of workspaces.py at W&B; saved again, they are the same two."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import wandb

from arabic_llm.errors import ConfigError, HardwareError
from arabic_llm.tracking import account

_WHAT = "make dashboards"
_LONGEST = 200  # characters of what W&B says


def save(typed: Sequence[str]) -> str:
    """Save both, for the user who is logged in or the team that was typed, and return where they are.

    Raises ConfigError without the extra `dashboards`, HardwareError without login or network, and for a
    project that W&B does not have yet.
    """
    if find_spec("wandb_workspaces") is None:
        raise ConfigError(f"{_WHAT} needs wandb-workspaces: pip install 'arabic-llm[dashboards]'")
    from arabic_llm.tracking import workspaces

    account.require(_WHAT)
    try:
        addresses = workspaces.save(typed[0] if typed else str(wandb.Api().default_entity))
    except (ValueError, wandb.errors.Error) as error:
        said = " ".join(str(error).split())[:_LONGEST]
        raise HardwareError(f"{_WHAT}: {said}; the first `make sync` makes the project") from error
    return f"{_WHAT}: {', '.join(addresses)}"


if __name__ == "__main__":
    account.main(save)
