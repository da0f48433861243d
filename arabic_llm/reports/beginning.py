"""What a reader wants first of a comparison: which model, what it learned, what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports.spoken import count, listed, say


@dataclass(frozen=True)
class WhatWasTrained:
    """What a model was trained on, and how."""

    adapter: str
    data: str


def title(model: str, last: WhatWasTrained | None) -> str:
    """Return what the run is called: model, adapter and data; where they are not known, the model."""
    if last is None:
        return say("{model}, before and after training", model=model)
    return say("{model}, {adapter} on {data}", model=model, adapter=last.adapter, data=last.data)


def of_run(manifest: Mapping[str, Any]) -> WhatWasTrained:
    """Return what a run has trained."""
    identity = manifest["identity"]
    return WhatWasTrained(str(identity["adapter"]["name"]), data_of(identity))


def data_of(identity: Mapping[str, Any]) -> str:
    """Return what rows are called: a file of the user's by its own name."""
    data = identity["data"]
    return Path(data["path"]).stem if data["name"] == "local" and data.get("path") else str(data["name"])


def learned_elsewhere(model: str, first: WhatWasTrained | None, last: WhatWasTrained | None) -> str:
    """Return of two evaluations what the model had learned by then; nothing was trained here."""
    if last is None:
        return say("Two evaluations of {model}, the second with what was trained elsewhere.", model=model)
    of_last = {"data": last.data, "adapter": last.adapter}
    if first is None:
        text = "Two evaluations of {model}, the second after it learned from {data} with {adapter}."
        return say(text, model=model, **of_last)
    return say(
        "Two evaluations of {model}: the first after it learned from {first_data} with {first_adapter}, the"
        " second after it learned from {data} with {adapter}.",
        **{"model": model, "first_data": first.data, "first_adapter": first.adapter, **of_last},
    )


def learned(
    model: str, manifest: Mapping[str, Any], lint: Mapping[str, Any], outcome: Mapping[str, Any]
) -> str:
    """Return what the model learned from and how."""
    identity = manifest["identity"]
    rows = count(lint["rows"], "{n:,} row", "{n:,} rows")
    steps = count(outcome["steps"], "{n:,} step", "{n:,} steps")
    return say(
        "Model: {model}. It learned from {data} ({rows}, {tokens:,} tokens) with {adapter}, in {steps}.",
        model=model,
        data=data_of(identity),
        rows=rows,
        tokens=lint["tokens"],
        adapter=identity["adapter"]["name"],
        steps=steps,
    )


def result(rows: Sequence[Difference]) -> str:
    """Return what came of it in one sentence: how many tasks are better, worse, not to be told apart.

    Each task counts once, in its first metric; what its others say beyond noise is named behind.
    """
    firsts: dict[str, str] = {}
    for row in rows:
        firsts.setdefault(row.base.name, row.verdict)
    others = [row for row in rows if row.verdict != firsts[row.base.name]]
    return _counted(list(firsts.values())) + _by_others(others)


def _counted(verdicts: Sequence[str]) -> str:
    """Return at how many tasks it is better, and worse."""
    all_of_them, better, worse = len(verdicts), verdicts.count("better"), verdicts.count("worse")
    if not better and not worse:
        return count(
            all_of_them,
            "At the one task, before and after cannot be told apart from noise with these items.",
            "At none of {n:,} tasks can before and after be told apart from noise with these items.",
        )
    said = [_most(better, all_of_them, worse)]
    if better and worse:
        said.append(count(worse, "one got worse", "{n:,} got worse"))
    if all_of_them > better + worse:
        said.append(say("the rest cannot be told apart from noise with these items"))
    return f"{say(', ').join(said)}."


def _by_others(rows: Sequence[Difference]) -> str:
    """Return by which further metrics it is better, and worse; nothing where all are within noise."""
    better, worse = (
        [f"{row.base.name} {row.base.metric}" for row in rows if row.verdict == kind]
        for kind in ("better", "worse")
    )
    said = say(" By other metrics better: {names}.", names=listed(better)) if better else ""
    return said + (say(" By other metrics worse: {names}.", names=listed(worse)) if worse else "")


def _most(better: int, all_of_them: int, worse: int) -> str:
    """Return at how many tasks it is better; where it is at none, at how many it is worse."""
    number = better or worse
    if number == all_of_them:
        if better:
            return count(number, "Better at the one task", "Better at all {n:,} tasks")
        return count(number, "Worse at the one task", "Worse at all {n:,} tasks")
    if better:
        return count(all_of_them, "", "Better at {better} of {n:,} tasks", better=_number_of_tasks(better))
    return count(all_of_them, "", "Worse at {worse} of {n:,} tasks", worse=_number_of_tasks(worse))


def _number_of_tasks(number: int) -> str:
    """Return a number of tasks; of one and two Arabic has words."""
    return count(number, "{n:,}", "{n:,}")
