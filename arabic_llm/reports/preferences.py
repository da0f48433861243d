"""What a run on pairs of answers came to, read back from metrics.jsonl: its lines, its figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from arabic_llm.reports import figures

_PANELS = (  # title, the figures in it, what stands beside the axis
    ("reward", ("reward_chosen", "reward_rejected", "reward_margin"), "nats"),
    ("answers told apart by their rewards", ("reward_accuracy",), "share"),  # or from other ones, as rated
    ("log-probability of an answer", ("log_prob_chosen", "log_prob_rejected"), "nats"),
    ("length of an answer", ("tokens_chosen", "tokens_rejected"), "tokens"),
)
_COLORS = {"chosen": "#0f7b6c", "rejected": "#b3261e", "margin": "#2f5fb3", "accuracy": "#4e5b73"}
_SHARE = 0.1  # of the steps at either end, of which the means are compared
_DEV = "dev_"


def lines(metrics: Sequence[dict[str, Any]], *, are_pairs: bool = True) -> list[str]:
    """Return what a run on pairs, or on rated answers, came to; nothing of a run on something else."""
    steps = [line for line in metrics if "reward_margin" in line]
    if not steps:
        return []
    said = []
    if dev := [line for line in metrics if f"{_DEV}reward_margin" in line]:
        first, last = dev[0], dev[-1]
        won = (
            ("the better answer has the higher reward in", "pairs")
            if are_pairs
            else ("the reward is on the side of the rating in", "answers")
        )
        said.append(
            f"on dev {won[0]} {last['dev_reward_accuracy']:.0%} of the"
            f" {won[1]} ({first['dev_reward_accuracy']:.0%} at step {first['step']}), by"
            f" {last['dev_reward_margin']:+.2f} ({first['dev_reward_margin']:+.2f})"
        )
    ends = max(1, round(_SHARE * len(steps)))
    before, after = (
        {
            side: float(np.mean([line[f"log_prob_{side}"] for line in part]))
            for side in ("chosen", "rejected")
        }
        for part in (steps[:ends], steps[-ends:])
    )
    if all(after[side] < before[side] for side in after):
        said.append(
            "both answers became less likely: the better"
            f" {before['chosen']:.1f} -> {after['chosen']:.1f} nats, the worse {before['rejected']:.1f} ->"
            f" {after['rejected']:.1f}; a lower task.learning_rate, a higher task.beta, or with task=dpo"
            " task.sft_weight=0.2 keeps the better one"
        )
    return said


def curves(metrics: Sequence[dict[str, Any]]) -> str:
    """Return rewards, accuracy and log-probabilities by step as SVG: lines of training, points of dev."""
    with figures.drawing():
        figure, panels = plt.subplots(
            1, len(_PANELS), figsize=(4 * len(_PANELS), 3.2), layout="constrained"
        )
        for axes, (title, names, unit) in zip(panels, _PANELS, strict=True):
            for name in names:
                side = name.rpartition("_")[2]
                for key, style in ((name, "-"), (f"{_DEV}{name}", "o")):
                    known = [(line["step"], line[key]) for line in metrics if key in line]
                    label = side if style == "-" else f"{side}, dev"
                    if known:
                        axes.plot(*zip(*known, strict=True), style, color=_COLORS[side], label=label, ms=4)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("step")
            axes.set_ylabel(unit)
            if axes.lines:
                axes.legend(frameon=False, fontsize=8)
        return figures.svg(figure)
