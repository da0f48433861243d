"""The only door to W&B: metrics.jsonl is the truth, W&B gets a copy, offline first, never in the way."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from arabic_llm import processes
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.run import Tracking

log = logging.getLogger(__name__)
PROJECT = "arabic-llm"


class Tracker(Protocol):
    """Takes copies of metrics."""

    def log(self, values: dict[str, Any]) -> None:
        """Take the values of one step; `step` is among them."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Take the results of the run and close it."""


class NoTracker:
    """Keeps nothing: metrics.jsonl is enough."""

    def log(self, values: dict[str, Any]) -> None:
        """Do nothing."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Do nothing."""


class WandbTracker:
    """Writes an offline W&B run beside the results; `make sync` uploads it later."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        """Open the run. WANDB_MODE=online in the environment uploads at once."""
        import wandb

        self._run = wandb.init(
            project=PROJECT,
            name=directory.name,
            id=fingerprint(str(directory.resolve())),
            resume="allow",  # a killed run and what carried it on are one
            dir=directory,
            config=config,
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def log(self, values: dict[str, Any]) -> None:
        """Copy the values of one step."""
        self._run.log({k: v for k, v in values.items() if k != "step"}, step=int(values["step"]))

    def finish(self, summary: dict[str, Any]) -> None:
        """Copy the results and close the run."""
        self._run.summary.update(summary)
        self._run.finish()


class Forgiving:
    """A tracker whose first failure is said in a line, and its last: the run goes on without it."""

    def __init__(self, tracker: Tracker) -> None:
        """Take the tracker that may fail."""
        self._tracker = tracker

    def log(self, values: dict[str, Any]) -> None:
        """Copy the values of one step, if that still works."""
        self._try(lambda: self._tracker.log(values))

    def finish(self, summary: dict[str, Any]) -> None:
        """Copy the results, if that still works."""
        self._try(lambda: self._tracker.finish(summary))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 (whatever W&B does, it is a copy)
            log.info("no further W&B copy of this run: %s", " ".join(str(error).split())[:200])
            self._tracker = NoTracker()


def start(tracking: Tracking, directory: Path, config: dict[str, Any]) -> Tracker:
    """Return the tracker a run asked for; W&B that does not start is said in a line, and not missed."""
    if tracking is Tracking.none or not processes.is_main():
        return NoTracker()
    try:
        return Forgiving(WandbTracker(directory, config))
    except Exception as error:  # noqa: BLE001 (whatever W&B does, it is a copy)
        log.info("no W&B copy of this run: %s", " ".join(str(error).split())[:200])
        return NoTracker()
