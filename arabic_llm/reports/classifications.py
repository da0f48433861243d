"""The table of classifiers: a row a run, what two baselines score on the same texts beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from arabic_llm import files
from arabic_llm.analysis.classified_runs import ClassifiedRun
from arabic_llm.reports import markdown, tables

TITLE = "Classifications"
HEADER = (
    "data set",
    "model",
    "adapter",
    "n",
    "accuracy",
    "macro F1",
    "kappa",
    "TF-IDF",
    "majority",
    "test",
)
NUMERIC = (3, 4, 5, 6, 7, 8)  # columns
NOTE = (
    "scores are those of task=classify on its own test rows, with 95% intervals; kappa is the quadratic one"
    " of ordered classes. TF-IDF and majority are the macro F1 of the two baselines on the same texts."
    " Rows of a data set are comparable under one letter: the same test texts."
)
_METRICS = ("accuracy", "macro F1", "quadratic kappa")


def rows(runs: Sequence[ClassifiedRun]) -> list[tuple[str, ...]]:
    """Return the rows of the table as the reader sees them, in hundredths, data set by data set."""
    ordered = sorted(runs, key=lambda run: (run.data, run.model, run.adapter, str(run.folder)))
    letters: dict[str, list[str]] = {}  # of a data set its tests, in order
    told = []
    for run in ordered:
        tests = letters.setdefault(run.data, [])
        if run.test not in tests:
            tests.append(run.test)
        at = tests.index(run.test)
        letter = chr(ord("A") + at) if at < 26 else run.test  # noqa: PLR2004
        scores = (_cell(*run.values[name]) if name in run.values else "" for name in _METRICS)
        blind = (
            tables.percent(run.baselines.get(name, {}).get("macro F1")) for name in ("TF-IDF", "majority")
        )
        told.append((run.data, run.model, run.adapter, f"{run.n:,}", *scores, *blind, letter))
    return told


def terminal(runs: Sequence[ClassifiedRun]) -> str:
    """Return the table with its columns in line."""
    return tables.in_line([HEADER, *rows(runs)], left=(0, 1, 2, 9))


def as_markdown(runs: Sequence[ClassifiedRun]) -> str:
    """Return the table in Markdown, under its title."""
    body = [[markdown.escaped(cell) for cell in row] for row in rows(runs)]
    return f"\n## {TITLE}\n\n{markdown.table(HEADER, body, numeric=NUMERIC)}\n{NOTE}\n"


def as_csv(runs: Sequence[ClassifiedRun]) -> str:
    """Return a line for each system and metric of each run, in fractions and at full precision."""
    lines: list[tuple[object, ...]] = []
    for run in sorted(runs, key=lambda run: (run.data, run.model, run.adapter, str(run.folder))):
        named = (run.data, run.model, run.adapter)
        lines += [
            (*named, "classifier", name, run.n, *values, run.test) for name, values in run.values.items()
        ]
        for system, scores in run.baselines.items():
            lines += [(*named, system, name, run.n, v, "", "", run.test) for name, v in scores.items()]
    header = ("data_set", "model", "adapter", "system", "metric", "n", "value", "low", "high", "test")
    return files.csv_text(header, lines)


def _cell(value: float, low: float, high: float) -> str:
    said = "" if math.isnan(low) else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * value:.1f}{said}"
