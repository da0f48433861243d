"""Errors a user can fix; the entrypoint prints them as one line, without a traceback, and exits with 2."""

from __future__ import annotations

import traceback


class UserError(Exception):
    """Base of every error whose cause is the configuration, the data or the machine."""

    def __str__(self) -> str:
        """Return it on one line that can be printed: a name in it may hold any character."""
        line = " ".join(super().__str__().splitlines())
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class ConfigError(UserError):
    """The composed configuration is wrong; the message names the full key."""


class DataError(UserError):
    """A file or a row is wrong; the message begins with `file:line`."""


class CheckpointError(UserError):
    """A checkpoint or adapter is torn, missing, or belongs to another run or base model."""


class DamagedError(CheckpointError):
    """A file that this program has written is not what it wrote; the message begins with the file."""


class ModelError(UserError):
    """A model cannot be asked: its weights, or what they give, are not finite."""


class TrainingError(UserError):
    """Training met a value it cannot go on from; the message names the step and the rows."""


class HardwareError(UserError):
    """The machine lacks what the run needs: a device, memory, disk, or an unlocked directory."""


class StoppedError(Exception):
    """A run has come to `stop_after`: a checkpoint is there, and nothing is wrong."""


def modules_of(error: BaseException) -> list[str]:
    """Return the names of the modules that an error passed through, outermost first."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return [str(frame.f_globals.get("__name__")) for frame in frames]
