"""Figures: SVG text for a page of one file, PNG for a card; matplotlib >= 3.11 shapes Arabic itself."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from arabic_llm.analysis.scores import Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.data.preparing.summary import LENGTH_BINS, SourceSummary
from arabic_llm.reports.markdown import percent

_BASE, _TUNED, _RANDOM = "#8a94a6", "#0f7b6c", "#c9ced8"
INK = "#1f2430"
_PARTS = (  # of a whole: told apart side by side
    *("#4e5b73", "#8b5fbf", "#c2549d", "#e07b39", "#f2b134", "#0f7b6c", "#5ba3d0", "#2f5fb3"),
    *("#b3261e", "#8fb04a", "#bcdca0", "#d3d7df"),
)
_LONGEST_NAME = 34  # characters of a source's name beside its bars
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


def differences(rows: Sequence[Difference]) -> str:
    """Return base and tuned scores as bars with 95% intervals, and the random baseline as a mark."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.62 * len(rows) + 1.1))
        at = np.arange(len(rows))[::-1]
        for shift, color, name in ((0.19, _BASE, "base"), (-0.19, _TUNED, "tuned")):
            scores = [getattr(row, name) for row in rows]
            values = [100 * s.value for s in scores]
            axes.barh(at + shift, values, 0.36, xerr=reach(scores), color=color, label=name, ecolor="#444")
        for position, row in zip(at, rows, strict=True):
            axes.plot(
                [100 * row.base.random] * 2,
                [position - 0.4, position + 0.4],
                color="#b3261e",
                lw=1.4,
            )
        axes.plot([], [], color="#b3261e", lw=1.4, label="random answers")
        axes.set_yticks(at, [row.base.label for row in rows])
        axes.set(xlim=(0, 104), xlabel="score, percent (bars: 95% interval)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.5 / len(rows)), ncols=3, frameon=False)
        return svg(figure)


def radar(values: Mapping[str, tuple[float, float]], title: str) -> str:
    """Return a radar chart of name -> (base, tuned), each a share of 1."""
    names = list(values)
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    closed = np.append(angles, angles[0])
    with mpl.rc_context(STYLE):
        figure = plt.figure(figsize=(5.6, 5.2))
        axes: Any = figure.add_subplot(projection="polar")
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        for index, (name, color) in enumerate((("base", _BASE), ("tuned", _TUNED))):
            line = [100 * values[key][index] for key in names]
            axes.plot(closed, [*line, line[0]], color=color, lw=2, label=name)
            axes.fill(closed, [*line, line[0]], color=color, alpha=0.15)
        axes.set_xticks(angles, names)
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):  # away from the circle
            side = np.sin(angle)
            label.set_horizontalalignment(
                "center" if abs(side) < _UPRIGHT else "left" if side > 0 else "right"
            )
        axes.set(ylim=(0, 100), yticks=(25, 50, 75, 100))
        axes.tick_params(axis="y", labelsize=8, colors="#666")
        axes.set_title(title, pad=34)
        axes.legend(loc="upper right", bbox_to_anchor=(1.2, -0.12), frameon=False)
        return svg(figure)


def stacked(bars: Mapping[str, Sequence[float]], parts: Mapping[str, tuple[int, bool]]) -> str:
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
        axes.set(xlim=(0, 100), xlabel="share of the items, percent; what is left is right")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
        return svg(figure)


def training_curve(lines: Sequence[dict[str, Any]], unit: str = "nats a supervised token") -> str:
    """Return the loss of every step and of the dev set, from metrics.jsonl."""
    steps = [line for line in lines if "loss" in line]
    dev = [line for line in lines if "dev_loss" in line]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 3.2))
        axes.plot(
            [s["step"] for s in steps],
            [s["loss"] for s in steps],
            color=_RANDOM,
            lw=1,
            label="each step",
        )
        smooth = _smooth([s["loss"] for s in steps])
        axes.plot([s["step"] for s in steps], smooth, color=_TUNED, lw=2, label="train, smoothed")
        if dev:
            axes.plot(
                [s["step"] for s in dev],
                [s["dev_loss"] for s in dev],
                "o-",
                color="#b3261e",
                label="dev",
            )
        axes.set(xlabel="optimiser step", ylabel=unit, ylim=(0, None))
        rate = axes.twinx()
        rate.plot(
            [s["step"] for s in steps],
            [s["learning_rate"] for s in steps],
            color="#888",
            lw=1,
            ls=":",
        )
        rate.set_ylabel("learning rate (dotted)")
        axes.legend(frameon=False)
        return svg(figure)


