"""Evaluate a model on a suite; what was asked before in the same way is not asked again."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import machine, processes
from arabic_llm.analysis import varieties
from arabic_llm.config.run import RunConfig
from arabic_llm.reports import tables, variety_gaps
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import evaluate

log = logging.getLogger(__name__)
shares_work = True  # each process answers its part of the items


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: base model, adapter, local benchmarks, and the code."""
    return {**evaluate.inputs(config), **evaluate.made_with()}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    evaluate.dry_run(config)


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean of the first score of each of the suite's tasks, a share of 1."""
    config = machine.settled(config, whole=True)
    trained = Path(config.adapter.path) if config.adapter.path else None
    evaluation = evaluate.evaluate(config, trained, directory / "evaluation")
    processes.from_main(lambda: evaluate.leave(config, evaluation, directory / "evaluation"))
    lines = [*tables.left_out(evaluation.judged), *tables.shortened(evaluation.scores)]
    gaps = variety_gaps.terminal(varieties.gaps(evaluation))
    parts = [gaps, tables.scores_terminal(evaluation.scores), "\n".join(lines)]
    log.info("\n%s", "\n\n".join(part for part in parts if part))
    return evaluate.mean_score(config.suite, evaluation)
