"""Compare two evaluations item by item."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm.analysis import scores
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import CompareConfig
from arabic_llm.errors import ConfigError
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import compare, explain_mistakes

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return the fingerprints of the two evaluations."""
    task = _settings(config)
    return {name: scores.read(Path(getattr(task, name))).fingerprint for name in ("base", "tuned")}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    task = _settings(config)
    log.info("plan: compare %s with %s", task.tuned, task.base)


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean difference of the compared scores, a share of 1."""
    task, cache = _settings(config), Path(config.cache_dir)
    base, tuned = scores.read(Path(task.base)), scores.read(Path(task.tuned))
    # By the checks of this program and the judge of this command: what two runs left may be of two kinds.
    found = tuple(explain_mistakes.explain(side, config.judge, cache) for side in (base, tuned))
    rows = compare.report(config, (base, tuned), (found[0], found[1]), directory, trained=None)
    return sum(row.difference for row in rows) / len(rows)


def _settings(config: RunConfig) -> CompareConfig:
    if not isinstance(config.task, CompareConfig):
        raise ConfigError("task=compare is needed here")
    return config.task
