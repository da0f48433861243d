"""The right answer of a document, found among its choices whatever white space its task puts around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arabic_llm.evaluation.foreign import MissingBenchmarkError


def settle(task: Any) -> None:
    """Let a task name right answers as they are meant.

    lm-eval looks a text up among the choices as it stands: "{{label}} " is none of them, and every item
    is wrong, whatever is answered. Of written answers only the white space at the ends goes.
    """
    if task.OUTPUT_TYPE == "multiple_choice" and has_choices(task):
        own = task.doc_to_target

        def position(document: Any, *args: Any, **options: Any) -> Any:
            target = own(document, *args, **options)
            several = target if isinstance(target, list) else [target]
            if not any(isinstance(one, str) for one in several):
                return target
            choices = list(task.doc_to_choice(document))
            found = [_position(one, choices) if isinstance(one, str) else one for one in several]
            return found if isinstance(target, list) else found[0]

        task.doc_to_target = position
    elif task.OUTPUT_TYPE == "generate_until":
        written = task.doc_to_target

        def stripped(document: Any, *args: Any, **options: Any) -> Any:
            target = written(document, *args, **options)
            if isinstance(target, list):
                return [one.strip() if isinstance(one, str) else one for one in target]
            return target.strip() if isinstance(target, str) else target

        task.doc_to_target = stripped


def has_choices(task: Any) -> bool:
    """Return whether an answer is one of a document's choices, and not one of several contexts."""
    config = getattr(task, "config", None)
    return getattr(config, "doc_to_choice", None) is not None and not getattr(task, "multiple_input", False)


def check(entry: str, leaf: str, targets: Sequence[Any], choices: Sequence[Sequence[str]]) -> None:
    """Raise MissingBenchmarkError for a document whose right answer is none of its choices."""
    for number, (target, own) in enumerate(zip(targets, choices, strict=True)):
        for one in target if isinstance(target, list) else [target]:
            is_there = one in own if isinstance(one, str) else 0 <= int(one) < len(own)
            if not is_there:
                raise MissingBenchmarkError(
                    f"suite task {entry}: the right answer of item {number} of {leaf}, {one!r}, is none of"
                    f" its {len(own)} choices"
                )


def _position(target: str, choices: Sequence[str]) -> int | str:
    """Return a text as it is where it is a choice, else the position that it names or stands at."""
    if target in choices:
        return target
    meant, stripped = target.strip(), [choice.strip() for choice in choices]
    if meant in stripped:
        return stripped.index(meant)
    return int(meant) if meant.isdecimal() else target
