"""Two evaluations compared item by item, and written down: table, figures, page."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.analysis import forgetting, varieties
from arabic_llm.analysis.mistakes import SortedMistakes
from arabic_llm.analysis.scores import Evaluation
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports import beginning, held_out_loss, mistakes, page, paper, tables, variety_gaps
from arabic_llm.reports import forgetting as forgetting_report
from arabic_llm.reports.beginning import WhatWasTrained
from arabic_llm.reports.spoken import plain, say
from arabic_llm.training import checkpoint
from arabic_llm.workflows import found_runs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Side:
    """One of two evaluations, its mistakes by kind, and where it lies."""

    evaluation: Evaluation
    mistakes: SortedMistakes
    folder: Path


def report(
    sides: tuple[Side, Side], directory: Path, trained: Path | None, seed: int, hardware: str
) -> list[Difference]:
    """Write report.html, comparison.{md,csv,tex}, measured.txt and other tables; return the comparison.

    Of the base model's evaluation and the tuned one's. What was `trained` lies in this run's folder; where
    nothing was, the evaluations lie in those of other runs.
    """
    base, tuned = (side.evaluation for side in sides)
    found = forgetting.find(base, tuned, seed)
    rows = found.tasks
    training = training_of(directory, trained) if trained else {}
    followed = (
        held_out_loss.courses(training["metrics"], training["outcome"]["kept_step"]) if trained else []
    )
    manifest = files.read_state(directory / "manifest.json")
    model = str(base.model["name"])
    if training:
        last: WhatWasTrained | None = beginning.of_run(manifest)
        learned = beginning.learned(model, manifest, training["lint"], training["outcome"])
    else:
        before, last = (
            found_runs.learned_from(side.folder) if side.evaluation.model["trained"] else None
            for side in sides
        )
        learned = beginning.learned_elsewhere(model, before, last)
    study = page.Study(
        title=beginning.title(model, last),
        learned=learned,
        base=base,
        tuned=tuned,
        rows=rows,
        manifest=manifest,
        hardware=hardware,
        forgetting=found,
        mistakes=mistakes.section(sides[0].mistakes, sides[1].mistakes, base, seed),
        gaps=varieties.changes(base, tuned),
        followed=followed,
        evaluation_memory={
            side: measured(directory / "evaluation" / side / "memory.json") for side in ("base", "tuned")
        },
        **training,
    )
    files.write_text(directory / "comparison.md", tables.markdown(rows))
    files.write_text(directory / "comparison.csv", tables.comma_separated(rows))
    files.write_text(directory / "forgetting.csv", forgetting_report.comma_separated(found, followed))
    files.write_text(directory / "mistakes.csv", mistakes.changes_csv(study.mistakes.changes))
    if study.gaps:
        files.write_text(directory / "varieties.csv", variety_gaps.changes_csv(study.gaps))
    files.write_text(directory / "report.html", page.study(study))
    first = page.headline(rows, base)
    files.write_text(directory / "comparison.tex", paper.latex(first, base.model["name"]))
    files.write_text(directory / "measured.txt", plain(paper.measured(base, tuned, manifest, hardware)))
    poor = tables.knows_nothing([row.tuned for row in first])
    parts = (
        tables.terminal(first),
        tables.by_prompt_note(row.base for row in first),
        say("tuned model: {poor}", poor=poor) if poor else "",
        held_out_loss.line(followed),
        say("report: {path}", path=directory / "report.html"),
    )
    summary = "\n" + "\n\n".join(part for part in parts if part)
    files.write_text(directory / "summary.txt", summary)
    log.info("%s", summary)
    return rows


def measured(memory: Path) -> dict[str, Any]:
    """Return what was measured of memory; nothing where nothing was, or where it is damaged."""
    return files.kept(memory, files.read_state, "the report does without it") or {}


def training_of(directory: Path, trained: Path) -> dict[str, Any]:
    """Return what a training has left in its run's folder and in that of what it trained."""
    return {
        "memory": measured(directory / "training" / "memory.json"),
        "lint": files.read_json(trained / "lint.json"),
        "ledgers": files.read_json(trained / "ledger.json"),
        "outcome": files.read_json(trained / "outcome.json"),
        "metrics": checkpoint.metrics(directory / "training"),
    }
