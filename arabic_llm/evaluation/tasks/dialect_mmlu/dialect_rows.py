"""The questions of Dialectal-Arabic-MMLU by variety, all in the same order: they pair by position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets import Dataset

from arabic_llm.errors import DataError
from arabic_llm.evaluation.choices import LETTERS, having

_CODES = {
    "ENG": "english",
    "MSA": "msa",
    "EGY": "egyptian",
    "UAE": "emirati",
    "MAG": "moroccan",
    "KSA": "saudi",
    "SYR": "syrian",
}
_rows = having("domain", "qid", "dialect", "question", "choices", "answer")
_CHOOSE = "السؤال التالي هو سؤال متعدد الاختيارات. اختر الإجابة الصحيحة:\n\n"


def asked(doc: dict[str, Any]) -> str:
    """Return the question with its options behind letters, under one instruction for all varieties."""
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(LETTERS, doc["choices"], strict=False))
    return f"{_CHOOSE}{doc['question']}\n{options}الإجابة:"


def _of(variety: str) -> Callable[[Dataset], Dataset]:
    def own(dataset: Dataset) -> Dataset:
        """Return the rows of a variety by domain and number. Raises DataError for what cannot be paired."""
        _rows(dataset)
        ids: dict[str, list[tuple[str, int]]] = {name: [] for name in _CODES.values()}
        for domain, qid, code in zip(*(dataset[c] for c in ("domain", "qid", "dialect")), strict=True):
            if str(code).upper() not in _CODES:
                known = ", ".join(_CODES)
                raise DataError(f"dialect_mmlu: unknown variety '{code}' in dialect; there are: {known}")
            ids[_CODES[str(code).upper()]].append((str(domain), int(qid)))
        wanted = sorted(ids["msa"])
        if len(set(wanted)) < len(wanted):
            raise DataError("dialect_mmlu: two questions in MSA have one domain and qid")
        if sorted(ids[variety]) != wanted:
            odd = sorted(set(wanted) ^ set(ids[variety])) or wanted
            raise DataError(
                f"dialect_mmlu: {variety} and msa do not have the same questions (domain, qid: {odd[0]});"
                " they cannot be paired"
            )
        rows = dataset.filter(lambda code: _CODES[str(code).upper()] == variety, input_columns="dialect")
        keys = [(str(domain), int(qid)) for domain, qid in zip(rows["domain"], rows["qid"], strict=True)]
        return rows.select(sorted(range(len(keys)), key=keys.__getitem__))

    return own


english, msa, egyptian, emirati, moroccan, saudi, syrian = map(_of, _CODES.values())
