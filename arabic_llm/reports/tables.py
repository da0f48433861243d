"""A comparison as a table: for the terminal, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from arabic_llm.evaluation.statistics import Difference
from arabic_llm.reports.markdown import table

HEADER = ("task", "n", "base", "tuned", "difference (95% interval)", "verdict")
_CSV_HEADER = (
    *("task", "metric", "n", "base", "base_stderr", "tuned", "tuned_stderr", "difference"),
    *("low", "high", "mcnemar_p", "verdict", "random", "constant", "task_version"),
)


def cells(row: Difference) -> tuple[str, ...]:
    """Return a row as the reader sees it: percent, and points of percent."""
    interval = f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
    base, tuned = f"{100 * row.base.value:.1f}", f"{100 * row.tuned.value:.1f}"
    return row.base.label, f"{row.base.n:,}", base, tuned, interval, row.verdict


def baseline_cells(row: Difference) -> tuple[str, str, str]:
    """Return what random answers and one constant answer score, and McNemar's p."""
    p = "" if row.mcnemar_p is None else f"{row.mcnemar_p:.2g}"
    constant = "" if row.base.constant is None else f"{100 * row.base.constant:.1f}"
    return f"{100 * row.base.random:.1f}", constant, p


def terminal(rows: Sequence[Difference]) -> str:
    """Return the table with its columns in line."""
    table = [HEADER, *map(cells, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in (0, 4, 5) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def markdown(rows: Sequence[Difference]) -> str:
    """Return the table in Markdown, with the baselines beside the scores."""
    header = (*HEADER, "random", "constant", "McNemar p")
    return table(header, ((*cells(row), *baseline_cells(row)) for row in rows))


def comma_separated(rows: Sequence[Difference]) -> str:
    """Return the table in CSV, in fractions and at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    for row in rows:
        base, tuned = row.base, row.tuned
        writer.writerow(
            [
                *(
                    base.name,
                    base.metric,
                    base.n,
                    base.value,
                    base.stderr,
                    tuned.value,
                    tuned.stderr,
                ),
                *(row.difference, row.low, row.high, row.mcnemar_p, row.verdict),
                *(base.random, base.constant, base.version),
            ]
        )
    return out.getvalue()
