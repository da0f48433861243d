"""What a benchmark's document asks, and in which of its columns that stands: the one place that knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The columns of the benchmarks that we know, ours and lm-eval's. Of those a document has, the first counts.
TEXT = (
    *("question", "Question", "opening", "tweet", "text", "query", "premise", "goal", "ctx"),
    *("question_text", "Sentence", "prompt"),  # NativeQA, BAREC, QIMMA
)
CONTEXT = ("context", "Context", "passage", "flores_passage", "article", "support")
_SUBJECT = ("subject", "Subject", "domain")
_OPTIONS = (
    tuple(f"Option {number}" for number in range(1, 6)),  # ArabicMMLU
    tuple(f"mc_answer{number}" for number in range(1, 5)),  # Belebele
    tuple("ABCD"),  # EXAMS, C-Eval, CMMLU
    tuple(f"sol{number}" for number in range(1, 6)),  # AlGhafa
)
LEVELS = {  # ArabicMMLU's, as the hub's subset names spell them
    "Primary": "Primary School",
    "Middle": "Middle School",
    "High": "High School",
    "Univ": "University",
    "Prof": "Professional",
}


@dataclass(frozen=True)
class Question:
    """One question of a benchmark; what it does not say is empty."""

    text: str
    context: str = ""  # the paragraph that is asked about
    subject: str = ""  # of school
    level: str = ""  # of school, or the grade that a text is read in
    options: tuple[str, ...] = ()  # the words behind the letters

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Question:
        """Return what a document asks."""
        return cls(
            text=str(_first(document, TEXT)),
            context=str(_first(document, CONTEXT) or ""),
            subject=str(next(filter(None, map(document.get, _SUBJECT)), "")),
            level=_level(document),
            options=_options(document),
        )


def _first(document: Mapping[str, Any], columns: tuple[str, ...]) -> Any:
    return next((document[name] for name in columns if name in document), "")


def _level(document: Mapping[str, Any]) -> str:
    if "grade" in document:  # DARES
        return f"Grade {document['grade']:02}"
    if "Readability_Level_19" in document:  # BAREC
        return f"Level {int(document['Readability_Level_19']):02}"
    level = str(document.get("Level") or "")
    return LEVELS.get(level, level)


def _options(document: Mapping[str, Any]) -> tuple[str, ...]:
    for names in _OPTIONS:
        if found := tuple(str(document[name]) for name in names if document.get(name)):
            return found
    given = document.get("options")
    return tuple(map(str, given if isinstance(given, list) else document.get("choices", ())))
