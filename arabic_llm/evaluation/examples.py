"""Few-shot examples: those that lm-eval draws, but never the item that is asked.

lm-eval 0.4.13 leaves the item out only where the split of the examples is named and is the test split. It
stays where examples come from the test documents for want of others, from a validation split that is asked
itself, and from a split that holds the item again.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from jinja2 import UndefinedError
from lm_eval.api.samplers import ContextSampler, FirstNSampler

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.errors import ConfigError

SEED = 1234  # lm-eval's own default


def asked(task: Any, document: Any) -> str:
    """Return what a task asks of a document; where that is nothing, or a choice's number, the document."""
    text = task.doc_to_text(document)
    return text if isinstance(text, str) and text.strip() else str(document)


def shown(task: Any) -> list[str]:
    """Return what each document asks that examples are drawn from, as it would stand there."""
    return [_as_example(task, document) for document in task.fewshot_docs()]


@contextmanager
def of_others(task: Any, num_fewshot: int) -> Iterator[None]:
    """Let a task draw examples that are not the item itself; what it draws is otherwise lm-eval's."""
    task.set_config(key="num_fewshot", value=num_fewshot)
    task.set_fewshot_seed(seed=SEED)
    if not num_fewshot or not hasattr(task, "sampler"):
        yield
        return
    own, context_of = task.sampler, task.fewshot_context
    others = _Others(task, own)

    def with_examples_of_others(document: Any, *args: Any, **options: Any) -> Any:
        others.item = document
        return context_of(document, *args, **options)

    task.sampler, task.fewshot_context = others, with_examples_of_others
    try:
        yield
    finally:
        task.sampler = own
        del task.fewshot_context


class _Others:
    """What lm-eval asks for examples, around the task's own sampler."""

    def __init__(self, task: Any, own: ContextSampler) -> None:
        self.item: Any = None  # whose examples are drawn
        self._task, self._own = task, own
        self._pool = list(own.fewshot_docs())

    def sample(self, n: int, eval_doc: Any = None) -> Sequence[Any]:
        """Return n examples. Raises ConfigError where there are not so many others."""
        same = self._same()
        if len(self._pool) - len(same) < n:
            raise ConfigError(
                f"{self._task.config.task}: {n} examples are asked for (num_fewshot) and there are"
                f" {len(self._pool) - len(same)} beside the item; lower it"
            )
        drawn: list[Any] = []
        if n + (eval_doc is not None) <= len(self._pool):  # else lm-eval, which may draw one more, fails
            drawn = list(self._own.sample(n, eval_doc=eval_doc))
        is_item = {str(self._pool[at]) for at in same}
        kept = [document for document in drawn if str(document) not in is_item]
        if len(kept) == n:
            return drawn
        taken = {str(document) for document in kept}
        rest = [d for at, d in enumerate(self._pool) if at not in same and str(d) not in taken]
        if isinstance(self._own, FirstNSampler) or len(rest) < n - len(kept):  # copies of what is taken
            return (kept + rest + kept)[:n]
        draw = random.Random(fingerprint([SEED, str(self.item)]))  # noqa: S311 (no secret)
        return kept + draw.sample(rest, n - len(kept))

    def _same(self) -> set[int]:
        """Return where the pool holds the item, or one that asks what it asks.

        Of a task that asks the same of all, only the item itself.
        """
        itself = self._places[str(self.item)]
        same = itself.union(*(self._places[text] for text in self._known(self.item)))
        return same if len(same) < len(self._pool) else itself

    @cached_property
    def _places(self) -> dict[str, set[int]]:
        """Return what a document of the pool is, and what it asks -> where it stands."""
        places: dict[str, set[int]] = defaultdict(set)
        for at, document in enumerate(self._pool):
            places[str(document)].add(at)
            places[_as_example(self._task, document)].add(at)
        return places

    def _known(self, item: Any) -> set[str]:
        """Return what an item asks: as an item, as an example, and before its question was perturbed."""
        return {asked(self._task, item), _as_example(self._task, item)} | self._clean[
            asked(self._task, item)
        ]

    @cached_property
    def _clean(self) -> dict[str, set[str]]:
        """Return what a perturbed item asks -> what those ask that it was made of."""
        before: dict[str, set[str]] = defaultdict(set)
        if (clean := getattr(self._task, "clean", None)) is not None:
            for mine, first in zip(self._task.eval_docs, clean.eval_docs, strict=False):
                before[asked(self._task, mine)] |= {asked(clean, first), _as_example(clean, first)}
        return before


def _as_example(task: Any, document: Any) -> str:
    """Return what a document asks where it is an example, which a task may write in other words."""
    settings = getattr(task, "fewshot_cfg", None)
    if settings is None:
        return asked(task, document)
    try:
        text = task.doc_to_text(document, settings.doc_to_text)
    except (KeyError, UndefinedError):  # an item lacks what hand-written examples have
        return asked(task, document)
    return text if isinstance(text, str) and text.strip() else str(document)
