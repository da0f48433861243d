"""Arabic IFEval's four scores of an answer: strict and loose, of the whole prompt and by instruction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from datasets import Dataset

from arabic_llm.errors import DataError
from arabic_llm.evaluation import instructions
from arabic_llm.evaluation.choices import having

_rows = having("prompt", "instruction_id_list", "kwargs")


def known(dataset: Dataset) -> Dataset:
    """Return the prompts. Raises DataError for an instruction that nothing checks."""
    _rows(dataset)
    for number, (ids, kwargs) in enumerate(
        zip(dataset["instruction_id_list"], dataset["kwargs"], strict=True)
    ):
        given = _arguments(kwargs)
        if unknown := [name for name in ids if name not in instructions.CHECKS]:
            there = ", ".join(instructions.CHECKS)
            raise DataError(f"ifeval_ar: item {number}: unknown instruction '{unknown[0]}'; known: {there}")
        if len(given) != len(ids):
            raise DataError(f"ifeval_ar: item {number}: {len(ids)} instructions and {len(given)} kwargs")
        for name, own in zip(ids, given, strict=True):
            instructions.follows("x", name, own)  # what it lacks, it says now
    return dataset


def followed(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return the shares of the instructions that an answer follows, and whether it follows all.

    Loose is the best of the answer as it is and without its first line, its last, and asterisks (lm-eval).
    """
    ids, given = doc["instruction_id_list"], _arguments(doc["kwargs"])
    readings = list(_readings(results[0]))
    pairs = list(zip(ids, given, strict=True))
    strict = [instructions.follows(results[0], name, own) for name, own in pairs]
    loose = [any(instructions.follows(each, name, own) for each in readings) for name, own in pairs]
    return {
        "prompt_strict": float(all(strict)),
        "prompt_loose": float(all(loose)),
        "instruction_strict": sum(strict) / len(strict),
        "instruction_loose": sum(loose) / len(loose),
    }


def _readings(answer: str) -> Iterator[str]:
    lines = answer.split("\n")
    for part in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = "\n".join(part).strip() if part is not lines else answer
        yield text
        yield text.replace("*", "")


def _arguments(kwargs: Any) -> list[dict[str, Any]]:
    """Return the arguments of each instruction, without those that are not set."""
    try:
        given = json.loads(kwargs) if isinstance(kwargs, str) else kwargs
        return [{key: value for key, value in own.items() if value not in (None, [], "")} for own in given]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"ifeval_ar: kwargs {str(kwargs)[:60]!r} is no list of arguments") from error
