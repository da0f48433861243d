"""The section of a report on what was forgotten: by language and by skill, in scores and in loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from arabic_llm import files
from arabic_llm.analysis.forgetting import Forgetting
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports import figures, held_out_loss, tables
from arabic_llm.reports.held_out_loss import Course
from arabic_llm.reports.spoken import isolated, say, term

_COLORS = {"better": "#0f7b6c", "worse": "#b3261e", "within noise": "#8a94a6"}
_FEWEST_AXES = 4  # of a radar chart
_CSV_HEADER = (
    *("kind", "name", "n", "base", "tuned", "difference", "low", "high", "holm_p", "verdict"),
    "seen_in_training",
)


def section(found: Forgetting, followed: Sequence[Course]) -> dict[str, Any]:
    """Return what forgetting.html.jinja says: tables as cells, figures as SVG."""
    rows = [(kind, row) for kind, own in found.by_trait.items() for row in own]
    with figures.drawing():
        bars = figures.chart("means", draw_bars(rows)) if rows else ""
        course = figures.chart("held_out_loss", held_out_loss.draw(followed)) if followed else ""
    radars = {
        kind: figures.radar(
            {_label(kind, r): (r.base.value, r.tuned.value) for r in own},
            term(f"by {kind}"),
            f"by_{kind}",
        )
        for kind, own in found.by_trait.items()
        if len(own) >= _FEWEST_AXES
    }
    return {
        "means": [_cells(kind, row) for kind, row in rows],
        "bars": bars,
        "radars": list(radars.values()),
        "worse": [(*_cells(kind, row), *_described(found, row)) for kind, row in found.worse()],
        "num_compared": len(found.tasks) + len(rows),
        "losses": [_loss_cells(course) for course in followed],
        "how_much": held_out_loss.how_much(followed),
        "drift": course,
    }


def draw_bars(rows: Sequence[tuple[str, Difference]]) -> Figure:
    """Return the difference of each mean as a bar with its paired 95% interval, in points."""
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(rows) + 1.0))
    at = np.arange(len(rows))[::-1]
    values = [100 * row.difference for _, row in rows]
    sides = np.array([(row.difference - row.low, row.high - row.difference) for _, row in rows])
    reach = 100 * np.maximum(sides.T, 0)  # an interval of no width may miss its middle by a rounding
    colors = [_COLORS[row.verdict] for _, row in rows]
    axes.barh(at, values, 0.6, xerr=reach, color=colors, ecolor="#444")
    axes.axvline(0, color="#1f2430", lw=1)
    axes.set_yticks(at, [f"{term(kind)}: {isolated(_label(kind, row))}" for kind, row in rows])
    axes.set(xlabel=say("tuned − base, points (95% interval; green better, red worse, grey within noise)"))
    return figure


def comma_separated(found: Forgetting, followed: Sequence[Course]) -> str:
    """Return the means in fractions and the losses, in nats a token and bits a byte (a fall is better)."""
    rows = [
        (
            *(kind, row.base.name, row.base.n, row.base.value, row.tuned.value, row.difference),
            *(row.low, row.high, row.holm_p, row.verdict, row.base.seen_in_training),
        )
        for kind, own in found.by_trait.items()
        for row in own
    ]
    losses = [
        (
            *("held-out loss", course.language, "", course.first.loss, course.last.loss, course.last.rise),
            *(*course.last.interval, course.holm_p, course.verdict, ""),
        )
        for course in followed
    ]
    return files.csv_text(_CSV_HEADER, [*rows, *losses, *map(_in_bits, followed)])


def _in_bits(course: Course) -> tuple[object, ...]:
    """Return the loss a byte: of the same texts, so that the interval and verdict of the other hold."""
    first, last = course.first.bits_per_byte, course.last.bits_per_byte
    return ("held-out bits a byte", course.language, "", first, last, last - first, *[""] * 5)


def _cells(kind: str, row: Difference) -> tuple[str, ...]:
    _, *rest = tables.cells(row)
    return term(kind), _label(kind, row), *rest


def _label(kind: str, row: Difference) -> str:
    if kind != "language":
        label = tables.label(row.base)
        return term(label) if kind == "skill" else label
    name = held_out_loss.name_of(row.base.name)
    return say("{name} (seen in training)", name=name) if row.base.seen_in_training else name


def _described(found: Forgetting, row: Difference) -> tuple[str, str]:
    """Return the language and the skill of a task of the suite; of a part or a mean nothing."""
    own = found.traits.get(row.base.name, {})
    return held_out_loss.name_of(own.get("language") or ""), term(own.get("skill") or "")


def _loss_cells(course: Course) -> tuple[str, ...]:
    first, last = course.first, course.last
    low, high = last.interval
    return (
        *(held_out_loss.name_of(course.language), f"{first.loss:.3f}", f"{last.loss:.3f}"),
        say("{rise:+.3f} ({low:+.3f} to {high:+.3f})", rise=last.rise, low=low, high=high),
        *(f"{first.bits_per_byte:.3f}", f"{last.bits_per_byte:.3f}", term(course.verdict)),
    )
