"""Figures: SVG for a page of one file, its numbers beside it, or PNG; matplotlib shapes Arabic itself."""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from arabic_llm import files
from arabic_llm.analysis.scores import Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports import figure_numbers, html, tables
from arabic_llm.reports.spoken import plain, say, term

_BASE, TUNED, RANDOM = "#8a94a6", "#0f7b6c", "#c9ced8"
INK = "#1f2430"
_PARTS = (  # of a whole: told apart side by side
    *("#4e5b73", "#8b5fbf", "#c2549d", "#e07b39", "#f2b134", "#0f7b6c", "#5ba3d0", "#2f5fb3"),
    *("#b3261e", "#8fb04a", "#bcdca0", "#d3d7df"),
)
_RADAR = (4.6, 3.6)  # inches
_WIDEST_AXIS = 14  # letters of a line of its name
_MOST_LINES = 3
_FEW = 8  # axes, whose names may be larger
_UPRIGHT = 0.1  # sine of the angle below which a label of a radar stands above or below it
STYLE: Any = {
    "font.family": ["DejaVu Sans"],  # covers Arabic
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name with two dollars is a name
    "svg.fonttype": "path",  # letters as drawn here, whatever fonts the reader has
    "svg.hashsalt": "arabic-llm",  # the same figure is the same bytes
}


def drawing() -> AbstractContextManager[None]:
    """Draw inside it what other modules draw, and it looks like what is drawn here."""
    return mpl.rc_context(STYLE)


def reach(scores: Sequence[Score]) -> NDArray[np.float64]:
    """Return how far each score's interval reaches below it and above it (2, scores), in points.

    The interval is that of the tables. A rounding that leaves the score outside is none.
    """
    ends = [(s.value if s.low is None else s.low, s.value if s.high is None else s.high) for s in scores]
    sides = np.array([(s.value - low, high - s.value) for s, (low, high) in zip(scores, ends, strict=True)])
    points: NDArray[np.float64] = 100 * np.maximum(sides.T, 0)
    return points


