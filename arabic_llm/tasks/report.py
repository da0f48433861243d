"""All evaluations of some folders in one table, published figures beside them; each sweep's own report."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import ReportConfig
from arabic_llm.errors import ConfigError, DamagedError, DataError
from arabic_llm.tasks import Inputs

if TYPE_CHECKING:
    from arabic_llm.analysis.scores import Evaluation
    from arabic_llm.reports.results import ReportedEvaluation

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs | None:
    """Return nothing: it is never done for good, and looks each time at what is there."""


def dry_run(config: RunConfig) -> None:
    """Say what would be written. Writes nothing."""
    if sweeps := _sweeps(config):
        log.info("plan: sweep.{csv,html} in each of %s", ", ".join(map(str, sweeps)))
    if (found := find(config)) or not sweeps:
        log.info("plan: %s evaluations in %s/results.{md,csv,html}", len(found), config.output_dir)


def run(config: RunConfig, directory: Path) -> None:
    """Write results.{md,csv,html} and leaderboard.html, and of sweeps their reports.

    Raises DataError when there is neither.
    """
    from arabic_llm.reports import leaderboard, results
    from arabic_llm.workflows import suite_names, sweep_report

    for folder in _sweeps(config):
        sweep_report.write(folder)
    if not (found := find(config)):
        return
    table = results.rows(found)
    files.write_text(directory / "results.md", results.as_markdown(table))
    files.write_text(directory / "results.csv", results.as_csv(table))
    files.write_text(directory / "results.html", results.as_html(table))
    reports = {
        one.evaluation.fingerprint: os.path.relpath(one.report, directory) for one in found if one.report
    }
    suites = {one.evaluation.fingerprint: suite_names.of(one.report) for one in found}
    files.write_text(directory / "leaderboard.html", leaderboard.page(table, reports, suites))
    log.info("%s\n\nreport: %s", results.terminal(table), directory / "results.html")


def find(config: RunConfig) -> list[ReportedEvaluation]:
    """Return each evaluation once, with what its model learned from where a run of ours says so."""
    from arabic_llm.analysis import scores
    from arabic_llm.reports.results import ReportedEvaluation

    found: dict[str, Evaluation] = {}
    names: dict[str, str] = {}  # of trained weights, by their hash
    reports: dict[str, Path | None] = {}  # of a fingerprint
    for folder in _folders(config):
        for path in sorted(Path(folder).rglob("items.jsonl")):
            if not scores.holds(path.parent):
                continue
            try:
                evaluation = scores.read(path.parent)
            except DamagedError as error:
                log.info("left out: %s", error)
                continue
            trained = evaluation.model["trained"]
            if trained and (said := _learned_from(path.parent)):
                names.setdefault(trained, said)
            found.setdefault(evaluation.fingerprint, evaluation)
            if reports.get(evaluation.fingerprint) is None:
                reports[evaluation.fingerprint] = _report_of(path.parent)
    if not found and not _sweeps(config):
        looked = ", ".join(_folders(config))
        raise DataError(f"task.folders: no evaluation in {looked}; task=evaluate makes one")
    return [
        ReportedEvaluation(
            one,
            names.get(trained, trained) if (trained := one.model["trained"]) else "",
            reports[one.fingerprint],
        )
        for one in found.values()
    ]


def _report_of(judged: Path) -> Path | None:
    """Return the page about a run, where it has one: of a study its report, else the answers' table."""
    pages = (folder / "report.html" for folder in judged.parents[:2])
    return next((page for page in (*pages, judged / "scores.md") if page.is_file()), None)


def _sweeps(config: RunConfig) -> list[Path]:
    """Return the folders of sweeps that were asked about."""
    from arabic_llm.workflows import sweep_report

    return [found for folder in _folders(config) for found in sweep_report.folders(Path(folder))]


def _folders(config: RunConfig) -> list[str]:
    """Return the folders that are looked through."""
    if not isinstance(config.task, ReportConfig):
        raise ConfigError("task=report is needed here")
    return config.task.folders


def _learned_from(judged: Path) -> str:
    """Return adapter and data of the run that trained what was judged; nothing where none says so."""
    for folder in judged.parents:
        if not (folder / "manifest.json").is_file():
            continue
        try:
            identity = files.read_state(folder / "manifest.json", is_old_too=True)["identity"]
        except (DamagedError, KeyError) as error:  # or another program's
            log.info("not known what was learned: %s", error)
            return ""
        data, adapter = identity["data"], identity["adapter"]
        if identity["task"]["name"] == "evaluate":  # of what an earlier run has trained
            return _learned_from(Path(adapter["path"]) / "evaluation") if adapter["path"] else ""
        name = Path(data["path"]).stem if data["name"] == "local" else data["name"]
        return f"{adapter['name']} on {name}"
    return ""
