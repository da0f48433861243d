"""The memory of a training step in the report: planned, predicted, measured; by what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from arabic_llm.config.hw import MIB
from arabic_llm.reports import html
from arabic_llm.reports.figures import STYLE, svg

_LOOKS = {  # of each kind, from the bottom up
    "weights": ("frozen weights", "#8a94a6"),
    "trained": ("trained weights", "#0f7b6c"),
    "optimizer": ("optimiser", "#6db3a6"),
    "gradients": ("gradients", "#d9a441"),
    "activations": ("activations", "#c9d8ee"),
    "logits": ("logits", "#b3261e"),
}
_COLUMNS = ("sequences x tokens of a pass", "in tensors", "taken from the card")
_OF_THE_CURVES = "The curves are of the pass that held most, and of the optimiser's step after the last."
_NARROWEST = 0.07  # share of the width that a phase's name needs


def section(found: dict[str, Any]) -> Markup:
    """Return the HTML of a run's memory.json; nothing where there is none."""
    if not found:
        return Markup("")
    return html.part(
        "memory.html.jinja",
        curves=Markup(curves(found)),  # noqa: S704 (our own SVG)
        columns=_COLUMNS,
        rows=_rows(found),
        remarks=[*_remarks(found), _OF_THE_CURVES],
    )


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return plan, prediction and measurement, each with the passes that it is of."""
    batch, plan, several = found["batch"], found["planned"], found["num_processes"]
    widest = f"{batch['size']} x {batch['tokens']:,}"
    where = "GPU" if found["device"] == "cuda" else "CPU"
    each = f", the fullest of {several} processes" if several > 1 else ""
    rows = [
        (f"measured: step {found['step']}, {where}{each}", widest, *_sizes(found, "measured")),
        ("predicted: that step, rehearsed", widest, *_sizes(found, "predicted")),
    ]
    if plan:
        sizes = (_size(plan["allocated"]), _size(plan["total"]))
        rows.append(
            ("planned: at most, on the card of hw", f"{plan['size']} x up to {plan['tokens']:,}", *sizes)
        )
    return rows[::-1]


def _remarks(found: dict[str, Any]) -> list[str]:
    """Return what the table does not say: how far off, what is not alike, and what else is on the card."""
    measured, predicted, plan, on_card = (found[k] for k in ("measured", "predicted", "planned", "on_card"))
    said = ["It was not predicted; the log says why."]
    if predicted is not None:
        said = [f"The prediction is {100 * (predicted / measured - 1):+.1f}% off what was measured."]
    if not found["has_moments"]:
        said.append("It is the first step, before the optimiser holds anything.")
    if plan and found["device"] == "cpu":
        said.append("The plan is of the card that hw names: it is not comparable with this CPU.")
    elif plan and plan["tokens"] > found["batch"]["tokens"]:
        said.append("The plan is of the longest sequences that the task allows; this step's are shorter.")
    if on_card is not None:
        besides = on_card - found["measured_reserved"]
        said.append(
            f"The card held {_size(on_card)} in all (nvidia-smi); {_size(besides)} of it are not torch's:"
            " the CUDA context, and other programs."
        )
    return said


def _sizes(found: dict[str, Any], kind: str) -> tuple[str, str]:
    return _size(found[kind]), _size(found[f"{kind}_reserved"])


def _size(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / MIB:,.1f} MiB"


def of_evaluations(found: dict[str, dict[str, Any]]) -> Markup:
    """Return the HTML of what evaluations took, by their names; nothing where nothing was measured."""
    lines = [_evaluated(name, one) for name, one in found.items() if one]
    return html.part("evaluation_memory.html.jinja", lines=lines) if lines else Markup("")


def _evaluated(name: str, found: dict[str, Any]) -> str:
    widest, measured, predicted = found["widest"], found["measured"], found["predicted"]
    behind = f" behind {widest['cached']:,}" if widest["cached"] else ""
    where = "GPU" if found["device"] == "cuda" else "CPU"
    beside = "not predicted"
    if predicted is not None:
        beside = f"{predicted / MIB:,.1f} MiB predicted ({100 * (predicted / measured - 1):+.1f}%)"
    return (
        f"the {name} model, {where}: {measured / MIB:,.1f} MiB measured, {beside}; its widest pass was"
        f" {widest['rows']} x {widest['tokens']:,} tokens{behind}"
    )


def curves(found: dict[str, Any]) -> str:
    """Return a panel for what was predicted and one for what was measured, where there is one."""
    panels = [
        (name, found[f"{name}_curve"]) for name in ("predicted", "measured") if found[f"{name}_curve"]
    ]
    if not panels:
        return ""
    with mpl.rc_context(STYLE):
        width = 4.4 * len(panels)
        figure, axes = plt.subplots(1, len(panels), figsize=(width, 3.4), sharey=True, squeeze=False)
        for panel, (name, curve) in zip(axes[0], panels, strict=True):
            _draw(panel, name, curve, found["kinds"])
        axes[0, 0].set_ylabel("MiB")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            *(handles[::-1], labels[::-1]), loc="center left", bbox_to_anchor=(0.91, 0.5), frameon=False
        )
        return svg(figure)


def _draw(axes: Axes, name: str, curve: Sequence[dict[str, Any]], kinds: Sequence[str]) -> None:
    """Draw what is held after each operation, stacked, with the phases of the step."""
    held = np.array([moment["held"] for moment in curve], dtype=float).T / MIB
    looks = [_LOOKS[kind] for kind in kinds]
    at = np.arange(held.shape[1])
    axes.stackplot(
        at, held, labels=[label for label, _ in looks], colors=[color for _, color in looks], lw=0
    )
    top = float(held.sum(0).max())
    phases = [moment["phase"] for moment in curve]
    for phase in dict.fromkeys(phases):
        first, last = phases.index(phase), len(phases) - phases[::-1].index(phase)
        axes.axvline(first, color="#555", lw=0.7, ls=":")
        if last - first > _NARROWEST * len(phases):
            axes.text(
                (first + last) / 2,
                1.1 * top,
                phase.replace("z", "s"),
                ha="center",
                fontsize=8.5,
                color="#555",
            )
    axes.set_title(name, pad=6)
    axes.set(xlim=(0, len(phases) - 1), ylim=(0, 1.18 * top), xticks=[], xlabel="operations, in order")
