"""Evaluations that cannot be: scores of nothing, values that are no shares, the same item twice."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm.config.suite import KAPPA
from arabic_llm.errors import DamagedError

if TYPE_CHECKING:
    from arabic_llm.analysis.scores import Evaluation, Item, Score

CURE = "take the file of the evaluation again, or ask again (task=evaluate)"
_TYPES: dict[str, set[type]] = {
    **{"str": {str}, "int": {int}, "bool": {bool}, "float": {int, float}},
    "float | None": {int, float, type(None)},
}
_ROUNDING = 1e-9  # of sums in another order


def refuse_impossible(evaluation: Evaluation, result: Path, items: Path, *, are_shares: bool) -> None:
    """Raise DamagedError for an item or a score that no evaluation gives, naming its file and line."""
    seen: dict[tuple[str, str], int] = {}
    for number, item in enumerate(evaluation.items, 1):
        if wrong := _wrong_with(item, are_shares=are_shares):
            raise DamagedError(f"{items}:{number}: {wrong}; {CURE}")
        first = seen.setdefault((item.task, item.id), number)
        if first != number:
            raise DamagedError(
                f"{items}:{number}: item {item.id!r} of {item.task} is that of line {first} again; {CURE}"
            )
    if not evaluation.scores:
        raise DamagedError(f"{result}: it holds no score; {CURE}")
    for score in evaluation.scores:
        if wrong := _wrong_sum(evaluation, score):
            raise DamagedError(f"{result}: {score.name} {score.metric}: {wrong}; {CURE}")


def _wrong_with(item: Item, *, are_shares: bool) -> str:
    """Return what is wrong with an item, or nothing."""
    if not isinstance(item.task, str) or not isinstance(item.id, str):
        return "an item needs a task and an id"
    if not isinstance(item.scores, dict) or not item.scores:
        return f"item {item.id!r} has no scores"
    for name, value in item.scores.items():
        if not _is_number(value):
            return f"{name} of item {item.id!r} is {value!r}, and no number"
        if are_shares and not -_ROUNDING <= value <= 1 + _ROUNDING:
            return f"{name} of item {item.id!r} is {value}, and no share of 1"
    return f"{wrong} (item {item.id!r})" if (wrong := _mistyped(item)) else ""


def _wrong_sum(evaluation: Evaluation, score: Score) -> str:
    """Return in what a score is not that of its items, or nothing."""
    tasks, weights = score.tasks, score.weights
    if weights and (len(weights) != len(tasks) or not all(map(_is_number, weights))):
        return f"its weights are {list(weights)!r}, and no numbers of its {len(tasks)} tasks"
    try:
        values = evaluation.values(score)
    except (KeyError, TypeError):
        return "not every item of it has this metric"
    parts = [[value for (task, _), value in values.items() if task == one] for one in tasks]
    if not values or (weights and not all(parts)):
        return f"n is {score.n!r}, and {', '.join(map(str, tasks))} has no item"
    if score.n != len(values):
        return f"n is {score.n!r}, and it has {len(values):,} items"
    if score.metric == KAPPA:
        from arabic_llm.analysis import kappa  # which reads scores itself

        expected = float(kappa.score(list(evaluation.levels(score).values()))["value"])
    elif weights:
        expected = sum(w * sum(part) / len(part) for w, part in zip(weights, parts, strict=True))
    else:
        expected = sum(values.values()) / len(values)
    if not _is_number(score.value) or abs(score.value - expected) > _ROUNDING:
        return f"its value is {score.value!r}, and that of its items is {expected:.6g}"
    return _mistyped(score)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _mistyped(one: Item | Score) -> str:
    """Return which field holds what it cannot, or nothing: it would fail somewhere later."""
    for field in fields(one):
        wanted, value = _TYPES.get(str(field.type)), getattr(one, field.name)
        if wanted and type(value) not in wanted:
            return f"{field.name} is {value!r}, and no {field.type}"
    return ""
