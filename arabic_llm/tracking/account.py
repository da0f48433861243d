"""Whether W&B can be reached with a login: asked first, as its own clients wait long and say much."""

from __future__ import annotations

import sys
from collections.abc import Callable

import httpx2
import wandb
from wandb.sdk import wandb_setup
from wandb.sdk.lib import wbauth

from arabic_llm.errors import HardwareError, UserError

_SECONDS = 10  # that a server may take to answer at all
_USERS_TO_FIX = 2


def require(what: str) -> None:
    """Refuse to go on without a login, or where the server does not answer. Raises HardwareError."""
    host = wandb_setup.singleton().settings.base_url  # starts no process
    try:
        login = wbauth.authenticate_session(host=host, source=what, prompt=False)
    except (wandb.errors.AuthenticationError, wandb.errors.UsageError, ValueError) as error:
        raise HardwareError(f"{what}: the W&B login cannot be used ({error}); run `wandb login`") from error
    if login is None:
        raise HardwareError(f"{what}: no W&B login for {host}; run `wandb login`, or set WANDB_API_KEY")
    try:
        httpx2.head(host, timeout=_SECONDS)
    except httpx2.HTTPError as error:
        raise HardwareError(
            f"{what}: {host} cannot be reached ({error}); do it again where there is a network"
        ) from error


def main(action: Callable[[list[str]], str]) -> None:
    """Do it with what was typed, say its line, and exit: 2 for what is the user's to fix."""
    try:
        sys.stdout.write(f"{action(sys.argv[1:])}\n")
    except UserError as error:
        sys.stdout.write(f"error: {error}\n")
        sys.exit(_USERS_TO_FIX)
