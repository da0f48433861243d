"""Copies of a run for W&B: metrics.jsonl is the truth, a copy is offline first and never in the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from arabic_llm import processes
from arabic_llm.config.run import Tracking

log = logging.getLogger(__name__)
PROJECT = "arabic-llm"


@dataclass(frozen=True)
class Results:
    """What a run has found: its metric as result.json has it, figures by name, tables, a page about it.

    A table is its header and its rows; a page that is not there is none.
    """

    metric: float
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(default_factory=dict)
    report: Path | None = None


class Tracker(Protocol):
    """Takes copies of metrics."""

    def log(self, values: dict[str, Any]) -> None:
        """Take the values of one step; `step` is among them."""

    def finish(self, results: Results) -> None:
        """Take the results of the run and close it."""


class NoTracker:
    """Keeps nothing: metrics.jsonl is enough."""

    def log(self, values: dict[str, Any]) -> None:
        """Do nothing."""

    def finish(self, results: Results) -> None:
        """Do nothing."""


class Forgiving:
    """A tracker whose first failure is said in a line, and its last: the run goes on without it."""

    def __init__(self, tracker: Tracker) -> None:
        """Take the tracker that may fail."""
        self._tracker = tracker

    def log(self, values: dict[str, Any]) -> None:
        """Copy the values of one step, if that still works."""
        self._try(lambda: self._tracker.log(values))

    def finish(self, results: Results) -> None:
        """Copy the results, if that still works."""
        self._try(lambda: self._tracker.finish(results))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 (whatever W&B does, it is a copy)
            log.info("no further W&B copy of this run: %s", " ".join(str(error).split())[:200])
            self._tracker = NoTracker()


def start(tracking: Tracking, directory: Path, identity: Mapping[str, Any]) -> Tracker:
    """Return the tracker a run asked for; W&B that does not start is said in a line, and not missed.

    Of what the run is (`compose.identity`), W&B is told what told.py lists, and nothing else.
    """
    if tracking is Tracking.none or not processes.is_main():
        return NoTracker()
    from arabic_llm.tracking.wandb_run import WandbRun

    try:
        return Forgiving(WandbRun(directory, identity))
    except Exception as error:  # noqa: BLE001 (whatever W&B does, it is a copy)
        log.info("no W&B copy of this run: %s", " ".join(str(error).split())[:200])
        return NoTracker()
