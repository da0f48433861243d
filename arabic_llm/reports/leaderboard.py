"""The leaderboard: the results table as one page that sorts, filters and groups without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from arabic_llm.reports import html, results
from arabic_llm.reports.results import ResultRow
from arabic_llm.reports.spoken import marked, say, term

_NUMBERS = ("n", "accuracy", "F1", "ROUGE-L")  # columns that sort by size
(_SHOWN,) = marked("{shown} of {rows} rows")


def page(table: Sequence[ResultRow], reports: Mapping[str, str], suites: Mapping[str, str]) -> str:
    """Return the page.

    `reports` gives the fingerprint of an evaluation the path of its run's report, `suites` its suite:
    a published figure stands in that of our rows of its data set.
    """
    of_tasks = {row.task: suites[row.evaluation] for row in reversed(table) if suites.get(row.evaluation)}
    rows = [
        {
            "cells": [*results.cells(row), Path(reports.get(row.evaluation, "")).parent.name],
            "numbers": [row.n, row.accuracy, row.f1, row.rouge_l],
            "note": results.note(row),
            "is_published": row.way is None,
            "suite": suites.get(row.evaluation) or of_tasks.get(row.task, ""),
            "link": quote(reports.get(row.evaluation, "")),
        }
        for row in table
    ]
    return html.render(
        "leaderboard.html.jinja",
        header=[*results.header(), say("run"), say("notes")],
        rows=rows,
        numbers=[*map(term, _NUMBERS)],
        said={
            "accuracy": say("accuracy"),
            "all": say("all"),
            "nothing": say("nothing (base models)"),
            "shown": term(_SHOWN),  # filled by the page
        },
        notes=[*map(term, results.NOTES)],
    )
