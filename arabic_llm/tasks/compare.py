"""Compare two evaluations item by item."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from arabic_llm.analysis import scores
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import CompareConfig
from arabic_llm.errors import ConfigError
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import compare, explain_mistakes
from arabic_llm.workflows.compare import Side

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return the fingerprints of the two evaluations."""
    base, tuned = (scores.read(folder, are_shares=True) for folder in _places(config))
    return {"base": base.fingerprint, "tuned": tuned.fingerprint}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    task = _settings(config)
    log.info("plan: compare %s with %s", task.tuned, task.base)


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean difference of the compared scores, a share of 1."""
    # By the checks of this program and the judge of this command: what two runs left may be of two kinds.
    cache, places = Path(config.cache_dir), _places(config)
    found = [scores.read(folder, are_shares=True) for folder in places]
    base, tuned = (
        Side(evaluation, explain_mistakes.explain(evaluation, config.judge, cache), folder)
        for evaluation, folder in zip(found, places, strict=True)
    )
    where = f"compared on a CPU, {len(os.sched_getaffinity(0))} cores"
    rows = compare.report((base, tuned), directory, None, config.seed, where)
    return sum(row.difference for row in rows) / len(rows)


def _places(config: RunConfig) -> tuple[Path, Path]:
    """Return where the two evaluations lie; each is given so, or by the folder of the run that made it."""
    task = _settings(config)
    base, tuned = (scores.folder_of(Path(given)) for given in (task.base, task.tuned))
    return base, tuned


def _settings(config: RunConfig) -> CompareConfig:
    if not isinstance(config.task, CompareConfig):
        raise ConfigError("task=compare is needed here")
    return config.task
