"""How far varieties of Arabic lie from the standard language, as a headline, a table and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from arabic_llm import files
from arabic_llm.analysis.varieties import GapChange, Gap
from arabic_llm.reports.markdown import escaped, right_to_left, table
from arabic_llm.reports.spoken import marked, say, term
from arabic_llm.reports.tables import in_line, percent, points

_HEADER = marked("variety", "against", "n", "score", "its score", "gap (95% interval)", "verdict")
CHANGES = marked("variety", "n", "base", "gap, base", "tuned", "gap, tuned", "change of the gap", "verdict")
_CHANGES_CSV_HEADER = (
    *(
        "entry",
        "variety",
        "against",
        "n",
        "base",
        "base_gap",
        "base_low",
        "base_high",
        "tuned",
        "tuned_gap",
    ),
    *("tuned_low", "tuned_high", "change", "low", "high", "holm_p", "verdict"),
)
_CSV_HEADER = (
    *("entry", "variety", "against", "n", "value", "against_value", "difference", "low", "high"),
    *("p", "holm_p", "verdict"),
)


def terminal(gaps: Sequence[Gap]) -> str:
    """Return the gaps to the variety that others are held against, with columns in line; "" without any."""
    rows = [_cells(gap) for gap in gaps if gap.is_headline]
    return in_line([_header(), *rows], left=(0, 1, 5, 6)) if rows else ""


def markdown(gaps: Sequence[Gap]) -> str:
    """Return all gaps in Markdown, those to the named variety first; "" without any."""
    if not gaps:
        return ""
    parts = []
    for (entry, is_headline), own in groupby(gaps, lambda gap: (gap.entry, gap.is_headline)):
        rows = list(own)
        title = _title(entry, rows[0].against) if is_headline else say("Between the others")
        body = [list(map(escaped, _cells(gap))) for gap in rows]
        parts.append(f"\n## {title}\n\n{table(_header(), body)}\n")
    note = say("The same questions in each, paired; verdicts are corrected (Holm).")
    return right_to_left("".join(parts) + f"\n{note}\n")


def comma_separated(gaps: Sequence[Gap]) -> str:
    """Return all gaps in CSV, in fractions and at full precision."""
    rows = [
        (
            *(gap.entry, gap.variety, gap.against, gap.n, gap.value, gap.against_value, gap.difference),
            *(gap.low, gap.high, gap.p, gap.holm_p, gap.verdict),
        )
        for gap in gaps
    ]
    return files.csv_text(_CSV_HEADER, rows)


def sections(changes: Sequence[GapChange]) -> Iterator[dict[str, Any]]:
    """Yield what varieties.html.jinja says of each entry: its title and a row a variety."""
    for entry, own in groupby(changes, lambda change: change.base.entry):
        rows = list(own)
        yield {
            "title": _title(entry, rows[0].base.against),
            "against": _scores(rows[0].base.against_value, rows[0].tuned.against_value),
            "name": term(rows[0].base.against),
            "rows": [_changed(change) for change in rows],
        }


def changes_csv(changes: Sequence[GapChange]) -> str:
    """Return what became of each gap in CSV, in fractions and at full precision."""
    rows = [
        (
            *(c.base.entry, c.base.variety, c.base.against, c.base.n, c.base.value, c.base.difference),
            *(c.base.low, c.base.high, c.tuned.value, c.tuned.difference, c.tuned.low, c.tuned.high),
            *(c.difference, c.low, c.high, c.holm_p, c.verdict),
        )
        for c in changes
    ]
    return files.csv_text(_CHANGES_CSV_HEADER, rows)


def _title(entry: str, against: str) -> str:
    return say("{entry}: gap to {variety}", entry=entry, variety=term(against))


def _scores(*shares: float) -> tuple[str, ...]:
    return tuple(map(percent, shares))


def _changed(change: GapChange) -> tuple[str, ...]:
    """Return a row of what became of a gap: both gaps with their verdicts, and the change with its own."""
    cells = [term(change.base.variety), f"{change.base.n:,}"]
    for gap in (change.base, change.tuned):
        told = points(gap.difference, gap.low, gap.high)
        if gap.verdict != "within noise":
            told = say("{gap}, {verdict}", gap=told, verdict=term(gap.verdict))
        cells += [percent(gap.value), told]
    return *cells, points(change.difference, change.low, change.high), term(change.verdict)


def _header() -> tuple[str, ...]:
    return tuple(map(term, _HEADER))


def _cells(gap: Gap) -> tuple[str, ...]:
    scores = percent(gap.value), percent(gap.against_value)
    interval = points(gap.difference, gap.low, gap.high)
    return term(gap.variety), term(gap.against), f"{gap.n:,}", *scores, interval, term(gap.verdict)
