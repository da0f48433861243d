"""The base of a study and all its stages, each compared with every other, and written down."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from arabic_llm import files
from arabic_llm.analysis import forgetting
from arabic_llm.config.run import RunConfig
from arabic_llm.reports import stages_page as page
from arabic_llm.reports.spoken import say, term
from arabic_llm.reports.stages_page import Comparison, Page, Trained
from arabic_llm.workflows import compare, stages
from arabic_llm.workflows.stages import Judged, Step

log = logging.getLogger(__name__)


def report(judged: Sequence[Judged], config: RunConfig, directory: Path, hardware: str) -> None:
    """Write comparison.{md,csv}, report.html and summary.txt."""
    pairs = list(combinations(judged, 2))
    found = forgetting.find_each([(a.evaluation, b.evaluation) for a, b in pairs], config.seed)
    study = Page(
        title=f"{config.model.name}: {say(', then ').join(term(one.name) for one in judged)}",
        sides={one.name: one.evaluation for one in judged},
        comparisons=[Comparison(a.name, b.name, one) for (a, b), one in zip(pairs, found, strict=True)],
        trained=[_trained(one.step) for one in judged if one.step is not None],
        prompts=stages.settings(config).prompts,
        answers={one.name: one.answers for one in judged},
        manifest=files.read_state(directory / "manifest.json"),
        hardware=hardware,
        evaluation_memory={
            one.name: compare.measured(directory / one.name / "evaluation" / "memory.json")
            for one in judged
        },
    )
    files.write_text(directory / "comparison.md", page.markdown(study))
    files.write_text(directory / "comparison.csv", page.comma_separated(study))
    files.write_text(directory / "report.html", page.html_of(study))
    summary = f"\n{page.terminal(study)}\n\n{say('report: {path}', path=directory / 'report.html')}"
    files.write_text(directory / "summary.txt", summary)
    log.info("%s", summary)


def _trained(step: Step) -> Trained:
    """Return what a stage was told and what its training has left."""
    return Trained(
        name=step.stage.name,
        start=step.start,
        data=step.config.data.name,
        settings=step.config.task,
        **compare.training_of(step.directory, step.trained),
    )
