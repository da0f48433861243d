"""The figures of a data card as PNG: rows by their tokens, the share of each source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes

from arabic_llm.data.preparing.summary import LENGTH_BINS, SourceSummary
from arabic_llm.reports.figures import INK, RANDOM, STYLE, TUNED, png
from arabic_llm.reports.markdown import percent

_LONGEST_NAME = 34  # characters of a source's name beside its bars


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
        ("rows", _shares(sources, of_tokens=False), {"color": TUNED}),
        ("tokens", _shares(sources, of_tokens=True), {"color": RANDOM}),
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
    axes.bar(np.arange(len(shares)) + 0.5, shares, 0.94, color=TUNED)
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
