"""The charts of a sweep: maps of two factors, effects with intervals, lines by scale, fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from arabic_llm import files
from arabic_llm.analysis.sweep_choice import Cell, Effect
from arabic_llm.analysis.sweep_jobs import Value
from arabic_llm.reports.figures import INK, chart, drawing
from arabic_llm.reports.spoken import marked, say, term

_GOOD, _SOFT, _BAD = "#0f7b6c", "#8a94a6", "#b3261e"
_COLORS = ("#0f7b6c", "#b06a00", "#2f5fb3", "#b3261e", "#7a4fb5", "#5c6675", "#c2549d", "#8fb04a")
_DARK = 0.62  # of a map's colours: from here on its letters are white
_MOST_NAMED = 12  # points of a chart


@dataclass(frozen=True)
class Scale:
    """How a value is drawn: in percent or as it is, and whether less is better."""

    name: str
    is_loss: bool

    def shown(self, value: float) -> float:
        """Return a value as it is drawn."""
        return value if self.is_loss else 100 * value

    def said(self, value: float, sign: str = "") -> str:
        """Return a value as it is written."""
        return f"{value:{sign}.4f}" if self.is_loss else f"{100 * value:{sign}.1f}"

    @property
    def unit(self) -> str:
        """Return the name with its unit."""
        return term(self.name) if self.is_loss else say("{measure}, percent", measure=term(self.name))


@dataclass(frozen=True)
class Panel:
    """One map: the cells by (row, column), under the levels of all other factors."""

    title: str
    cells: Mapping[tuple[Value, Value], Cell]


def maps(
    panels: Sequence[Panel],
    rows: tuple[str, Sequence[Value]],
    columns: tuple[str, Sequence[Value]],
    best: Cell,
    scale: Scale,
) -> Markup:
    """Return a heat map a panel, all in the same colours; those within noise of the best are in bold."""
    values = [scale.shown(cell.mean.value) for panel in panels for cell in panel.cells.values()]
    low, high = min(values), max(values)
    width, height = len(columns[1]), len(rows[1])
    across = min(len(panels), 3 if width < 5 else 2)  # noqa: PLR2004 (what a page is wide)
    down = -(-len(panels) // across)
    with drawing():
        figure, axes = plt.subplots(
            *(down, across),
            squeeze=False,
            figsize=(across * (0.85 * width + 1.3), down * (0.5 * height + 1.3)),
            layout="constrained",
        )
        for place in axes.flat[len(panels) :]:
            place.axis("off")
        for place, panel in zip(axes.flat, panels, strict=False):
            _map(place, panel, (rows, columns), best, (scale, low, high))
        return chart("maps", figure)


def _map(
    axes: Axes,
    panel: Panel,
    of: tuple[tuple[str, Sequence[Value]], tuple[str, Sequence[Value]]],
    best: Cell,
    drawn: tuple[Scale, float, float],
) -> None:
    (row_name, rows), (column_name, columns) = of
    scale, low, high = drawn
    grid = np.full((len(rows), len(columns)), np.nan)
    for (row, column), cell in panel.cells.items():
        grid[rows.index(row), columns.index(column)] = scale.shown(cell.mean.value)
    colors = "YlGn_r" if scale.is_loss else "YlGn"
    spread = max(high - low, 1e-9)
    axes.imshow(grid, cmap=colors, vmin=low - spread / 4, vmax=high + spread / 4, aspect="auto")
    for (row, column), cell in panel.cells.items():
        at = (columns.index(column), rows.index(row))
        share = (scale.shown(cell.mean.value) - low) / spread
        dark = (1 - share if scale.is_loss else share) > _DARK
        look: Any = {"ha": "center", "va": "center", "fontsize": 9.5}
        weight = "normal" if cell.is_worse else "bold"
        axes.text(*at, scale.said(cell.mean.value), color="white" if dark else INK, weight=weight, **look)
        if cell is best:
            frame: Any = {"fill": False, "edgecolor": _BAD, "lw": 2}
            axes.add_patch(Rectangle((at[0] - 0.49, at[1] - 0.47), 0.98, 0.94, **frame))
    axes.set_xticks(range(len(columns)), [str(one) for one in columns])
    axes.set_yticks(range(len(rows)), [str(one) for one in rows])
    axes.tick_params(length=0)
    axes.set(xlabel=column_name, ylabel=row_name)
    axes.set_title(panel.title, fontsize=10)
    for spine in axes.spines.values():
        spine.set_visible(False)


def effects(found: Sequence[Effect], scale: Scale) -> Markup:
    """Return a panel a factor: how far each level lies from the mean of all, with its 95% interval."""
    with drawing():
        sizes = [len(effect.levels) for effect in found]
        figure, panels = plt.subplots(
            *(1, len(found)),
            sharey=True,
            squeeze=False,
            layout="constrained",
            figsize=(max(3.2, 1.4 + sum(0.75 * size + 0.5 for size in sizes)), 3.1),
            width_ratios=sizes,
        )
        for axes, effect in zip(panels[0], found, strict=True):
            _effect(axes, effect, scale)
        low, high = panels[0][0].get_ylim()
        least = 1e-4 if scale.is_loss else 0.1  # closer up, rounding would look like an effect
        if high - low < least:
            panels[0][0].set_ylim(-least, least)
        against, in_points = marked("{measure},\nagainst the mean", "{measure},\nagainst the mean, points")
        panels[0][0].set_ylabel(say(against if scale.is_loss else in_points, measure=term(scale.name)))
        return chart("effects", figure)


def _effect(axes: Axes, effect: Effect, scale: Scale) -> None:
    axes.axhline(0, color=_SOFT, lw=0.8)
    for at, level in enumerate(effect.levels):
        if level.effect is None:
            axes.plot([at], [0], "x", color=_SOFT)
            continue
        value = scale.shown(level.effect.value)
        low, high = map(scale.shown, level.effect.interval)
        ends = [[value - low], [high - value]] if not np.isnan(low) else None
        color = _GOOD if effect.matters else _SOFT
        axes.errorbar([at], [value], yerr=ends, fmt="o", color=color, ecolor=color, capsize=3)
    axes.set_xticks(range(len(effect.levels)), [str(level.level) for level in effect.levels])
    axes.set_xlim(-0.5, len(effect.levels) - 0.5)
    axes.set_xlabel(effect.key)


def lines(
    groups: Mapping[str, Sequence[tuple[float, float, float]]], axis: str, scale: Scale, *, log: bool = True
) -> Markup:
    """Return a line a group of (x, value, half its interval or nan), against one axis."""
    with drawing():
        figure, axes = plt.subplots(figsize=(7.2, 3.4))
        for number, (name, points) in enumerate(groups.items()):
            x, y, half = (np.array(one) for one in zip(*sorted(points), strict=True))
            factor = 1 if scale.is_loss else 100
            errors = None if np.isnan(half).any() else factor * half
            look: Any = {"color": _COLORS[number % len(_COLORS)], "capsize": 2, "lw": 1.5}
            axes.errorbar(x, factor * y, yerr=errors, fmt="o-", label=name, **look)
        if log:
            axes.set_xscale("log", base=2)
            ticks = sorted({point[0] for points in groups.values() for point in points})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set(xlabel=axis, ylabel=scale.unit)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
        return chart("alpha_by_rank", figure)


@dataclass(frozen=True)
class Aims:
    """One cell of a chart of two aims; `is_front`: no other beats it in both."""

    name: str
    x: float
    y: float
    is_front: bool


def pareto(points: Sequence[Aims], axes_named: tuple[str, str], name: str) -> Markup:
    """Return a chart of two aims, up and to the left the better, its front joined and named."""
    with drawing():
        figure, axes = plt.subplots(figsize=(7.2, 3.8))
        others = [point for point in points if not point.is_front]
        own = sorted((point for point in points if point.is_front), key=lambda point: (point.x, point.y))
        axes.scatter(
            [p.x for p in others], [p.y for p in others], color=_SOFT, s=22, label=say("beaten in both")
        )
        axes.step(
            *([p.x for p in own], [p.y for p in own]),
            "o-",
            where="post",
            color=_GOOD,
            ms=6,
            label=say("front"),
        )
        for number, point in enumerate(own[:_MOST_NAMED], 1):
            offset = (6, 5) if number % 2 else (6, -11)
            axes.annotate(str(number), (point.x, point.y), offset, textcoords="offset points", fontsize=9)
        axes.margins(0.08)
        axes.set(xlabel=axes_named[0], ylabel=axes_named[1])
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
        rows = [(point.name, point.x, point.y, point.is_front) for point in points]
        return chart(name, figure, files.csv_text(("settings", *axes_named, "front"), rows))
