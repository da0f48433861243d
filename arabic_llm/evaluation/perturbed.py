"""A suite asked as people type: its questions are perturbed before prompts are made."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from datasets import Dataset

from arabic_llm.analysis.robustness import Condition
from arabic_llm.evaluation.question import CONTEXT, TEXT
from arabic_llm.evaluation.suites import SuiteEntry
from arabic_llm.text.perturb import Perturbation

_ASKS_DIALECT = ("sample_dialect", "arsarcasm_dialect")  # in other words they would have another answer

Texts = dict[str, list[tuple[str, str]]]  # leaf -> what each item asks, clean and perturbed


def ask_as(
    chosen: Sequence[SuiteEntry], condition: Condition, perturbation: Perturbation, limit: int | None
) -> tuple[list[SuiteEntry], Texts]:
    """Return the suite with its questions perturbed, and what the items asked (`limit` a leaf) ask.

    Leaves are left out where no field is known to be the question (`fields`), and those that ask for the
    dialect where the perturbation is one.
    """
    entries, texts = [], {}
    for entry in chosen:
        leaves = {}
        for name, task in entry.leaves.items():
            if not is_asked(name, task, condition.perturbation):
                continue
            leaves[name], pairs = _rewritten(task, lambda text: written(text, condition, perturbation))
            texts[name] = pairs[:limit]
        groups = {group: tuple(n for n in names if n in leaves) for group, names in entry.groups.items()}
        if leaves:
            kept = {group: names for group, names in groups.items() if names}
            entries.append(SuiteEntry(entry.name, entry.settings, leaves, kept))
    return entries, texts


def written(text: str, condition: Condition, perturbation: Perturbation) -> str:
    """Return a text as it is asked under a condition: the same text is always written alike."""
    name = f"{condition.seed}/{condition.perturbation}/{text}".encode()
    draw = Random(hashlib.sha256(name).digest())  # noqa: S311 (no secret)
    return perturbation(text, draw, condition.rate)


def left_out(chosen: Sequence[SuiteEntry], perturbations: Sequence[str]) -> list[str]:
    """Return a line for each task that some of the perturbations cannot be asked of."""
    lines = []
    for name, task in [leaf for entry in chosen for leaf in entry.leaves.items()]:
        refused = [perturbation for perturbation in perturbations if not is_asked(name, task, perturbation)]
        if not fields(task):
            there = ", ".join(task.dataset[_split(task)].column_names)
            lines.append(f"{name}: none of its fields is known to be the question ({there})")
        elif refused:
            lines.append(f"{name} with {', '.join(refused)}: the dialect is what it asks for")
    return lines


def is_asked(name: str, task: Any, perturbation: str) -> bool:
    """Return whether a leaf can be asked under a perturbation."""
    return bool(fields(task)) and not (name in _ASKS_DIALECT and perturbation.startswith("dialect_"))


def fields(task: Any) -> list[str]:
    """Return the fields of a task's raw documents that are perturbed; none where none is known.

    They are those of the question and its context; choices, answers and few-shot examples are not touched.
    Where the answer is written, not chosen, the context stays: the words that are wanted stand in it.
    """
    kinds = task.dataset[_split(task)].features
    wanted = TEXT if task.OUTPUT_TYPE == "generate_until" else TEXT + CONTEXT
    found = [name for name in wanted if getattr(kinds.get(name), "dtype", "") in ("string", "large_string")]
    return found if set(found) & set(TEXT) else []


def _rewritten(task: Any, write: Callable[[str], str]) -> tuple[Any, list[tuple[str, str]]]:
    """Return the task with its test documents written anew, and what each asked before and asks now.

    The few-shot examples were taken from the clean documents when the task was made.
    """
    split, names = _split(task), fields(task)
    before = list(task.dataset[split])
    after = [row | {name: write(row[name]) for name in names if row[name]} for row in before]
    twin = copy.copy(task)
    twin.clean = task  # whose questions are no examples of their own
    twin.dataset = {**task.dataset, split: Dataset.from_list(after, features=task.dataset[split].features)}
    return twin, [(_asked(a, names), _asked(b, names)) for a, b in zip(before, after, strict=True)]


def _asked(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return "\n".join(row[name] for name in names if row[name])


def _split(task: Any) -> str:
    """Return the split that a task's items come from, as lm-eval chooses it."""
    return str(task.config.test_split or task.config.validation_split)
