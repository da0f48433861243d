"""Fine-tune a classification head and evaluate it beside the majority and counted letters."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import files, machine, tracking
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import ConfigError
from arabic_llm.memory import disk_room
from arabic_llm.reports import classification
from arabic_llm.reports.spoken import say
from arabic_llm.tasks import Inputs
from arabic_llm.tracking import Results
from arabic_llm.workflows import classify, fine_tune, settings

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: rows, base model (None: not here yet)."""
    if config.adapter.path is not None:
        raise ConfigError("adapter.path has no meaning with task=classify: a new head needs a new adapter")
    return fine_tune.inputs(config)


def dry_run(config: RunConfig) -> None:
    """Say what a run would do: rows, classes, steps, memory. Writes nothing."""
    config = machine.settled(config)
    data = classify.rows(config)
    classify.announce(config, data, classify.fitted(config, data))


def run(config: RunConfig, directory: Path) -> float:
    """Return the classifier's macro F1 on the test rows; the report is `<directory>/report.html`."""
    config = machine.settled(config)
    tracker = tracking.start(config.tracking, directory, identity(config))
    data = classify.rows(config)
    fitted = classify.fitted(config, data)
    task = settings.training(config)
    disk_room.refuse_short(config.model, config.adapter, task, directory, fitted.num_labels or 0)
    classify.announce(config, data, fitted)
    trained = classify.fine_tune(config, data, fitted, directory, tracker)
    report = classify.evaluate(config, data, trained, directory)
    files.write_json_lines(directory / "items.jsonl", report.items)
    files.write_text(directory / "scores.md", classification.markdown(report))
    files.write_text(directory / "scores.csv", classification.comma_separated(report))
    files.write_bytes(directory / "confusion.png", classification.confusion_png(report))
    files.write_text(directory / "report.html", classification.html(report))
    summary = (
        f"\n{classification.terminal(report)}\n\n{say('report: {path}', path=directory / 'report.html')}"
    )
    files.write_text(directory / "summary.txt", summary)
    log.info("%s", summary)
    score = next(m.value for m in report.measures if m.metric == "macro F1")
    found = dict(report.outcome) | {f"{m.system} {m.metric}": m.value for m in report.measures}
    shown = {"scores": (report.header, list(report.rows()))}
    tracker.finish(Results(score, found, shown, directory / "report.html"))
    return score
