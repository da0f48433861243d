"""What a classifier is worth, as tables, a confusion matrix and a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from arabic_llm import files
from arabic_llm.analysis.classification import Array, Gain, Measure, class_scores
from arabic_llm.reports import figures, memory_section, tables
from arabic_llm.reports.html import render
from arabic_llm.reports.markdown import escaped, percent, right_to_left, table
from arabic_llm.reports.spoken import count, marked, say, term

_NUM_EXAMPLES = 10
_FEW = 30  # texts: one more right answer is a difference of 3 points and more
_DARK = 0.55  # share of a row from which its figure is written in white
CLASS_HEADER = marked("class", "train", "test", "precision", "recall", "F1")
_CSV_HEADER = (
    *("system", "metric", "n", "value", "low", "high"),
    *("gain_over_it", "gain_low", "gain_high", "p", "holm_p", "verdict"),
)


@dataclass(frozen=True)
class Classified:
    """Everything the report of a classifier says; the first system is the classifier itself.

    `counts` holds split -> label -> rows, `confusion` [C, C] the test's labels by the classifier's
    answers, `items` a dictionary for each test text, as items.jsonl has it.
    """

    title: str
    labels: Sequence[str]
    counts: dict[str, dict[str, int]]
    measures: Sequence[Measure]
    gains: Sequence[Gain]
    confusion: Array
    items: Sequence[dict[str, Any]]
    notes: Sequence[str] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    hardware: str = ""
    outcome: dict[str, Any] = field(default_factory=dict)
    metrics: Sequence[dict[str, Any]] = ()  # lines of metrics.jsonl
    memory: dict[str, Any] = field(default_factory=dict)  # of a training step

    @property
    def header(self) -> tuple[str, ...]:
        """Return the names of the columns of `rows`."""
        metrics = dict.fromkeys(
            say("{metric} (95% interval)", metric=term(m.metric)) for m in self.measures
        )
        return (say("system"), *metrics)

    def result(self) -> str:
        """Return what the classifier is worth in one sentence: its macro F1, held against the baselines."""
        own = next(m for m in self.measures if m.metric == "macro F1")
        verdicts = marked(
            "better than {name}", "worse than {name}", "not to be told from {name} by these texts"
        )
        told = dict(zip(("better", "worse", "within noise"), verdicts, strict=True))
        gains = [gain for gain in self.gains if gain.metric == own.metric]
        against = [say(told[gain.verdict], name=term(gain.against)) for gain in gains]
        return say(
            "Macro F1 {value:.1f}: {against}.", value=100 * own.value, against=say(", ").join(against)
        )

    def cautions(self) -> Iterator[str]:
        """Yield why nothing can be concluded from such a test, if that is so."""
        if len(self.items) < _FEW:
            yield count(
                len(self.items),
                "only {n} test texts: of fewer than {few} nothing can be concluded",
                "only {n} test texts: of fewer than {few} nothing can be concluded",
                few=_FEW,
            )
        if len(there := [label for label, number in self.counts["test"].items() if number]) == 1:
            yield say(
                "every test text is {label}: how classes are told apart is not tested", label=there[0]
            )

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row a system: its scores in hundredths."""
        for system in dict.fromkeys(m.system for m in self.measures):
            own = [m for m in self.measures if m.system == system]
            yield (term(system), *(_cell(m.value, m.low, m.high) for m in own))

    @property
    def gains_header(self) -> tuple[str, ...]:
        """Return the names of the columns of `gain_rows`."""
        names = marked("against", "difference (95% interval)", "p (Holm)", "verdict")
        return tuple(map(term, (self.measures[0].system, *names)))

    def gain_rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row a difference, in hundredths."""
        for gain in self.gains:
            difference = tables.points(gain.difference, gain.low, gain.high, _note(gain.low))
            yield (
                term(gain.metric),
                term(gain.against),
                difference,
                f"{gain.holm_p:.2g}",
                term(gain.verdict),
            )

    def class_rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row a class: how many rows there are, how well it is told from the others."""
        train, test = (sum(self.counts[split].values()) for split in ("train", "test"))
        for label, *scores in zip(self.labels, *class_scores(self.confusion), strict=True):
            there = ((self.counts["train"][label], train), (self.counts["test"][label], test))
            shares = (f"{count:,} ({percent(count / whole)})" for count, whole in there)
            yield (label, *shares, *(say("none") if np.isnan(s) else f"{100 * s:.1f}" for s in scores))

    def mistakes(self) -> list[dict[str, Any]]:
        """Return ten texts that the classifier mistook, spread over the test."""
        wrong = [item for item in self.items if item["answer"] != item["label"]]
        return wrong[:: max(1, len(wrong) // _NUM_EXAMPLES)][:_NUM_EXAMPLES]


def terminal(report: Classified) -> str:
    """Return the scores and differences with their columns in line."""
    scores = tables.in_line([report.header, *report.rows()], left=(0,))
    gains = tables.in_line([report.gains_header, *report.gain_rows()], left=(0, 1, 2, 4))
    return "\n".join([f"{scores}\n\n{gains}", *(f"\n{line}" for line in report.cautions())])


def markdown(report: Classified) -> str:
    """Return scores, differences and classes in Markdown."""
    parts = (
        table([*map(escaped, report.header)], _escaped(report.rows())),
        table([*map(escaped, report.gains_header)], _escaped(report.gain_rows())),
        table(
            [*map(term, CLASS_HEADER)], _escaped(report.class_rows()), numeric=range(1, len(CLASS_HEADER))
        ),
    )
    return right_to_left("\n".join([*(f"{escaped(line)}.\n" for line in report.cautions()), *parts]))


def _escaped(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[escaped(cell) for cell in row] for row in rows]


def comma_separated(report: Classified) -> str:
    """Return each system's scores in CSV, in fractions, with what the classifier gains over it."""
    gains = {(gain.against, gain.metric): gain for gain in report.gains}
    rows = []
    for m in report.measures:
        row: list[Any] = [m.system, m.metric, len(report.items), m.value, m.low, m.high]
        if gain := gains.get((m.system, m.metric)):
            row += [gain.difference, gain.low, gain.high, gain.p, gain.holm_p, gain.verdict]
        rows.append(row + [""] * (len(_CSV_HEADER) - len(row)))
    return files.csv_text(_CSV_HEADER, rows)


def confusion_png(report: Classified) -> bytes:
    """Return the confusion matrix as PNG."""
    with mpl.rc_context(figures.STYLE):
        return figures.png(_confusion(report))


def html(report: Classified) -> str:
    """Return the report as HTML."""
    with mpl.rc_context(figures.STYLE):
        charts = {"confusion": figures.chart("confusion", _confusion(report))}
    charts["curve"] = figures.training_curve(report.metrics, "nats a text")
    return render(
        "classify.html.jinja",
        report=report,
        class_header=[*map(term, CLASS_HEADER)],
        memory=memory_section.section(report.memory),
        charts=charts,
    )


def _confusion(report: Classified) -> Figure:
    """Draw how many texts of each class (a row) got each answer, coloured by their share of the row."""
    counts, names = report.confusion, list(report.labels)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 0.62 * len(names) + 2
    figure, axes = plt.subplots(figsize=(side, side - 0.4))
    axes.imshow(shares, cmap="BuGn", vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(counts):
        color = "white" if shares[row, column] > _DARK else figures.INK if number else "#b8bec9"
        axes.text(column, row, f"{number:,.0f}", ha="center", va="center", fontsize=8.5, color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel=say("answer"), ylabel=say("label"), title=say("texts by label and answer"))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _cell(value: float, low: float, high: float) -> str:
    interval = say("{low:.1f} to {high:.1f}", low=100 * low, high=100 * high)
    return f"{100 * value:.1f} ({_note(low) or interval})"


def _note(low: float) -> str:
    return say("no resample varies: the bootstrap cannot tell") if np.isnan(low) else ""
