"""Local copies of benchmarks, in the shape that lm-eval's own tasks expect of the hub's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.schema import SuiteConfig
from arabic_llm.data import readers
from arabic_llm.data.readers import Broken
from arabic_llm.errors import DataError

Splits = dict[str, list[dict[str, Any]]]  # split -> documents

_LEVELS = {  # as the hub's subset names spell them
    "Primary": "Primary School",
    "Middle": "Middle School",
    "High": "High School",
    "Univ": "University",
    "Prof": "Professional",
}


def arabicmmlu(path: Path) -> dict[str, Splits]:
    """Return subset name -> splits of a CSV with ArabicMMLU's own columns; few-shot rows are `dev`."""
    subsets: dict[str, Splits] = defaultdict(lambda: {"test": [], "dev": []})
    for values in _records(path):
        level = _LEVELS.get(values["Level"])
        name = f"{values['Subject']} ({level})" if level else values["Subject"]
        subsets[name]["dev" if values["is_few_shot"] == "1" else "test"].append(values)
    return {name: splits for name, splits in subsets.items() if splits["test"]}


def exams(path: Path) -> dict[str, Splits]:
    """Return subset name -> splits of a folder with exam_test.jsonl and exam_dev.jsonl (EXAMS, Arabic).

    The subject stands in the id: "Islamic Studies-71" is of the subset IslamicStudies.
    """
    subsets: dict[str, Splits] = defaultdict(lambda: {"test": [], "dev": []})
    for split in ("test", "dev"):
        for values in _records(path / f"exam_{split}.jsonl"):
            subject = values["id"].rpartition("-")[0]
            subsets[subject.replace(" ", "")][split].append(values | {"subject": subject})
    return dict(subsets)


def acva(path: Path) -> dict[str, Splits]:
    """Return subset name -> splits of a folder with acva_test.jsonl and acva_dev.jsonl (AceGPT's ACVA).

    The topic stands in the id: "Arabic Wedding-3" is of the subset Arabic_Wedding. Yes and no are the
    true and false of the leaderboard's copy.
    """
    words = {"نعم": "صح", "لا": "خطأ"}
    subsets: dict[str, Splits] = defaultdict(lambda: {"test": [], "validation": []})
    for split, file in (("test", "acva_test.jsonl"), ("validation", "acva_dev.jsonl")):
        for values in _records(path / file):
            topic = values["id"].rpartition("-")[0]
            document = values | {"answer": words[values["answer"]], "subject": topic}
            subsets[topic.replace(" ", "_")][split].append(document)
    return dict(subsets)


def ceval(path: Path) -> dict[str, Splits]:
    """Return subject -> splits of C-Eval's folder: val/<subject>_val.csv, dev/<subject>_dev.csv."""
    subsets: dict[str, Splits] = {}
    for file in sorted((path / "val").glob("*_val.csv")):
        subject = file.stem.removesuffix("_val")
        files_of = {"val": file, "dev": path / "dev" / f"{subject}_dev.csv"}
        subsets[subject] = {
            split: [values | {"subject": subject} for values in _records(source)]
            for split, source in files_of.items()
        }
    return subsets


READERS: dict[str, Callable[[Path], dict[str, Splits]]] = {
    "acva": acva,
    "arabicmmlu": arabicmmlu,
    "ceval": ceval,
    "exams": exams,
}


def copies_hash(suite: SuiteConfig, data_root: Path) -> str | None:
    """Return a hash of the suite's local copies, or None where it has none here."""
    paths = [data_root / task.path for task in suite.tasks.values() if task.path is not None]
    copies = [
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()))
    ]
    return fingerprint([files.sha256(path) for path in copies]) if copies else None


def as_datasets(splits: Splits) -> dict[str, Dataset]:
    """Return the splits as lm-eval takes them."""
    return {name: Dataset.from_list(documents) for name, documents in splits.items()}


def question_of(document: dict[str, Any]) -> str:
    """Return what a benchmark's document asks: in every benchmark we read it stands in one of three."""
    for key in ("question", "Question", "opening"):
        if key in document:
            return str(document[key])
    return ""


def subject_of(document: dict[str, Any]) -> str:
    """Return the school subject of a benchmark's document, or nothing."""
    return str(document.get("subject") or document.get("Subject") or "")


def _records(path: Path) -> list[dict[str, Any]]:
    records = []
    for record in readers.read(path):
        if isinstance(record, Broken):
            raise DataError(f"{record.place}: {record.reason}")
        records.append(record.values)
    return records
