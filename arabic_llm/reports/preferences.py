"""What a run on pairs of answers came to, read back from metrics.jsonl: its lines, its figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from arabic_llm.reports import figures
from arabic_llm.reports.spoken import marked, say, term

PANELS = (  # title, the figures in it, what stands beside the axis
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
        of_pairs, of_answers = marked(
            "on dev the better answer has the higher reward in {share:.0%} of the pairs ({before:.0%} at"
            " step {step}), by {margin:+.2f} ({margin_before:+.2f})",
            "on dev the reward is on the side of the rating in {share:.0%} of the answers ({before:.0%}"
            " at step {step}), by {margin:+.2f} ({margin_before:+.2f})",
        )
        said.append(
            say(
                of_pairs if are_pairs else of_answers,
                share=last["dev_reward_accuracy"],
                before=first["dev_reward_accuracy"],
                step=first["step"],
                margin=last["dev_reward_margin"],
                margin_before=first["dev_reward_margin"],
            )
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
            say(
                "both answers became less likely: the better {better:.1f} -> {better_after:.1f} nats, the"
                " worse {worse:.1f} -> {worse_after:.1f}; a lower task.learning_rate, a higher task.beta,"
                " or with task=dpo task.sft_weight=0.2 keeps the better one",
                better=before["chosen"],
                better_after=after["chosen"],
                worse=before["rejected"],
                worse_after=after["rejected"],
            )
        )
    return said


def curves(metrics: Sequence[dict[str, Any]]) -> str:
    """Return what `draw` draws as SVG."""
    with figures.drawing():
        return figures.svg(draw(metrics))


def draw(metrics: Sequence[dict[str, Any]]) -> Figure:
    """Return rewards, accuracy and log-probabilities by step: lines of training, points of dev."""
    with figures.drawing():
        figure, panels = plt.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3.2), layout="constrained")
        for axes, (title, names, unit) in zip(panels, PANELS, strict=True):
            for name in names:
                side = name.rpartition("_")[2]
                for key, style in ((name, "-"), (f"{_DEV}{name}", "o")):
                    known = [(line["step"], line[key]) for line in metrics if key in line]
                    label = term(side) if style == "-" else term(f"{side}, dev")
                    if known:
                        axes.plot(*zip(*known, strict=True), style, color=_COLORS[side], label=label, ms=4)
            axes.set_title(term(title), fontsize=10)
            axes.set_xlabel(say("step"))
            axes.set_ylabel(term(unit))
            if axes.lines:
                axes.legend(frameon=False, fontsize=8)
        return figure
