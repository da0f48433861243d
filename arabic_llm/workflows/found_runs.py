"""What there is to report on in some folders: evaluations, classifiers, sweeps; the unreadable is named."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.analysis import classified_runs
from arabic_llm.analysis.classified_runs import ClassifiedRun
from arabic_llm.config.naming import of_data
from arabic_llm.errors import DamagedError
from arabic_llm.reports.beginning import WhatWasTrained

if TYPE_CHECKING:
    from arabic_llm.analysis.scores import Evaluation
    from arabic_llm.reports.results import ReportedEvaluation

log = logging.getLogger(__name__)


def evaluations(folders: Sequence[str]) -> list[ReportedEvaluation]:
    """Return each evaluation once, with what its model learned from where a run of ours says so."""
    from arabic_llm.reports.results import ReportedEvaluation

    found: dict[str, Evaluation] = {}
    names: dict[str, str] = {}  # of trained weights, by their hash
    reports: dict[str, Path | None] = {}  # of a fingerprint
    for folder, evaluation in _read(folders):
        trained = evaluation.model["trained"]
        if trained and (said := learned_from(folder)):
            names.setdefault(trained, f"{said.adapter} on {said.data}")
        found.setdefault(evaluation.fingerprint, evaluation)
        if reports.get(evaluation.fingerprint) is None:
            reports[evaluation.fingerprint] = _report_of(folder)
    return [
        ReportedEvaluation(
            one,
            names.get(trained, trained) if (trained := one.model["trained"]) else "",
            reports[one.fingerprint],
        )
        for one in found.values()
    ]


def classifications(folders: Sequence[str]) -> list[ClassifiedRun]:
    """Return what runs of task=classify have found."""
    found = []
    for path in _below(folders, classified_runs.SCORES):
        try:
            if classified_runs.holds(path.parent):
                found.append(classified_runs.read(path.parent))
        except (DamagedError, OSError) as error:
            log.info("left out: %s", error)
    return found


def sweeps(folders: Sequence[str]) -> list[Path]:
    """Return the folders of sweeps."""
    from arabic_llm.workflows import sweep_report

    return [found for folder in folders for found in sweep_report.folders(Path(folder))]


def _read(folders: Sequence[str]) -> Iterator[tuple[Path, Evaluation]]:
    from arabic_llm.analysis import scores

    for path in _below(folders, "result.json"):
        try:
            if scores.holds(path.parent):
                yield path.parent, scores.read(path.parent)
        except (DamagedError, OSError) as error:
            log.info("left out: %s", error)


def _below(folders: Sequence[str], name: str) -> Iterator[Path]:
    """Yield the files of that name, each once: a folder may be given twice, or lie in another."""
    seen = set()
    for folder in folders:
        for path in sorted(Path(folder).rglob(name)):
            if (real := path.resolve()) not in seen:
                seen.add(real)
                yield path


def _report_of(judged: Path) -> Path | None:
    """Return the page about a run, where it has one: of a study its report, else the answers' table."""
    pages = (folder / "report.html" for folder in judged.parents[:2])
    return next((page for page in (*pages, judged / "scores.md") if page.is_file()), None)


def learned_from(judged: Path) -> WhatWasTrained | None:
    """Return adapter and data of the run that trained what was judged; nothing where none says so."""
    for folder in judged.parents:
        if not (folder / "manifest.json").is_file():
            continue
        try:
            identity = files.read_state(folder / "manifest.json", is_old_too=True)["identity"]
            adapter, data = identity["adapter"], identity["data"]
            if identity["task"]["name"] == "evaluate":  # of what an earlier run has trained
                return learned_from(Path(adapter["path"]) / "evaluation") if adapter["path"] else None
            return WhatWasTrained(str(adapter["name"]), of_data(data["name"], data["path"]))
        except (DamagedError, KeyError, TypeError) as error:  # or another program's
            log.info("not known what was learned: %s", error)
            return None
    return None
