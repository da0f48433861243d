"""What the YAML files beside this one call: the items of suite=sample, and the scores of short answers."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from arabic_llm.analysis.scorers import SCORERS
from arabic_llm.data.sample import questions


def choice(**_: Any) -> dict[str, Dataset]:
    """Return the four-choice questions."""
    return {"test": Dataset.from_list(list(questions.choice_items()))}


def short(**_: Any) -> dict[str, Dataset]:
    """Return the questions with short answers."""
    return {"test": Dataset.from_list(list(questions.short_items()))}


def dialect(**_: Any) -> dict[str, Dataset]:
    """Return the sentences whose dialect is asked."""
    return {"test": Dataset.from_list(list(questions.dialect_items()))}


def known(**_: Any) -> dict[str, Dataset]:
    """Return the openings of statements that the base model was pretrained on."""
    return {"test": Dataset.from_list(list(questions.known_items()))}


def score_short(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return the scores of a short answer."""
    names = ("exact_match", "token_f1", "rouge_l")
    return {name: SCORERS[name](results[0], doc["answer"]) for name in names}
