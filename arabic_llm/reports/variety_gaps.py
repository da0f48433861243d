"""How far varieties of Arabic lie from the standard language, as a headline, a table and CSV."""

from __future__ import annotations

from collections.abc import Sequence

from arabic_llm import files
from arabic_llm.analysis.varieties import Gap
from arabic_llm.reports.markdown import escaped, right_to_left, table
from arabic_llm.reports.spoken import marked, say, term
from arabic_llm.reports.tables import in_line, percent, points

_HEADER = marked("variety", "against", "n", "score", "its score", "gap (95% interval)", "verdict")
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
    titles = {True: say("Gap to {variety}", variety=gaps[0].against), False: say("Between the others")}
    parts = []
    for is_headline, title in titles.items():
        if own := [gap for gap in gaps if gap.is_headline is is_headline]:
            body = [list(map(escaped, _cells(gap))) for gap in own]
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


def _header() -> tuple[str, ...]:
    return tuple(map(term, _HEADER))


def _cells(gap: Gap) -> tuple[str, ...]:
    scores = percent(gap.value), percent(gap.against_value)
    interval = points(gap.difference, gap.low, gap.high)
    return gap.variety, gap.against, f"{gap.n:,}", *scores, interval, term(gap.verdict)
