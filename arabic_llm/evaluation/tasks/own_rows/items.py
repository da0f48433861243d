"""What the YAML beside this one calls: scores of an answer to a row of the user's own."""

from __future__ import annotations

from typing import Any

from arabic_llm.analysis.scorers import SCORERS


def score(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return every score of an answer, of few words or of many."""
    return {name: scorer(results[0], doc["answer"]) for name, scorer in SCORERS.items()}