def length_histogram(sources: Sequence[SourceSummary]) -> bytes:
    """Return a panel a source: the share of its rows by tokens. Each is as high as its own highest bar."""
    filled = [i for i, rows in enumerate(np.sum([s.counts.lengths for s in sources], axis=0)) if rows]
    first, last = (max(filled[0] - 1, 0), filled[-1] + 1) if filled else (0, len(LENGTH_BINS))
    with mpl.rc_context(STYLE):
        figure, panels = plt.subplots(
            *(len(sources), 1), figsize=(6.4, 0.72 * len(sources) + 0.6), sharex=True, squeeze=False
        )
        for axes, source, name in zip(panels[:, 0], sources, _drawable(sources), strict=True):
            _lengths(axes, source, name)
        marks = [i for i, edge in enumerate(LENGTH_BINS) if not edge & (edge - 1)]  # powers of two
        axes.set_xticks([i + 1 for i in marks], [_short(LENGTH_BINS[i]) for i in marks], fontsize=9)
        axes.set(xlim=(first, last + 1), xlabel="tokens a row")
        return png(figure)


def share_chart(sources: Sequence[SourceSummary]) -> bytes:
    """Return each source's share of the rows and of the tokens; in a mix, above them what was asked."""
    asked = [100 * source.share.asked for source in sources if source.share]
    bars: list[tuple[str, list[float], dict[str, Any]]] = [
        ("rows", _shares(sources, of_tokens=False), {"color": _TUNED}),
        ("tokens", _shares(sources, of_tokens=True), {"color": _RANDOM}),
    ]
    if len(asked) == len(sources):
        bars.insert(0, ("rows, as asked", asked, {"color": "white", "edgecolor": INK}))
    at, height = np.arange(len(sources)), 0.8 / len(bars)
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 0.23 * len(bars) * len(sources) + 0.9))
        for index, (label, values, look) in enumerate(bars):
            below = at + (index - (len(bars) - 1) / 2) * height
            drawn = axes.barh(below, values, 0.9 * height, label=label, **look)
            axes.bar_label(drawn, [percent(v / 100) for v in values], padding=4, fontsize=8, color=INK)
        axes.set_yticks(at, _drawable(sources), parse_math=False)
        axes.tick_params(axis="y", length=0)
        highest = max([1.0, *(value for _, values, _ in bars for value in values)])
        axes.set(xlim=(0, 1.12 * highest), ylim=(len(sources) - 0.45, -0.55), xlabel="share, percent")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
        return png(figure)


def _lengths(axes: Axes, source: SourceSummary, name: str) -> None:
    """Draw one panel: bar i stands between the edges i and i + 1, whatever its tokens."""
    shares = 100 * np.array(source.counts.lengths) / max(source.counts.num_rows, 1)
    axes.bar(np.arange(len(shares)) + 0.5, shares, 0.94, color=_TUNED)
    top = int(np.argmax(shares))
    if shares[top]:
        above: Any = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": INK}
        axes.annotate(percent(shares[top] / 100), (top + 0.5, shares[top]), (0, 2), **above)
    axes.set(yticks=[], ylim=(0, 1.3 * max(shares[top], 1e-9)))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e3e6ec", lw=0.7)
    axes.set_axisbelow(True)
    beside: Any = {"transform": axes.transAxes, "va": "center", "parse_math": False}
    axes.text(-0.02, 0.3, name, ha="right", **beside)
    told = f"{source.counts.num_rows:,} rows"
    if source.counts.num_rows:
        told += f"\nmean {source.counts.tokens / source.counts.num_rows:,.0f}"
    axes.text(1.02, 0.3, told, ha="left", fontsize=8.5, color="#555", **beside)


def _shares(sources: Sequence[SourceSummary], *, of_tokens: bool) -> list[float]:
    """Return the percent of each source: as achieved in the mix, or else as counted."""
    counted = [s.counts.tokens if of_tokens else s.counts.num_rows for s in sources]
    whole = max(sum(counted), 1)
    shares = [part / whole for part in counted]
    for i, source in enumerate(sources):
        if source.share:
            shares[i] = source.share.achieved_tokens if of_tokens else source.share.achieved
    return [100 * share for share in shares]


def _drawable(sources: Sequence[SourceSummary]) -> list[str]:
    """Return the names, cut in their middle where long; one the font cannot write is "source <number>"."""
    font = font_manager.get_font(font_manager.findfont(STYLE["font.family"][0]))
    names = []
    for number, source in enumerate(sources, 1):
        name, half = " ".join(source.name.split()), _LONGEST_NAME // 2
        if not all(font.get_char_index(ord(letter)) for letter in name):
            name = f"source {number}"
        names.append(name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}")
    return names


def _short(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens > 9999 else str(tokens)  # noqa: PLR2004 (five digits touch)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return the running mean over a twentieth of the run."""
    width = max(1, len(values) // 20)
    return [float(np.mean(values[max(0, i - width + 1) : i + 1])) for i in range(len(values))]


def svg(figure: Figure) -> str:
    """Return the figure as SVG without a date: the same input is the same bytes."""
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """Return the figure without the version of its maker: the same input is the same bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()
