"""The report of a sweep, beside its jobs: sweep.html and sweep.csv, at its end and when it is asked for."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import files

log = logging.getLogger(__name__)
PAGE, TABLE = "sweep.html", "sweep.csv"


def write(folder: Path) -> None:
    """Write the page and the table of a sweep that is done, or not yet. Raises DataError for no sweep."""
    from arabic_llm.analysis import sweep_jobs
    from arabic_llm.reports import sweep_page  # matplotlib
    from arabic_llm.reports.spoken import say

    found = sweep_jobs.read(folder)
    files.write_text(folder / TABLE, sweep_page.as_csv(found))
    files.write_text(folder / PAGE, sweep_page.page(found))
    log.info("\n%s\n\n%s", sweep_page.line(found), say("report: {path}", path=folder / PAGE))


def folders(below: Path) -> list[Path]:
    """Return the sweeps of a folder: itself, or what lies in it."""
    from arabic_llm.analysis import sweep_jobs

    return [path.parent for path in sorted(below.rglob(sweep_jobs.STATE)) if path.is_file()]
