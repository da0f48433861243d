"""Compare two evaluations item by item, and write it down: table, figures, page."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm import files
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import CompareConfig
from arabic_llm.errors import ConfigError

if TYPE_CHECKING:
    from arabic_llm.analysis.mistakes import Sorted
    from arabic_llm.analysis.scores import Evaluation
    from arabic_llm.analysis.statistics import Difference

log = logging.getLogger(__name__)
_NAMED = 4  # tasks in a title


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return the fingerprints of the two evaluations."""
    return {name: side.fingerprint for name, side in zip(("base", "tuned"), _sides(config), strict=True)}


def plan(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    task = _settings(config)
    log.info("plan: compare %s with %s", task.tuned, task.base)


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean difference of the compared scores, a share of 1."""
    from arabic_llm.tasks import evaluate

    base, tuned = _sides(config)
    # By the checks of this program and the judge of this command: what two runs left may be of two kinds.
    found = evaluate.sort_mistakes(config, base), evaluate.sort_mistakes(config, tuned)
    rows = report(config, (base, tuned), found, directory, trained=None)
    return sum(row.difference for row in rows) / len(rows)


def report(
    config: RunConfig,
    sides: tuple[Evaluation, Evaluation],
    mistakes_of: tuple[Sorted, Sorted],
    directory: Path,
    trained: Path | None,
) -> list[Difference]:
    """Write comparison.{md,csv}, forgetting.csv, mistakes.csv and report.html; return the table.

    Of the base model's evaluation and the tuned one's, each with its mistakes by kind.
    """
    from arabic_llm.analysis import forgetting, statistics
    from arabic_llm.reports import forgetting as forgetting_report
    from arabic_llm.reports import held_out_loss, mistakes, page, tables

    base, tuned = sides
    rows = statistics.compare(base, tuned, config.seed)
    found = forgetting.find(base, tuned, rows, config.seed)
    training = _training(directory, trained) if trained else {}
    followed = (
        held_out_loss.courses(training["metrics"], training["outcome"]["kept_step"]) if trained else []
    )
    study = page.Study(
        title=f"{base.model['name']} on {_some(list(base.judged['tasks']))}, before and after",
        base=base,
        tuned=tuned,
        rows=rows,
        manifest=files.read_json(directory / "manifest.json"),
        hardware=_hardware(config, trained),
        forgetting=found,
        mistakes=mistakes.section(*mistakes_of, base, config.seed),
        followed=followed,
        judging={
            side: _read(directory / "evaluation" / side / "memory.json") for side in ("base", "tuned")
        },
        **training,
    )
    files.write_text(directory / "comparison.md", tables.markdown(rows))
    files.write_text(directory / "comparison.csv", tables.comma_separated(rows))
    files.write_text(directory / "forgetting.csv", forgetting_report.comma_separated(found, followed))
    files.write_text(directory / "mistakes.csv", mistakes.changes_csv(study.mistakes.changes))
    files.write_text(directory / "report.html", page.study(study))
    headline = tables.terminal([row for row in rows if page.is_headline(row, base)])
    parts = (headline, held_out_loss.line(followed), f"report: {directory / 'report.html'}")
    summary = "\n" + "\n\n".join(part for part in parts if part)
    files.write_text(directory / "summary.txt", summary)
    log.info("%s", summary)
    return rows


def _sides(config: RunConfig) -> tuple[Evaluation, Evaluation]:
    """Return the two evaluations; each is given by its folder, or by that of the run that made it."""
    from arabic_llm.analysis import scores

    task = _settings(config)
    base, tuned = (scores.read(scores.folder_of(Path(given))) for given in (task.base, task.tuned))
    return base, tuned


def _hardware(config: RunConfig, trained: Path | None) -> str:
    """Return what the work was done on; without training that is counting, which needs no torch."""
    if trained is None:
        return f"compared on a CPU, {len(os.sched_getaffinity(0))} cores"
    from arabic_llm.models import placement

    return placement.resolve(config.hw).description


def _some(tasks: list[str]) -> str:
    """Return the names of some tasks, of many the first and the number of the others."""
    named, others = tasks[:_NAMED], len(tasks) - _NAMED
    return ", ".join(named) + (f" and {others} more tasks" if others > 0 else "")


def _read(memory: Path) -> dict[str, Any]:
    """Return what was measured of memory; nothing where nothing was."""
    return files.read_json(memory) if memory.exists() else {}


def _training(directory: Path, trained: Path) -> dict[str, Any]:
    return {
        "memory": _read(directory / "training" / "memory.json"),
        "lint": files.read_json(trained / "lint.json"),
        "ledgers": files.read_json(trained / "ledger.json"),
        "outcome": files.read_json(trained / "outcome.json"),
        "metrics": files.read_json_lines(directory / "training" / "metrics.jsonl"),
    }


def _settings(config: RunConfig) -> CompareConfig:
    if not isinstance(config.task, CompareConfig):
        raise ConfigError("task=compare is needed here")
    return config.task
