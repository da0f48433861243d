"""A suite asked as people type: questions perturbed before prompts are made, and what that costs."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from datasets import Dataset

from arabic_llm.analysis import statistics
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.analysis.statistics import Difference
from arabic_llm.evaluation.suites import Chosen
from arabic_llm.text.perturb import Perturbation

# Where the benchmarks that we know keep what they ask, and the text they ask about. Choices, answers and
# few-shot examples are never touched.
_QUESTIONS = ("question", "Question", "opening", "tweet", "text", "query", "premise", "goal", "ctx")
_CONTEXTS = ("context", "Context", "passage", "flores_passage", "support")
_ASKS_DIALECT = ("sample_dialect", "arsarcasm_dialect")  # in other words they would have another answer

Texts = dict[str, list[tuple[str, str]]]  # leaf -> what each item asks, clean and perturbed


@dataclass(frozen=True)
class Condition:
    """One perturbation at one rate, with the seed of its draws."""

    perturbation: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Return how files and lines name it."""
        return f"{self.perturbation}-{self.rate:g}"

    def written(self, text: str, perturbation: Perturbation) -> str:
        """Return the text as it is asked here: the same text is always written alike."""
        name = f"{self.seed}/{self.perturbation}/{text}".encode()
        return perturbation(text, Random(hashlib.sha256(name).digest()), self.rate)  # noqa: S311 (no secret)


@dataclass(frozen=True)
class Drop:
    """What one score loses under a condition, paired item by item.

    `difference` is from clean (its base) to perturbed (its tuned). The drop over the items that the
    condition changes at all is a plain mean, with the interval of a bootstrap; nan where it changes none.
    """

    condition: Condition
    difference: Difference
    num_changed: int
    changed_drop: float
    changed_low: float
    changed_high: float
    token_ratio: float  # tokens of the perturbed questions / tokens of the clean ones

    @property
    def drop(self) -> tuple[float, float, float]:
        """Return (drop, low, high): more than 0 is worse."""
        row = self.difference
        return 0.0 - row.difference, 0.0 - row.high, 0.0 - row.low

    @property
    def changed_share(self) -> float:
        """Return the share of items that the condition changes."""
        return self.num_changed / self.difference.base.n


def ask_as(
    chosen: Sequence[Chosen], condition: Condition, perturbation: Perturbation, limit: int | None
) -> tuple[list[Chosen], Texts]:
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
            leaves[name], pairs = _rewritten(task, lambda text: condition.written(text, perturbation))
            texts[name] = pairs[:limit]
        groups = {group: tuple(n for n in names if n in leaves) for group, names in entry.groups.items()}
        if leaves:
            kept = {group: names for group, names in groups.items() if names}
            entries.append(Chosen(entry.name, entry.settings, leaves, kept))
    return entries, texts


def left_out(chosen: Sequence[Chosen], perturbations: Sequence[str]) -> list[str]:
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

    Where the answer is written, not chosen, the context stays: the words that are wanted stand in it.
    """
    kinds = task.dataset[_split(task)].features
    wanted = _QUESTIONS if task.OUTPUT_TYPE == "generate_until" else _QUESTIONS + _CONTEXTS
    found = [name for name in wanted if getattr(kinds.get(name), "dtype", "") in ("string", "large_string")]
    return found if set(found) & set(_QUESTIONS) else []


def drops(
    clean: Evaluation, asked: Evaluation, condition: Condition, tokens: Mapping[str, tuple[int, int]]
) -> list[Drop]:
    """Return what each whole score loses; tokens are those that each leaf's questions had and have."""
    asked = _with_ids_of(clean, asked)
    same_items = {(s.name, s.metric): s.tasks for s in asked.scores}
    wholes = [
        s for s in clean.scores if clean.is_whole(s) and same_items.get((s.name, s.metric)) == s.tasks
    ]
    hashes = {(item.task, item.id): item.prompt_hash for item in asked.items}
    changed = {
        (item.task, item.id) for item in clean.items if hashes.get((item.task, item.id)) != item.prompt_hash
    }
    rows = []
    for row in statistics.paired(replace(clean, scores=wholes), asked, condition.seed):
        before, after = clean.values(row.base), asked.values(row.tuned)
        lost = np.array([before[key] - after[key] for key in sorted(before) if key in changed])
        low, high = statistics.mean_interval(lost, condition.seed) if len(lost) else (np.nan, np.nan)
        own = [tokens[task] for task in row.base.tasks]
        ratio = sum(after for _, after in own) / sum(before for before, _ in own)
        mean = float(lost.mean()) if len(lost) else np.nan
        rows.append(Drop(condition, row, len(lost), mean, low, high, ratio))
    return rows


def gathered(rows: Sequence[Drop]) -> list[Drop]:
    """Return the rows task by task, with p-values that know of each other (Holm)."""
    holm = statistics.holm([row.difference.sign_p for row in rows])
    corrected = [
        replace(row, difference=replace(row.difference, holm_p=p))
        for row, p in zip(rows, holm, strict=True)
    ]
    tasks = list(dict.fromkeys(row.difference.base.name for row in rows))
    return sorted(corrected, key=lambda row: tasks.index(row.difference.base.name))


def changed_answers(clean: Evaluation, asked: Evaluation) -> Iterator[tuple[Item, Item]]:
    """Yield (clean, perturbed) items with another answer: those that became wrong first."""
    after = {_place(item): item for item in asked.items}
    pairs = [(item, after[_place(item)]) for item in clean.items if _place(item) in after]
    other = [(a, b) for a, b in pairs if a.answer != b.answer and a.prompt_hash != b.prompt_hash]
    yield from sorted(other, key=lambda pair: _first(pair[1]) - _first(pair[0]))


def _with_ids_of(clean: Evaluation, asked: Evaluation) -> Evaluation:
    """Return the perturbed evaluation with the ids of the clean one: ids hold a hash of the document."""
    ids = {_place(item): item.id for item in clean.items}
    return replace(asked, items=[replace(item, id=ids[_place(item)]) for item in asked.items])


def _rewritten(task: Any, write: Callable[[str], str]) -> tuple[Any, list[tuple[str, str]]]:
    """Return the task with its test documents written anew, and what each asked before and asks now.

    The few-shot examples were taken from the clean documents when the task was made.
    """
    split, names = _split(task), fields(task)
    before = list(task.dataset[split])
    after = [row | {name: write(row[name]) for name in names if row[name]} for row in before]
    twin = copy.copy(task)
    twin.dataset = {**task.dataset, split: Dataset.from_list(after, features=task.dataset[split].features)}
    return twin, [(_asked(a, names), _asked(b, names)) for a, b in zip(before, after, strict=True)]


def _asked(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return "\n".join(row[name] for name in names if row[name])


def _split(task: Any) -> str:
    """Return the split that a task's items come from, as lm-eval chooses it."""
    return str(task.config.test_split or task.config.validation_split)


def _place(item: Item) -> tuple[str, str]:
    return item.task, item.id.partition("-")[0]


def _first(item: Item) -> float:
    return next(iter(item.scores.values()))
