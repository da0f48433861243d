"""What typing costs a model: drops by perturbation and rate as tables, heat maps and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup, escape

from arabic_llm.evaluation.perturbed import Condition, Drop
from arabic_llm.evaluation.scores import Evaluation, Item
from arabic_llm.reports import figures, page, tables
from arabic_llm.reports.markdown import table

HEADER = (
    *("task", "perturbation", "rate", "items changed", "tokens", "clean", "perturbed"),
    *("drop (95% interval)", "over changed items", "verdict"),
)
_CSV_HEADER = (
    *("task", "metric", "perturbation", "rate", "seed", "n", "num_changed", "token_ratio", "clean"),
    *("perturbed", "drop", "low", "high", "changed_drop", "changed_low", "changed_high", "sign_p"),
    *("holm_p", "verdict", "random", "constant", "task_version", "seen_in_training"),
)
NUM_ANSWERS = 10
_WIDEST = 10.0  # points: no smaller range of colours, or noise would look like a catastrophe

Answers = Sequence[tuple[Condition, Sequence[tuple[Item, Item]]]]  # of each condition those that changed


@dataclass(frozen=True)
class Report:
    """Everything the page says."""

    clean: Evaluation
    drops: Sequence[Drop]
    answers: Answers
    left_out: Sequence[str]
    manifest: dict[str, Any]
    hardware: str


def firsts(drops: Sequence[Drop]) -> list[Drop]:
    """Return the drops of each task in its first metric."""
    metrics: dict[str, str] = {}
    for drop in drops:
        metrics.setdefault(drop.difference.base.name, drop.difference.base.metric)
    return [drop for drop in drops if metrics[drop.difference.base.name] == drop.difference.base.metric]


def cells(drop: Drop) -> tuple[str, ...]:
    """Return a drop as the reader sees it: percent, and points of percent; more than 0 is worse."""
    row, condition = drop.difference, drop.condition
    return (
        *(
            row.base.label,
            condition.perturbation,
            f"{condition.rate:g}",
            f"{100 * drop.changed_share:.0f}%",
        ),
        *(f"{drop.token_ratio:.2f}x", f"{100 * row.base.value:.1f}", f"{100 * row.tuned.value:.1f}"),
        _points(*drop.drop),
        _points(drop.changed_drop, drop.changed_low, drop.changed_high) if drop.num_changed else "",
        row.verdict,
    )


def terminal(drops: Sequence[Drop]) -> str:
    """Return a line for each task and perturbation, the drop at each rate beside it; * is beyond noise."""
    rates = sorted({drop.condition.rate for drop in drops})
    lines: dict[tuple[str, str], dict[float, Drop]] = {}
    for drop in firsts(drops):
        lines.setdefault((drop.difference.base.label, drop.condition.perturbation), {})[
            drop.condition.rate
        ] = drop
    header = ("task", "perturbation", "changed", "tokens", *(f"drop at {rate:g}" for rate in rates))
    return tables.in_line(
        [
            header,
            *(
                (*name, *cells(by_rate[rates[-1]])[3:5], *(_mark(by_rate[rate]) for rate in rates))
                for name, by_rate in lines.items()
            ),
        ],
        left=(0, 1),
    )


def markdown(drops: Sequence[Drop]) -> str:
    """Return the drops in each task's first metric in Markdown."""
    return table(HEADER, [cells(drop) for drop in firsts(drops)], numeric=(2, 3, 4, 5, 6))


def comma_separated(drops: Sequence[Drop]) -> str:
    """Return every drop in CSV, in fractions and at full precision."""
    return tables.csv_text(
        _CSV_HEADER,
        [
            (
                *(row.base.name, row.base.metric, condition.perturbation, condition.rate, condition.seed),
                *(row.base.n, drop.num_changed, drop.token_ratio, row.base.value, row.tuned.value),
                *(*drop.drop, drop.changed_drop, drop.changed_low, drop.changed_high),
                *(row.sign_p, row.holm_p, row.verdict, row.base.random, row.base.constant),
                *(row.base.version, row.base.seen_in_training),
            )
            for drop in drops
            for row, condition in [(drop.difference, drop.condition)]
        ],
    )


