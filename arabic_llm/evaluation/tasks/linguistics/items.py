"""Questions on the Arabic language and on science whose options have labels of their own."""

from __future__ import annotations

import ast
import re
from typing import Any

from datasets import Dataset

from arabic_llm.errors import DataError
from arabic_llm.evaluation.choices import LETTERS, having

_LABELLED = re.compile(r"^\((.)\)\s*(.*)$", re.DOTALL)
_CHOOSE = "السؤال التالي هو سؤال متعدد الخيارات. اختر الإجابة الصحيحة:\n\n"

aralingbench = having("question", "options", "answer", "label")
_nativeqa = having("question_text", "choices", "correct_choice", "domain")


def nativeqa(dataset: Dataset) -> Dataset:
    """Return NativeQA's rows with `options`, `labels` and `gold`; of a list of "(label) text" or its text.

    Raises DataError for choices that are written otherwise.
    """
    return _nativeqa(dataset).map(_native)


def _native(doc: dict[str, Any]) -> dict[str, Any]:
    given = doc["choices"]
    try:
        raw = ast.literal_eval(given) if isinstance(given, str) else list(given)
        found = [match.groups() for match in (_LABELLED.match(str(choice)) for choice in raw) if match]
        labels = [label.strip() for label, _ in found]
        gold = labels.index(doc["correct_choice"].strip())
    except (SyntaxError, ValueError, TypeError) as error:
        raise DataError(
            f"three_lm: choices {str(given)[:60]!r} with correct_choice {doc['correct_choice']!r}:"
            " not a list of '(letter) text' with that letter"
        ) from error
    if len(found) < len(raw):
        raise DataError(f"three_lm: choices {str(given)[:60]!r}: not each of them is '(letter) text'")
    return {"options": [text.strip() for _, text in found], "labels": labels, "gold": gold}


def asked_nativeqa(doc: dict[str, Any]) -> str:
    """Return the question as the benchmark's own code asks it."""
    options = "".join(f"{a}. {b}\n" for a, b in zip(doc["labels"], doc["options"], strict=True))
    return f"{_CHOOSE}{doc['question_text'].strip()}\n{options}الإجابة:"


def asked_linguistic(doc: dict[str, Any]) -> str:
    """Return AraLingBench's question, after its context where it has one, with lettered options."""
    before = f"السياق: {doc['context']}\n" if doc.get("context") else ""
    options = "".join(f"{a}. {b}\n" for a, b in zip(LETTERS, doc["options"], strict=False))
    return f"{_CHOOSE}{before}{doc['question'].strip()}\n{options}الإجابة:"


def letters(doc: dict[str, Any]) -> list[str]:
    """Return the letters of its options."""
    return list(LETTERS[: len(doc["options"])])


def right_option(doc: dict[str, Any]) -> int:
    """Return where the right answer stands, which is written out. Raises DataError where it does not."""
    options, answer = [str(option).strip() for option in doc["options"]], str(doc["answer"]).strip()
    if answer not in options:
        raise DataError(f"aralingbench: the answer {answer[:60]!r} is none of its options")
    return options.index(answer)
