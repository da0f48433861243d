"""Evaluate a model on a suite; what was asked before in the same way is not asked again."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import machine, processes, tracking
from arabic_llm.analysis import varieties
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.reports import tables, variety_gaps
from arabic_llm.tasks import Inputs
from arabic_llm.tracking import Results
from arabic_llm.workflows import evaluate, seen

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
    config = seen.marked_as_it_is(machine.settled(config, whole=True))
    tracker = tracking.start(config.tracking, directory, identity(config))
    trained = Path(config.adapter.path) if config.adapter.path else None
    evaluation = evaluate.evaluate(config, trained, directory / "evaluation")
    processes.from_main(lambda: evaluate.leave(config, evaluation, directory / "evaluation"))
    whole = [score for score in evaluation.scores if evaluation.is_whole(score)]
    note = tables.by_prompt_note(whole)
    lines = [
        *([note] if note else ()),
        *tables.left_out(evaluation.judged),
        *tables.shortened(whole),
        *tables.twins(evaluation),
    ]
    if parts := len(evaluation.scores) - len(whole):
        lines.append(f"scores of {parts:,} parts of these: {directory / 'evaluation' / 'scores.md'}")
    gaps = variety_gaps.terminal(varieties.gaps(evaluation))
    said = (gaps, tables.scores_terminal(whole), "\n".join(lines))
    log.info("\n%s", "\n\n".join(part for part in said if part))
    score = evaluate.mean_score(config.suite, evaluation)
    found = {one.label: one.value for one in evaluation.scores}
    shown = {"scores": tables.scores_table(evaluation.scores)}
    tracker.finish(Results(score, found, shown, directory / "evaluation" / "scores.md"))
    return score
