"""Figures as SVG text for a page that needs no other file; matplotlib >= 3.11 shapes Arabic itself."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from arabic_llm.evaluation.statistics import Difference

_BASE, _TUNED, _RANDOM = "#8a94a6", "#0f7b6c", "#c9ced8"
_UPRIGHT = 0.1  # sine of the angle below which a label of a radar stands above or below it
_STYLE: Any = {
    "font.family": ["DejaVu Sans"],  # covers Arabic
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",  # letters as drawn here, whatever fonts the reader has
    "svg.hashsalt": "arabic-llm",  # the same figure is the same bytes
}


def differences(rows: Sequence[Difference]) -> str:
    """Return base and tuned scores as bars with 95% intervals, and the random baseline as a mark."""
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.62 * len(rows) + 1.1))
        at = np.arange(len(rows))[::-1]
        for shift, color, name in ((0.19, _BASE, "base"), (-0.19, _TUNED, "tuned")):
            scores = [getattr(row, name) for row in rows]
            values = [100 * s.value for s in scores]
            errors = [196 * s.stderr for s in scores]  # 1.96 standard errors, in points
            axes.barh(at + shift, values, 0.36, xerr=errors, color=color, label=name, ecolor="#444")
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
        return _svg(figure)


def radar(values: Mapping[str, tuple[float, float]], title: str) -> str:
    """Return a radar chart of name -> (base, tuned), each a share of 1."""
    names = list(values)
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    closed = np.append(angles, angles[0])
    with mpl.rc_context(_STYLE):
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
        return _svg(figure)


def training_curve(lines: Sequence[dict[str, Any]]) -> str:
    """Return the loss of every step and of the dev set, from metrics.jsonl."""
    steps = [line for line in lines if "loss" in line]
    dev = [line for line in lines if "dev_loss" in line]
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(8, 3.2))
        axes.plot(
            [s["step"] for s in steps],
            [s["loss"] for s in steps],
            color=_RANDOM,
            lw=1,
            label="train",
        )
        axes.plot([s["step"] for s in steps], _smooth([s["loss"] for s in steps]), color=_TUNED, lw=2)
        if dev:
            axes.plot(
                [s["step"] for s in dev],
                [s["dev_loss"] for s in dev],
                "o-",
                color="#b3261e",
                label="dev",
            )
        axes.set(xlabel="optimiser step", ylabel="nats a supervised token", ylim=(0, None))
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
        return _svg(figure)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return the running mean over a twentieth of the run."""
    width = max(1, len(values) // 20)
    return [float(np.mean(values[max(0, i - width + 1) : i + 1])) for i in range(len(values))]


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]
