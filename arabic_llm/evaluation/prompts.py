"""Prompts to generate after, in batches: alike in what is asked of them, in how they begin, in length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.evaluation.requests import named
from arabic_llm.models.batching import TOKENS_OF_A_SEQUENCE

_WORTH_CACHING = 16  # shared tokens; fewer are cheaper read again with each prompt


@dataclass(frozen=True)
class Prompt:
    """What lm-eval asks for, with the key that its answer is kept under, and the ids that are read."""

    request: Any
    key: str
    ids: tuple[int, ...]
    is_cut: bool  # it lost its beginning
    most: int  # tokens that may be said

    @property
    def settings(self) -> dict[str, Any]:
        """Return how the answer is to be."""
        settings: dict[str, Any] = self.request.args[1]
        return settings

    @property
    def context(self) -> int:
        """Return the tokens of it and of all that may be said to it."""
        return len(self.ids) + self.most

    @property
    def name(self) -> str:
        """Return what it is of: a task and an item."""
        return named(self.request)


@dataclass(frozen=True)
class PromptBatch:
    """Prompts by their place in a list, the longest first; the first ids that all of their kind share."""

    prompts: tuple[int, ...]
    shared: tuple[int, ...]


def in_batches(prompts: Sequence[Prompt], fit: Callable[[Prompt], int]) -> Iterator[PromptBatch]:
    """Yield all prompts in batches, the longest first; `fit` says how many fit, of the longest.

    Batches hang on the prompts alone: a run that is carried on makes those of one that was never stopped.
    """
    for group in _groups(prompts):
        shared = _shared([prompts[index] for index in group])
        start = 0
        while start < len(group):
            end = start + fit(prompts[group[start]])
            yield PromptBatch(tuple(group[start:end]), shared)
            start = end


def _groups(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Return the prompts that are answered together, the longest first.

    A task whose prompts begin alike, with the same examples, is a group of its own.
    """
    by_task = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_task[fingerprint(prompt.settings), str(prompt.request.task_name), prompt.is_cut].append(index)
    groups: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for (settings, task, is_cut), indices in by_task.items():
        is_own = len(_shared([prompts[index] for index in indices])) >= TOKENS_OF_A_SEQUENCE
        groups[settings, task if is_own else "", is_cut] += indices
    longest_first = [
        sorted(indices, key=lambda index: (-len(prompts[index].ids), prompts[index].ids))
        for indices in groups.values()
    ]
    return sorted(longest_first, key=lambda group: -len(prompts[group[0]].ids))


def _shared(prompts: Sequence[Prompt]) -> tuple[int, ...]:
    """Return the first ids of all the prompts; each has one more. One prompt alone shares nothing."""
    if len(prompts) == 1:
        return ()
    first, last = (pick(prompt.ids for prompt in prompts) for pick in (min, max))
    length = min(len(prompt.ids) for prompt in prompts) - 1
    same = next((at for at in range(length) if first[at] != last[at]), length)
    return first[:same] if same >= _WORTH_CACHING else ()
