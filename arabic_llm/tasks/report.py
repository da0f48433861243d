"""All evaluations of some folders in one table, classifiers in another; each sweep's own report."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from arabic_llm import files
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import ReportConfig
from arabic_llm.errors import ConfigError, DataError, UserError
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import found_runs

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs | None:
    """Return nothing: it is never done for good, and looks each time at what is there."""


def dry_run(config: RunConfig) -> None:
    """Say what would be written. Writes nothing."""
    folders = _folders(config)
    if sweeps := found_runs.sweeps(folders):
        log.info("plan: sweep.{csv,html} in each of %s", ", ".join(map(str, sweeps)))
    found, classified = found_runs.evaluations(folders), found_runs.classifications(folders)
    _refuse_nothing(folders, found or classified or sweeps)
    if found or classified:
        what = f"{len(found)} evaluations and {len(classified)} classifications"
        log.info("plan: %s in %s/results.{md,csv,html}", what, config.output_dir)


def run(config: RunConfig, directory: Path) -> None:
    """Write results.{md,csv,html}, leaderboard.html, the table of classifiers, and the reports of sweeps.

    Raises DataError when there is none of them. What cannot be read is named, and hides nothing else.
    """
    from arabic_llm.reports import classifications, leaderboard, results
    from arabic_llm.reports.spoken import say
    from arabic_llm.workflows import suite_names

    folders = _folders(config)
    reported = _sweeps(folders)
    found, classified = found_runs.evaluations(folders), found_runs.classifications(folders)
    _refuse_nothing(folders, found or classified or reported)
    if not (found or classified):
        return
    table = results.rows(found)
    own = classifications.as_markdown(classified) if classified else ""
    files.write_text(directory / "results.md", results.as_markdown(table) + own)
    files.write_text(directory / "results.csv", results.as_csv(table))
    files.write_text(directory / "results.html", results.as_html(table, classified))
    if classified:
        files.write_text(directory / "classifications.csv", classifications.as_csv(classified))
    reports = {
        one.evaluation.fingerprint: os.path.relpath(one.report, directory) for one in found if one.report
    }
    suites = {one.evaluation.fingerprint: suite_names.of(one.report) for one in found}
    files.write_text(directory / "leaderboard.html", leaderboard.page(table, reports, suites))
    said = [results.terminal(table)] if found else []
    said += [classifications.terminal(classified)] if classified else []
    said.append(say("report: {path}", path=directory / "results.html"))
    log.info("%s", "\n\n".join(said))


def _sweeps(folders: list[str]) -> list[Path]:
    """Write the reports of sweeps, and return where; one that cannot be read is named."""
    from arabic_llm.workflows import sweep_report

    written = []
    for folder in found_runs.sweeps(folders):
        try:
            sweep_report.write(folder)
            written.append(folder)
        except UserError as error:
            log.info("left out: %s", error)
    return written


def _refuse_nothing(folders: list[str], found: object) -> None:
    if found:
        return
    missing = [folder for folder in folders if not Path(folder).is_dir()]
    gone = f" (no folder: {', '.join(missing)})" if missing else ""
    raise DataError(f"task.folders: no evaluation in {', '.join(folders)}{gone}; task=evaluate makes one")


def _folders(config: RunConfig) -> list[str]:
    """Return the folders that are looked through."""
    if not isinstance(config.task, ReportConfig):
        raise ConfigError("task=report is needed here")
    return config.task.folders
