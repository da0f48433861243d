"""The table of classifiers: a row a run, what two baselines score on the same texts beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from arabic_llm import files
from arabic_llm.analysis.classified_runs import ClassifiedRun
from arabic_llm.reports import markdown, tables
from arabic_llm.reports.spoken import marked, say, term

_HEADER = marked(
    *(
        "data set",
        "model",
        "adapter",
        "n",
        "accuracy",
        "macro F1",
        "quadratic kappa",
        "TF-IDF",
        "majority",
        "test",
    )
)
NUMERIC = (3, 4, 5, 6, 7, 8)  # columns
(_NOTE,) = marked(
    "scores are those of task=classify on its own test rows, with 95% intervals; the kappa"
    " is of ordered classes. TF-IDF and majority are the macro F1 of the two baselines on the same texts."
    " Rows of a data set are comparable under one letter: the same test texts."
)
_METRICS = ("accuracy", "macro F1", "quadratic kappa")


def title() -> str:
    """Return what the table is called."""
    return say("Classifications")


def header() -> tuple[str, ...]:
    """Return what its columns are called."""
    return tuple(map(term, _HEADER))


def note() -> str:
    """Return how it is to be read."""
    return term(_NOTE)


def rows(runs: Sequence[ClassifiedRun]) -> list[tuple[str, ...]]:
    """Return the rows of the table as the reader sees them, in hundredths, data set by data set."""
    ordered = sorted(runs, key=lambda run: (run.data, run.model, run.adapter, str(run.folder)))
    letters: dict[str, list[str]] = {}  # of a data set its tests, in order
    told = []
    for run in ordered:
        tests = letters.setdefault(run.data, [])
        if run.test not in tests:
            tests.append(run.test)
        letter = tables.letter(tests.index(run.test), run.test)
        scores = (_cell(*run.values[name]) if name in run.values else "" for name in _METRICS)
        blind = (
            tables.percent(run.baselines.get(name, {}).get("macro F1")) for name in ("TF-IDF", "majority")
        )
        told.append((run.data, run.model, run.adapter, f"{run.n:,}", *scores, *blind, letter))
    return told


def terminal(runs: Sequence[ClassifiedRun]) -> str:
    """Return the table with its columns in line."""
    return tables.in_line([header(), *rows(runs)], left=(0, 1, 2, 9))


def as_markdown(runs: Sequence[ClassifiedRun]) -> str:
    """Return the table in Markdown, under its title."""
    body = [[markdown.escaped(cell) for cell in row] for row in rows(runs)]
    text = f"\n## {title()}\n\n{markdown.table(header(), body, numeric=NUMERIC)}\n{note()}\n"
    return markdown.right_to_left(text)


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
    said = "" if math.isnan(low) else f" ({say('{low:.1f} to {high:.1f}', low=100 * low, high=100 * high)})"
    return f"{100 * value:.1f}{said}"
