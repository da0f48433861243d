"""The same question in six prompts: letters, digits or words of its choices, told in Arabic or English.

What a score owes to its prompt is told beside it (Score.prompts).
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from arabic_llm.analysis.scores import Item, Score
from arabic_llm.config.suite import Aggregate
from arabic_llm.evaluation.choices import LETTERS
from arabic_llm.evaluation.question import Question
from arabic_llm.evaluation.suites import SuiteEntry
from arabic_llm.evaluation.targets import has_choices

LABELS: Mapping[str, Sequence[str]] = {
    "letters": LETTERS,
    "digits": tuple(map(str, range(1, 11))),
    "words": (),
}
_INSTRUCTIONS = {
    "ar": ("اختر الإجابة الصحيحة عن السؤال التالي.", "الإجابة:"),
    "en": ("Choose the right answer to the following question.", "Answer:"),
}
_METRICS = ("acc", "acc_norm")
_OWN_LABEL = re.compile(
    r"^\s*\(?(?:[أبجده]|[A-E]|\d)\s*[).:]\s*(?=\S)"
)  # that a benchmark writes into a text
Prompts = dict[str, list[tuple[str, float]]]  # task or group -> (prompt, its score)


def of(entry: SuiteEntry) -> Iterator[tuple[str, SuiteEntry]]:
    """Yield (name, the entry asked so) for each prompt, with those of its tasks that can be asked so."""
    metric = entry.settings.metrics[0]
    askable = _askable(entry)
    if not askable:
        return
    for labels in LABELS:
        for language in _INSTRUCTIONS:
            leaves = {name: _twin(entry.leaves[name], labels, language, metric) for name in askable}
            settings = replace(entry.settings, metrics=[metric])
            yield f"{labels} {language}", SuiteEntry(entry.name, settings, leaves, {})


def num_more(chosen: Sequence[SuiteEntry], limit: int | None) -> int:
    """Return how often an item is asked in another prompt than its own, of at most so many a leaf."""
    asked = (
        min(len(entry.documents[leaf]), entry.limit(limit) or len(entry.documents[leaf]))
        for entry in chosen
        for leaf in _askable(entry)
    )
    return len(LABELS) * len(_INSTRUCTIONS) * sum(asked)


def _askable(entry: SuiteEntry) -> list[str]:
    return [name for name in entry.leaves if why_not(entry, name) is None]


def why_not(entry: SuiteEntry, leaf: str) -> str | None:
    """Return why a task is asked in its own prompt alone, or None."""
    task = entry.leaves[leaf]
    if task.OUTPUT_TYPE != "multiple_choice" or not has_choices(task):
        return "its answers are not chosen"
    if entry.settings.metrics[0] not in _METRICS:
        return f"its score is {entry.settings.metrics[0]}"
    if entry.settings.num_fewshot:
        return "its examples are in its own prompt"
    for document, question in zip(entry.documents[leaf], entry.questions[leaf], strict=True):
        options = _options(question)
        if not question.text or len(options) != len(task.doc_to_choice(document)):
            return "the words of its choices are not known"
        if all(option in question.text for option in options):
            return "its choices stand in its question"
    return None


def add_up(entry: SuiteEntry, items: Sequence[Item]) -> dict[str, float]:
    """Return task or group -> its score in one prompt; of groups those whose tasks all were asked."""
    values: dict[str, list[float]] = defaultdict(list)
    for item in items:
        values[item.task].append(item.first)
    means = {leaf: float(np.mean(own)) for leaf, own in values.items()}
    for group, leaves in entry.groups.items():
        if all(leaf in values for leaf in leaves):
            is_macro = entry.settings.aggregate is Aggregate.macro
            parts = [[means[leaf]] if is_macro else values[leaf] for leaf in leaves]
            means[group] = float(np.mean(np.concatenate(parts)))
    return means


def beside(scores: Sequence[Score], entries: Sequence[SuiteEntry], prompts: Prompts) -> list[Score]:
    """Return the scores in the first metric of each entry with what the other prompts gave."""
    firsts = {
        (name, entry.settings.metrics[0]) for entry in entries for name in (*entry.leaves, *entry.groups)
    }
    return [
        replace(score, prompts=tuple(prompts[score.name]))
        if (score.name, score.metric) in firsts and score.name in prompts
        else score
        for score in scores
    ]


def _twin(task: Any, labels: str, language: str, metric: str) -> Any:
    """Return a task that asks what another asks, with these labels and this instruction."""
    twin = copy.copy(task)
    twin._config = copy.copy(task._config)
    twin._config.target_delimiter, twin._config.description = " ", ""
    twin.doc_to_text = lambda document, *_, **__: _asked(Question.of(document), labels, language)
    twin.doc_to_choice = lambda document, *_, **__: _choices(Question.of(document), labels)
    twin.process_results = _scorer(twin, metric, by_length=labels == "words")
    return twin


def _asked(question: Question, labels: str, language: str) -> str:
    instruction, answer = _INSTRUCTIONS[language]
    shown = zip(LABELS[labels], _options(question), strict=False)
    lines = [instruction, "", question.context, question.text, *(f"{a}. {b}" for a, b in shown), answer]
    return "\n".join(line for at, line in enumerate(lines) if line or at == 1)


def _choices(question: Question, labels: str) -> list[str]:
    options = _options(question)
    return list(LABELS[labels][: len(options)] if LABELS[labels] else options)


def _options(question: Question) -> tuple[str, ...]:
    """Return the words of the choices, without labels that all of them bring along."""
    bare = tuple(_OWN_LABEL.sub("", option) for option in question.options)
    return bare if all(b != o for b, o in zip(bare, question.options, strict=True)) else question.options


def _scorer(task: Any, metric: str, *, by_length: bool) -> Callable[..., dict[str, float]]:
    """Return what scores a document: the likeliest choice; of words, unlike in length, by character."""

    def score(document: Any, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        choices = task.doc_to_choice(document)
        lengths = [len(choice) if by_length or metric == "acc_norm" else 1 for choice in choices]
        weights = [logprob / length for (logprob, _), length in zip(results, lengths, strict=True)]
        return {metric: float(int(np.argmax(weights)) == int(task.doc_to_target(document)))}

    return score
