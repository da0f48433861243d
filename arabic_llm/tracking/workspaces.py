"""The two dashboards as W&B has them: one of a training, one of a sweep, both built without a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces.workspaces import internal

from arabic_llm.tracking import PROJECT

_METRIC = "metric"  # of result.json: what a sweep goes by
_FACTORS = ("adapter.rank", "adapter.alpha", "adapter.dropout", "task.learning_rate", "seed")
_FOUND = ("dev_loss", "measured_mib", _METRIC)


def all_of(entity: str) -> list[ws.Workspace]:
    """Return the workspaces of a user or team, each with a name of its own that stays the same."""
    return [training(entity), sweeps(entity)]


def save(entity: str) -> list[str]:
    """Save them at W&B, in place of those that it has of these names, and return where they are.

    Raises ValueError or an error of W&B's for what it does not take.
    """
    built = all_of(entity)
    for workspace in built:
        workspace._internal_id = _known(workspace)
        workspace.save()
    return [str(workspace.url) for workspace in built]


def training(entity: str) -> ws.Workspace:
    """Return what is looked at while a model learns."""
    learning = [
        _lines("Loss, nats a supervised token", "loss", "dev_loss"),
        _lines("Loss on dev, bits a byte", "dev_bits_per_byte"),
        _lines("Learning rate", "learning_rate"),
        _lines("Gradient norm before clipping", "grad_norm"),
    ]
    cost = [
        _lines("Supervised tokens a second", "supervised_tokens_per_second"),
        _lines("Memory of a step, MiB: predicted and measured", "predicted_mib", "measured_mib"),
        _lines("Memory of the process, MiB", "memory_mib"),
    ]
    forgotten = [
        _lines_like("Loss on held-out texts, nats a token", "held_out_loss/.+"),
        _lines_like("Loss on held-out texts, bits a byte", "held_out_bits_per_byte/.+"),
    ]
    sections = {"Learning": learning, "Speed and memory": cost, "What is forgotten": forgotten}
    return _workspace(entity, "Training", sections, ("task.name", "adapter.rank", "task.learning_rate"))


def sweeps(entity: str) -> ws.Workspace:
    """Return what is looked at when a sweep's jobs are compared."""
    columns = [
        *(wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name)) for name in _FACTORS),
        *(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(name)) for name in _FOUND),
    ]
    score, memory = wr.SummaryMetric(_METRIC), wr.SummaryMetric("measured_mib")
    jobs = [
        wr.ParallelCoordinatesPlot(title="Settings and what they came to", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=_METRIC),
        wr.ScatterPlot(title="Score against memory of a step, MiB", x=memory, y=score),
    ]
    return _workspace(entity, "Sweeps", {"Jobs": jobs}, _FACTORS)


def _workspace(
    entity: str, name: str, sections: dict[str, list[Any]], settings: Sequence[str]
) -> ws.Workspace:
    for section, panels in sections.items():
        for at, panel in enumerate(panels):
            panel._id = re.sub(r"[^a-z]+", "", f"{name}{section}".lower()) + str(at)  # else drawn anew
    built = ws.Workspace(
        entity=entity,
        project=PROJECT,
        name=name,
        sections=[ws.Section(name=one, panels=list(own), is_open=True) for one, own in sections.items()],
        runset_settings=ws.RunsetSettings(
            pinned_columns=[f"summary:{_METRIC}", *map(_column, settings)],
        ),
    )
    built._internal_name = f"nw-arabicllm{name.lower()}-v"  # the same view when it is saved again
    return built


def _known(workspace: ws.Workspace) -> str:
    """Return what W&B knows a workspace of this name by; nothing where it has none."""
    name = internal._internal_name_to_url_query_str(workspace._internal_name)
    try:
        found: str = internal.get_view_dict(workspace.entity, workspace.project, name)["id"]
    except ValueError as error:
        if str(error).startswith("Workspace"):  # not found; a project that is not there is another matter
            return ""
        raise
    return found


def _lines(title: str, *names: str) -> wr.LinePlot:
    return wr.LinePlot(title=title, x="Step", y=list(names))


def _lines_like(title: str, pattern: str) -> wr.LinePlot:
    return wr.LinePlot(title=title, x="Step", metric_regex=pattern)


def _column(setting: str) -> str:
    """Return a setting as W&B's table of runs names it."""
    group, _, name = setting.partition(".")
    return f"config:{group}.value" + (f".{name}" if name else "")
