"""What the YAML files beside this one call: documents of ARCD and BAREC, scores of written answers."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from arabic_llm.analysis.scorers import SCORERS
from arabic_llm.evaluation.choices import having

barec = having("Sentence", "Readability_Level_19")


def plain_answers(dataset: Dataset) -> Dataset:
    """Return SQuAD's documents with the texts of their answers in one list."""
    return dataset.map(lambda doc: {"texts": doc["answers"]["text"]})


def score_extracted(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return every score of an answer, against the wanted text nearest to it (1606.05250, 6.1)."""
    return {
        name: max(scorer(results[0], text) for text in doc["texts"]) for name, scorer in SCORERS.items()
    }


def score_written(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return ROUGE-L and chrF of an answer of many words: no other answer would be the same."""
    return {name: SCORERS[name](results[0], doc["answer"]) for name in ("rouge_l", "chrf")}
