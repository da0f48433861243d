"""Successive halving: all jobs are trained for some steps; what is no better than the best, no further.

Jamieson and Talwalkar 2016 (1502.07943), Li et al. 2018 (1603.06560). A job is stopped, not cut short: its
schedule is that of the whole run, it keeps its checkpoint, and the same command without halving carries it
on.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from arabic_llm import files
from arabic_llm.errors import ConfigError
from arabic_llm.sweeping.pool import Pool, SweptJob

if TYPE_CHECKING:
    from arabic_llm.analysis.sweep_halving import Verdict

log = logging.getLogger(__name__)
TABLE = "halving.csv"  # what was decided at each rung, with its figures
_FIGURES = ("behind", "low", "high", "worse_p", "margin", "better_p")
_HEAD = ("step", "job", "dev_loss", *_FIGURES, "fate", "why")
_TASKS = ("sft", "study")  # whose dev rows have a loss of their tokens
_STEPS = ("task.max_steps", "task.epochs", "task")


@dataclass(frozen=True)
class Halving:
    """The rungs of a sweep: after which steps jobs are compared, before the last."""

    folder: Path
    eta: int
    rungs: tuple[int, ...]

    @classmethod
    def of(cls, folder: Path, eta: int, first: DictConfig, swept: Sequence[str]) -> Halving:
        """Return the rungs of a sweep with this first job. Raises ConfigError where there can be none."""
        task: Any = first.task
        if task.name not in _TASKS or task.get("stages"):
            raise ConfigError(
                f"sweep.halving.eta: jobs of task={task.name} have no loss on dev to be compared by before"
                " their end; it is for task=sft and for task=study without stages"
            )
        if task.max_steps is None or any(key in swept for key in _STEPS):
            raise ConfigError(
                "sweep.halving.eta: rungs are shares of the steps; set task.max_steps, one for all jobs"
            )
        if task.early_stopping_patience is not None:
            raise ConfigError("sweep.halving.eta and task.early_stopping_patience both end jobs; take one")
        steps = {math.ceil(task.max_steps / eta**power) for power in (2, 1)}
        return cls(folder, eta, tuple(sorted(step for step in steps if step < task.max_steps)))

    def run(self, pool: Pool, orders: Sequence[SweptJob]) -> None:
        """Run jobs from rung to rung, those that go on to their end."""
        from arabic_llm.analysis import sweep_halving  # numpy

        rows: list[list[Any]] = []
        alive = list(orders)
        for step in self.rungs:
            pool.run([one for one in alive if measured(one, step) is None], step)
            alive = [one for one in alive if one.name not in pool.failed]
            if pool.is_dry or not alive:
                return
            verdicts = self._verdicts(alive, step)
            rows += [[step, *_cells(one)] for one in verdicts]
            files.write_text(self.folder / TABLE, files.csv_text(_HEAD, rows))
            pool.judge({one.name: one.fate for one in verdicts})
            stopped = {one.name: one.fate for one in verdicts if one.fate != sweep_halving.GOES_ON}
            told = [f"{number} {fate}" for fate, number in Counter(stopped.values()).items()]
            log.info(
                "after step %s: %s of %s jobs go on%s; why stands in %s",
                *(step, len(alive) - len(stopped), len(alive)),
                *(f" (stopped: {', '.join(told)})" if told else "", self.folder / TABLE),
            )
            alive = [one for one in alive if one.name not in stopped]
        pool.run(alive)

    def _verdicts(self, orders: Sequence[SweptJob], step: int) -> list[Verdict]:
        """Return what becomes of jobs, but for those that were past the rung before: they go on unmeasured.

        Raises ConfigError for jobs whose dev rows are other tokens.
        """
        import numpy as np

        from arabic_llm.analysis import sweep_halving

        found = {one.name: own for one in orders if (own := measured(one, step)) is not None}
        asked = {name: own for name, own in found.items() if own["tokens"]}
        if not found:  # each was past this rung when its measure was lost
            return []
        if not asked:
            raise ConfigError(
                "sweep.halving.eta compares losses on dev, and there are no dev rows; raise data.dev_share"
            )
        first = next(iter(asked))
        for name, own in asked.items():
            if own["tokens"] != asked[first]["tokens"]:
                raise ConfigError(
                    f"sweep.halving.eta: jobs {first} and {name} have other dev rows, or other tokens of"
                    " them: their losses cannot be compared; sweep what differs without halving"
                )
        nats = {name: np.array(own["nats"]) for name, own in asked.items()}
        return sweep_halving.decide(nats, asked[first]["tokens"], self.eta)


def measured(order: SweptJob, step: int) -> dict[str, Any] | None:
    """Return what training/rungs.py has measured of a job; None where it has not, or that is damaged."""
    path = order.folder / "training" / f"rung-{step}.json"
    return files.kept(path, files.read_state, "the job is measured again, unless it went on")


def _cells(verdict: Verdict) -> list[Any]:
    figures = (verdict.loss, *(getattr(verdict, name) for name in _FIGURES))
    return [verdict.name, *(f"{value:.6g}" for value in figures), verdict.fate, verdict.why]
