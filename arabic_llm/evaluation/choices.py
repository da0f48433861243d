"""Choices as Arabic benchmarks label them, and the columns without which a benchmark is another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from datasets import Dataset

from arabic_llm.evaluation.foreign import OtherSchemaError

LETTERS = ("أ", "ب", "ج", "د", "هـ", "و", "ز", "ح", "ط", "ي")


def options_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of a row with ArabicMMLU's columns, of which a question has two to five."""
    return tuple(str(text) for n in range(1, 6) if (text := document.get(f"Option {n}")))


def having(*columns: str) -> Callable[[Dataset], Dataset]:
    """Return what a YAML names as process_docs: it refuses rows without these columns.

    A split without rows has no columns either: a local copy may have no examples of a subject.
    """

    def same(dataset: Dataset) -> Dataset:
        there = dataset.column_names
        if dataset.num_rows and (absent := [column for column in columns if column not in there]):
            raise OtherSchemaError(absent, there)
        return dataset

    return same