def differences(rows: Sequence[Difference]) -> Markup:
    """Return base and tuned scores as bars with 95% intervals, and the random baseline as a mark."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.62 * len(rows) + 1.1))
        at = np.arange(len(rows))[::-1]
        sides = ((0.19, _BASE, say("base")), (-0.19, TUNED, say("tuned")))
        for (shift, color, name), scores in zip(
            sides, ([row.base for row in rows], [row.tuned for row in rows]), strict=True
        ):
            values = [100 * s.value for s in scores]
            axes.barh(at + shift, values, 0.36, xerr=reach(scores), color=color, label=name, ecolor="#444")
        for position, row in zip(at, rows, strict=True):
            axes.plot(
                [100 * row.base.random] * 2,
                [position - 0.4, position + 0.4],
                color="#b3261e",
                lw=1.4,
            )
        axes.plot([], [], color="#b3261e", lw=1.4, label=say("random answers"))
        axes.set_yticks(at, [tables.label(row.base) for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set(xlim=(0, 104), xlabel=say("score, percent (bars: 95% interval)"))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.5 / len(rows)), ncols=3, frameon=False)
        return chart("scores", figure, tables.comma_separated(rows))


def radar(values: Mapping[str, tuple[float, float]], title: str, name: str) -> Markup:
    """Return a radar chart of name -> (base, tuned), each a share of 1; all are of one size."""
    names = list(values)
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    closed = np.append(angles, angles[0])
    with mpl.rc_context(STYLE):
        figure = plt.figure(figsize=_RADAR)
        axes: Any = figure.add_axes((0.28, 0.16, 0.44, 0.64), projection="polar")
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        for index, (side, color) in enumerate(((say("base"), _BASE), (say("tuned"), TUNED))):
            line = [100 * values[key][index] for key in names]
            axes.plot(closed, [*line, line[0]], color=color, lw=2, label=side)
            axes.fill(closed, [*line, line[0]], color=color, alpha=0.15)
        axes.set_xticks(angles, list(map(_in_lines, names)), fontsize=9 if len(names) <= _FEW else 8)
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):  # away from the circle
            beside = np.sin(angle)
            label.set_horizontalalignment(
                "center" if abs(beside) < _UPRIGHT else "left" if beside > 0 else "right"
            )
        axes.set(ylim=(0, 100), yticks=(25, 50, 75, 100))
        axes.tick_params(axis="y", labelsize=8, colors="#666")
        axes.set_title(title, pad=24, fontsize=11)
        figure.legend(loc="lower center", ncols=2, frameon=False)
        return chart(name, figure, _numbers(values, title), is_cropped=False)


def _numbers(values: Mapping[str, tuple[float, float]], title: str) -> str:
    """Return the numbers of a radar as CSV, each by its whole name."""
    rows = [
        (plain(title), plain(side), plain(name), f"{100 * shares[index]:.10g}", "", "")
        for index, side in enumerate((say("base"), say("tuned")))
        for name, shares in values.items()
    ]
    return files.csv_text(figure_numbers.HEADER, rows)


def _in_lines(name: str) -> str:
    """Return a name in short lines, broken at spaces and behind underscores."""
    spaced = name.replace("_", "_ ")
    lines = textwrap.wrap(spaced, _WIDEST_AXIS, max_lines=_MOST_LINES, placeholder=" ...")
    return "\n".join(lines).replace("_ ", "_")


def stacked(bars: Mapping[str, Sequence[float]], parts: Mapping[str, tuple[int, bool]]) -> Markup:
    """Return a bar for each name, made of its parts in percent of a whole; what is left stays empty.

    `parts` gives each part the number of its color, and whether it is hatched.
    """
    at = np.arange(len(bars))[::-1]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.34 * len(bars) + 1.1))
        start = np.zeros(len(bars))
        for index, (part, (number, is_hatched)) in enumerate(parts.items()):
            sizes = np.array([values[index] for values in bars.values()])
            look: Any = {
                "color": _PARTS[number],
                "hatch": "///" if is_hatched else "",
                "edgecolor": "white",
            }
            axes.barh(at, sizes, 0.8, start, label=part, lw=0.4, **look)
            start += sizes
        axes.set_yticks(at, list(bars), parse_math=False)
        axes.set(xlim=(0, 100), xlabel=say("share of the items, percent; what is left is right"))
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
        return chart("mistakes", figure)


def training_curve(lines: Sequence[dict[str, Any]], unit: str = "nats a supervised token") -> Markup:
    """Return the loss of every step and of the dev set, from metrics.jsonl."""
    steps = [line for line in lines if "loss" in line]
    dev = [line for line in lines if "dev_loss" in line]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 3.2))
        axes.plot(
            [s["step"] for s in steps],
            [s["loss"] for s in steps],
            color=RANDOM,
            lw=1,
            label=say("each step"),
        )
        smooth = _smooth([s["loss"] for s in steps])
        axes.plot([s["step"] for s in steps], smooth, color=TUNED, lw=2, label=say("train, smoothed"))
        if dev:
            axes.plot(
                [s["step"] for s in dev],
                [s["dev_loss"] for s in dev],
                "o-",
                color="#b3261e",
                label=say("dev"),
            )
        axes.set(xlabel=say("optimiser step"), ylabel=term(unit), ylim=(0, None))
        rate = axes.twinx()
        rate.plot(
            [s["step"] for s in steps],
            [s["learning_rate"] for s in steps],
            color="#888",
            lw=1,
            ls=":",
            label="_learning rate",
        )
        rate.set_ylabel(say("learning rate (dotted)"))
        axes.legend(frameon=False)
        return chart("training", figure)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return the running mean over a twentieth of the run."""
    width = max(1, len(values) // 20)
    return [float(np.mean(values[max(0, i - width + 1) : i + 1])) for i in range(len(values))]


def chart(name: str, figure: Figure, numbers: str = "", *, is_cropped: bool = True) -> Markup:
    """Return the figure for a page, with links to take it along as SVG and its numbers as CSV."""
    numbers = numbers or figure_numbers.csv(figure)
    drawn = svg(figure, is_cropped=is_cropped)
    return html.part(
        "figure.html.jinja",
        name=Markup(name),  # noqa: S704 (a word of ours)
        svg=Markup(drawn),  # noqa: S704 (our own SVG)
        svg_link=_link("image/svg+xml", drawn.encode()),
        is_square=not is_cropped,
        csv_link=_link("text/csv", numbers.encode("utf-8-sig")),  # by its mark Excel knows UTF-8
    )


def _link(kind: str, content: bytes) -> Markup:
    return Markup("data:{};base64,{}").format(kind, base64.b64encode(content).decode())


def svg(figure: Figure, *, is_cropped: bool = True) -> str:
    """Return the figure as SVG without a date: the same input is the same bytes."""
    out = io.StringIO()
    crop: Any = "tight" if is_cropped else None
    figure.savefig(out, format="svg", bbox_inches=crop, metadata={"Date": None})
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """Return the figure without the version of its maker: the same input is the same bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()
