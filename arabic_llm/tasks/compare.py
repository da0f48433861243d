"""Compare two evaluations item by item."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from arabic_llm.analysis import scores
from arabic_llm.analysis.scores import Evaluation
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import CompareConfig
from arabic_llm.errors import ConfigError
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import compare, explain_mistakes

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return the fingerprints of the two evaluations."""
    base, tuned = _sides(config)
    return {"base": base.fingerprint, "tuned": tuned.fingerprint}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    task = _settings(config)
    log.info("plan: compare %s with %s", task.tuned, task.base)


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean difference of the compared scores, a share of 1."""
    base, tuned = _sides(config)
    # By the checks of this program and the judge of this command: what two runs left may be of two kinds.
    found = tuple(
        explain_mistakes.explain(side, config.judge, Path(config.cache_dir)) for side in (base, tuned)
    )
    where = f"compared on a CPU, {len(os.sched_getaffinity(0))} cores"
    rows = compare.report((base, tuned), (found[0], found[1]), directory, None, config.seed, where)
    return sum(row.difference for row in rows) / len(rows)


def _sides(config: RunConfig) -> tuple[Evaluation, Evaluation]:
    """Return the two evaluations; each is given by its folder, or by that of the run that made it."""
    task = _settings(config)
    base, tuned = (
        scores.read(scores.folder_of(Path(given)), are_shares=True) for given in (task.base, task.tuned)
    )
    return base, tuned


def _settings(config: RunConfig) -> CompareConfig:
    if not isinstance(config.task, CompareConfig):
        raise ConfigError("task=compare is needed here")
    return config.task
