"""The memory of a training step in the report: planned, predicted, measured; by what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from arabic_llm import files
from arabic_llm.config.hw import MIB
from arabic_llm.reports import html
from arabic_llm.reports.figures import STYLE, chart
from arabic_llm.reports.spoken import marked, say, term

LOOKS = {  # of each kind, from the bottom up
    "weights": ("frozen weights", "#8a94a6"),
    "trained": ("trained weights", "#0f7b6c"),
    "optimizer": ("optimiser", "#6db3a6"),
    "gradients": ("gradients", "#d9a441"),
    "activations": ("activations", "#c9d8ee"),
    "logits": ("logits", "#b3261e"),
}
_COLUMNS = marked("sequences x tokens of a pass", "in tensors", "taken from the card")
(_OF_THE_CURVES,) = marked(
    "The curves are of the pass that held most, and of the optimiser's step after the last."
)
_NARROWEST = 0.07  # share of the width that a phase's name needs


def section(found: dict[str, Any]) -> Markup:
    """Return the HTML of a run's memory.json; nothing where there is none."""
    if not found:
        return Markup("")
    return html.part(
        "memory.html.jinja",
        curves=curves(found),
        columns=[*map(term, _COLUMNS)],
        rows=_rows(found),
        remarks=[*_remarks(found), term(_OF_THE_CURVES)],
    )


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return plan, prediction and measurement, each with the passes that it is of."""
    batch, plan, several = found["batch"], found["planned"], found["num_processes"]
    widest = f"{batch['size']} x {batch['tokens']:,}"
    where = "GPU" if found["device"] == "cuda" else "CPU"
    each = say(", the fullest of {several} processes", several=several) if several > 1 else ""
    measured = say("measured: step {step}, {where}", step=found["step"], where=where) + each
    rows = [
        (measured, widest, *_sizes(found, "measured")),
        (say("predicted: that step, rehearsed"), widest, *_sizes(found, "predicted")),
    ]
    if plan:
        sizes = (_size(plan["allocated"]), _size(plan["total"]))
        rows.append(
            (
                say("planned: at most, on the card of hw"),
                say("{size} x up to {tokens:,}", size=plan["size"], tokens=plan["tokens"]),
                *sizes,
            )
        )
    return rows[::-1]


def _remarks(found: dict[str, Any]) -> list[str]:
    """Return what the table does not say: how far off, what is not alike, and what else is on the card."""
    measured, predicted, plan, on_card = (found[k] for k in ("measured", "predicted", "planned", "on_card"))
    said = [say("It was not predicted; the log says why.")]
    if predicted is not None:
        off = 100 * (predicted / measured - 1)
        said = [say("The prediction is {off:+.1f}% off what was measured.", off=off)]
    if not found["has_moments"]:
        said.append(say("It is the first step, before the optimiser holds anything."))
    if plan and found["device"] == "cpu":
        said.append(say("The plan is of the card that hw names: it is not comparable with this CPU."))
    elif plan and plan["tokens"] > found["batch"]["tokens"]:
        said.append(
            say("The plan is of the longest sequences that the task allows; this step's are shorter.")
        )
    if on_card is not None:
        besides = on_card - found["measured_reserved"]
        said.append(
            say(
                "The card held {all} in all (nvidia-smi); {besides} of it are not torch's:"
                " the CUDA context, and other programs.",
                all=_size(on_card),
                besides=_size(besides),
            )
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
    behind = say(" behind {cached:,}", cached=widest["cached"]) if widest["cached"] else ""
    where = "GPU" if found["device"] == "cuda" else "CPU"
    beside = say("not predicted")
    if predicted is not None:
        off = 100 * (predicted / measured - 1)
        beside = say("{mib:,.1f} MiB predicted ({off:+.1f}%)", mib=predicted / MIB, off=off)
    said = say(
        "the {name} model, {where}: {measured:,.1f} MiB measured, {beside}; its widest pass was"
        " {rows} x {tokens:,} tokens",
        name=term(name),
        where=where,
        measured=measured / MIB,
        beside=beside,
        rows=widest["rows"],
        tokens=widest["tokens"],
    )
    return f"{said}{behind}"


def curves(found: dict[str, Any]) -> Markup:
    """Return a panel for what was predicted and one for what was measured, where there is one."""
    panels = [
        (name, found[f"{name}_curve"]) for name in ("predicted", "measured") if found[f"{name}_curve"]
    ]
    if not panels:
        return Markup("")
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
        return chart("memory", figure, _numbers(panels, found["kinds"]))


def _numbers(panels: Sequence[tuple[str, Sequence[dict[str, Any]]]], kinds: Sequence[str]) -> str:
    """Return what is held after each operation as CSV, in bytes."""
    rows = [
        (name, number, moment["phase"], *moment["held"])
        for name, curve in panels
        for number, moment in enumerate(curve)
    ]
    return files.csv_text(("panel", "operation", "phase", *kinds), rows)


def _draw(axes: Axes, name: str, curve: Sequence[dict[str, Any]], kinds: Sequence[str]) -> None:
    """Draw what is held after each operation, stacked, with the phases of the step."""
    held = np.array([moment["held"] for moment in curve], dtype=float).T / MIB
    looks = [LOOKS[kind] for kind in kinds]
    at = np.arange(held.shape[1])
    axes.stackplot(
        at, held, labels=[term(label) for label, _ in looks], colors=[color for _, color in looks], lw=0
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
                term(phase.replace("z", "s")),
                ha="center",
                fontsize=8.5,
                color="#555",
            )
    axes.set_title(term(name), pad=6)
    axes.set(xlim=(0, len(phases) - 1), ylim=(0, 1.18 * top), xticks=[], xlabel=say("operations, in order"))