def page_of(report: Report) -> str:
    """Return the report as HTML."""
    shown = firsts(report.drops)
    return page.render(
        "robustness.html.jinja",
        report=report,
        title=f"{report.clean.model['name']} on {', '.join(report.clean.judged['tasks'])}, as people type",
        header=HEADER,
        rows=[cells(drop) for drop in shown],
        charts=[Markup(svg) for svg in heat_maps(shown)],  # noqa: S704 (our own SVG)
        answers=[
            (condition, before, after, *_marked(before.question, after.question))
            for condition, before, after in spread(report.answers)
        ],
    )


def heat_maps(drops: Sequence[Drop]) -> list[str]:
    """Return drops by rate (mean over tasks), and of several tasks those of each at the highest rate."""
    top = max(drop.condition.rate for drop in drops)
    at_top = [drop for drop in drops if drop.condition.rate == top]
    maps = [
        heat_map(drops, lambda drop: f"rate {drop.condition.rate:g}", "drop in points, mean over tasks")
    ]
    if len({drop.difference.base.name for drop in drops}) > 1:
        maps.append(
            heat_map(at_top, lambda drop: drop.difference.base.label, f"drop in points at rate {top:g}")
        )
    return maps


def heat_map(drops: Sequence[Drop], column: Callable[[Drop], str], title: str) -> str:
    """Return perturbation by column as SVG: red lost points, * where it is beyond noise."""
    rows = list(dict.fromkeys(drop.condition.perturbation for drop in drops))
    columns = list(dict.fromkeys(map(column, drops)))
    found: dict[tuple[int, int], list[Drop]] = {}
    for drop in drops:
        found.setdefault((rows.index(drop.condition.perturbation), columns.index(column(drop))), []).append(
            drop
        )
    values = np.full((len(rows), len(columns)), np.nan)
    for place, several in found.items():
        values[place] = 100 * np.mean([drop.drop[0] for drop in several])
    widest = max(_WIDEST, float(np.nanmax(np.abs(values))))
    with mpl.rc_context(figures.STYLE):
        figure, axes = plt.subplots(figsize=(2.6 + 1.25 * len(columns), 1.2 + 0.34 * len(rows)))
        image = axes.imshow(values, cmap="RdBu_r", vmin=-widest, vmax=widest, aspect="auto")
        for (row, at), several in found.items():
            sign = "*" if len(several) == 1 and several[0].difference.verdict != "within noise" else ""
            is_dark = abs(values[row, at]) > 0.6 * widest
            ink = "white" if is_dark else "black"
            axes.text(at, row, f"{values[row, at]:+.1f}{sign}", ha="center", va="center", color=ink)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=11, loc="left")
        figure.colorbar(image, ax=axes, shrink=0.8)
        return figures.svg(figure)


def spread(answers: Answers) -> list[tuple[Condition, Item, Item]]:
    """Return ten changed answers of ten perturbations, or of all, at the lowest rates that have one."""
    ranks: dict[str, list[tuple[Condition, Item, Item]]] = {}
    for condition, pairs in answers:
        ranks.setdefault(condition.perturbation, []).extend((condition, *pair) for pair in pairs)
    ordered = [
        own[rank]
        for rank in range(max(map(len, ranks.values()), default=0))
        for own in ranks.values()
        if rank < len(own)
    ]
    num_first = sum(bool(own) for own in ranks.values())
    if num_first > NUM_ANSWERS:
        return [ordered[place * num_first // NUM_ANSWERS] for place in range(NUM_ANSWERS)]
    return ordered[:NUM_ANSWERS]


def _marked(clean: str, perturbed: str) -> tuple[Markup, Markup]:
    """Return both questions as HTML, the words that differ marked."""
    before, after = clean.split(), perturbed.split()
    sides: tuple[list[Markup], list[Markup]] = ([], [])
    for kind, *spans in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for side, words, (low, high) in zip(sides, (before, after), (spans[:2], spans[2:]), strict=True):
            if low < high:
                text = escape(" ".join(words[low:high]))
                side.append(text if kind == "equal" else Markup("<mark>{}</mark>").format(text))
    return Markup(" ").join(sides[0]), Markup(" ").join(sides[1])


def _points(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _mark(drop: Drop) -> str:
    sign = "" if drop.difference.verdict == "within noise" else "*"
    return f"{100 * drop.drop[0]:+.1f}{sign or ' '}"
