"""The numbers that a figure shows, as CSV: its bars, its lines with their intervals, its maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FuncFormatter
from numpy.typing import NDArray

from arabic_llm import files
from arabic_llm.reports.spoken import plain

HEADER = ("panel", "series", "at", "value", "low", "high")
_HIDDEN = "_"  # begins the label of what stands in no legend
_UNNAMED = ("_child", "_nolegend_", "_container")
Row = tuple[str, str, str, str, str, str]
Ends = Sequence[tuple[float, float]]


def csv(figure: Figure) -> str:
    """Return a row a bar, a point or a cell: where it stands, as its axis names it, and its value."""
    rows = [row for axes in figure.axes for row in _of(axes)]
    return files.csv_text(HEADER, [[plain(cell) for cell in row] for row in rows])


def _of(axes: Axes) -> Iterator[Row]:
    panel = axes.get_title() or axes.get_title("left") or axes.get_ylabel() or axes.get_xlabel()
    for container in axes.containers:
        if isinstance(container, BarContainer):
            yield from _bars(axes, panel, container)
        elif isinstance(container, ErrorbarContainer) and container.has_yerr and container.lines[0]:
            yield from _line(axes, panel, container.lines[0], container.get_label(), _ends(container, 1))
    drawn = {id(c.lines[0]) for c in axes.containers if isinstance(c, ErrorbarContainer)}
    for line in axes.lines:
        if id(line) not in drawn:
            yield from _line(axes, panel, line, line.get_label(), [])
    yield from _cells(axes, panel)


def _cells(axes: Axes, panel: str) -> Iterator[Row]:
    for image in axes.images:
        cells: NDArray[np.float64] = np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan)
        for (row, column), value in np.ndenumerate(cells):
            if not np.isnan(value):
                yield panel, _name(axes, "y", row), _name(axes, "x", column), _said(value), "", ""


def _bars(axes: Axes, panel: str, bars: BarContainer) -> Iterator[Row]:
    is_flat = bars.orientation == "horizontal"
    ends = _ends(bars.errorbar, 0 if is_flat else 1) if bars.errorbar else []
    for index, bar in enumerate(bars.patches):
        middle = bar.get_y() + bar.get_height() / 2 if is_flat else bar.get_x() + bar.get_width() / 2
        value = bar.get_width() if is_flat else bar.get_height()
        low, high = map(_said, ends[index]) if ends else ("", "")
        at = _name(axes, "y" if is_flat else "x", middle)
        yield panel, str(bars.get_label()).removeprefix(_HIDDEN), at, _said(value), low, high


def _line(axes: Axes, panel: str, line: Any, label: object, ends: Ends) -> Iterator[Row]:
    name = str(label)
    if name.startswith(_UNNAMED):
        return
    points = list(zip(line.get_xdata(), line.get_ydata(), strict=True))
    is_closed = axes.name == "polar"  # its last point is its first
    for index, (x, y) in enumerate(points[:-1] if is_closed else points):
        low, high = map(_said, ends[index]) if ends else ("", "")
        yield panel, name.removeprefix(_HIDDEN), _name(axes, "x", x), _said(y), low, high


def _ends(container: ErrorbarContainer, side: int) -> Ends:
    """Return where each interval begins and ends: 0 along x, 1 along y."""
    return [(ends[0][side], ends[1][side]) for ends in container.lines[2][0].get_segments()]


def _name(axes: Axes, side: str, at: float) -> str:
    """Return what an axis calls a place: the label that stands there or nearest by, else the number."""
    axis = axes.yaxis if side == "y" else axes.xaxis
    if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):  # no names were set
        return _said(at)
    ticks = np.asarray(axis.get_ticklocs(), float)
    nearest = int(np.argmin(np.abs(ticks - at)))
    if abs(ticks[nearest] - at) >= 1 / 2:  # labels stand a unit apart
        return _said(at)
    return " ".join(axis.get_ticklabels()[nearest].get_text().split())


def _said(value: float) -> str:
    return f"{value:.10g}"
