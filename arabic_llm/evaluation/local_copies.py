"""Local copies of benchmarks, in the shape that lm-eval's own tasks expect of the hub's."""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import SuiteConfig, SuiteTask
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import locate, readers
from arabic_llm.data.reading.csv_files import read_tsv
from arabic_llm.data.reading.records import Broken, Record
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.evaluation.question import LEVELS

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)
_PAIR = 2  # one question, one answer
_LETTERS = ("A", "B", "C", "D")
_CELLS_OF_MMLU = 1 + len(_LETTERS) + 1
_OF_CMMLU = ("Question", "A", "B", "C", "D", "Answer")
Splits = dict[str, list[dict[str, Any]]]  # split -> documents


def arabicmmlu(path: Path) -> dict[str, Splits]:
    """Return subset name -> splits of a CSV with ArabicMMLU's own columns; few-shot rows are `dev`."""
    subsets: dict[str, Splits] = defaultdict(lambda: {"test": [], "dev": []})
    for values in _records(path):
        level = LEVELS.get(values["Level"])
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


def cmmlu(path: Path) -> dict[str, Splits]:
    """Return subject -> splits of CMMLU's folder: test/<subject>.csv, dev/<subject>.csv.

    As cmmlu_v1_0_1.zip has them; the first column numbers the rows and has no name.
    """
    return {
        file.stem: {
            split: [
                {column: values[column] for column in _OF_CMMLU} | {"subject": file.stem}
                for values in _records(path / split / file.name)
            ]
            for split in ("test", "dev")
        }
        for file in sorted((path / "test").glob("*.csv"))
    }


def mmlu(path: Path) -> dict[str, Splits]:
    """Return subject -> splits of MMLU's folder: test/<subject>_test.csv, dev/<subject>_dev.csv.

    As Hendrycks' data.tar has them: no header, a row is the question, four choices and a letter.
    """
    return {
        subject: {
            split: [_of_mmlu(row, subject) for row in _cells(path / split / f"{subject}_{split}.csv")]
            for split in ("test", "dev")
        }
        for subject in sorted(
            file.stem.removesuffix("_test") for file in (path / "test").glob("*_test.csv")
        )
    }


def exams_whole(path: Path) -> dict[str, Splits]:
    """Return EXAMS as the leaderboard has it: one subset, with the dev rows as validation."""
    subsets = exams(path)
    rows = {
        split: [row for splits in subsets.values() for row in splits[split]] for split in ("test", "dev")
    }
    return {"default": {"test": rows["test"], "validation": rows["dev"]}}


def gsm8k(path: Path) -> dict[str, Splits]:
    """Return GSM8K's one subset from a folder with train.jsonl and test.jsonl."""
    return {"main": {split: _records(path / f"{split}.jsonl") for split in ("train", "test")}}


def arcd(path: Path) -> dict[str, Splits]:
    """Return ARCD's one subset from a folder with arcd-train.json and arcd-test.json (SQuAD v1.1)."""
    return {
        "plain_text": {
            split: [document for article in _articles(path / file) for document in _questions(article)]
            for split, file in (("train", "arcd-train.json"), ("validation", "arcd-test.json"))
        }
    }


def arsarcasm(path: Path) -> dict[str, Splits]:
    """Return ArSarcasm-v2 from a folder with training_data.csv and testing_data.csv."""
    files_of = {"train": "training_data.csv", "test": "testing_data.csv"}
    return {"ArSarcasm-v2": {split: _records(path / file) for split, file in files_of.items()}}


def dares(path: Path) -> dict[str, Splits]:
    """Return DARES 2.0 from a folder with its test and validation .csv: their cells end with tabs."""
    splits = {}
    for split in ("test", "validation"):
        rows = _values(read_tsv(path / f"DARES2.0_{split}.csv"))
        splits[split] = [
            {"text": row["Text"], "grade": int(row["Fine-grained"].removeprefix("G"))}
            | {"subject": row["Arabic_Filename"]}
            for row in rows
        ]
    return {"DARES": splits}


def held_out(settings: SuiteTask, data_root: Path) -> dict[str, Splits]:
    """Return questions and answers that a data set holds out: the same rows that training never sees.

    Raises DataError, which says where the data set may be put and what fetches it.
    """
    if settings.data is None:
        raise DataError("a suite's task without data holds nothing out")
    data = settings.data
    rows = sources.load(data, data_root, settings.seed).test
    if not rows:
        raise DataError(
            f"data={data.name} holds out no test rows; raise data.test_share or name data.test_files"
        )
    pairs = [row.messages for row in rows if len(row.messages) == _PAIR]
    if not pairs:
        raise DataError(
            f"data={data.name}: none of its {len(rows):,} test rows is a question with an answer"
        )
    if others := len(rows) - len(pairs):
        log.warning(
            "data=%s: %s of %s test rows are not asked: they are no single question with its answer",
            *(data.name, f"{others:,}", f"{len(rows):,}"),
        )
    return {"held_out": {"test": [{"question": q.content, "answer": a.content} for q, a in pairs]}}


READERS: dict[str, Callable[[Path], dict[str, Splits]]] = {
    "acva": acva,
    "arabicmmlu": arabicmmlu,
    "arcd": arcd,
    "arsarcasm": arsarcasm,
    "ceval": ceval,
    "cmmlu": cmmlu,
    "dares": dares,
    "exams": exams,
    "exams_whole": exams_whole,
    "gsm8k": gsm8k,
    "mmlu": mmlu,
}


def read(reader: str, path: Path) -> dict[str, Splits]:
    """Return a local copy as its reader finds it. Raises DataError where it is not as it was published."""
    if reader not in READERS:
        raise ConfigError(f"suite.tasks: there is no reader '{reader}'; there are: {', '.join(READERS)}")
    try:
        subsets = READERS[reader](path)
    except (KeyError, ValueError, TypeError, OSError) as error:  # a reader takes a copy as it was published
        said = f"no '{error.args[0]}'" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} is not what reader={reader} reads: {said}") from error
    if not any(splits.get("test", splits) for splits in subsets.values()):
        raise DataError(f"{path} holds nothing that reader={reader} reads")
    return subsets


def copies_hash(suite: SuiteConfig, data_root: Path) -> str | None:
    """Return a hash of the suite's local copies, or None where it has none here."""
    tasks = suite.tasks.values()
    paths = [data_root / task.path for task in tasks if task.path is not None]
    paths += [locate.candidates(task.data, data_root)[-1] for task in tasks if task.data is not None]
    copies = [
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()))
    ]
    return fingerprint([files.sha256(path) for path in copies]) if copies else None


def as_datasets(splits: Splits) -> dict[str, Dataset]:
    """Return the splits as lm-eval takes them."""
    from datasets import Dataset  # which takes longer to import than to hash a small file

    return {name: Dataset.from_list(documents) for name, documents in splits.items()}


def _cells(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a table without a header. Raises ValueError naming the line that is no row."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            yield from rows
        except csv.Error as error:
            raise ValueError(f"{path.name}:{rows.line_num}: {error}") from error


def _of_mmlu(row: list[str], subject: str) -> dict[str, Any]:
    if len(row) != _CELLS_OF_MMLU or row[-1] not in _LETTERS:
        raise ValueError(f"{subject}: no question, four choices and a letter in {','.join(row):.60}")
    question, *choices, letter = row
    return {
        "question": question,
        "subject": subject,
        "choices": choices,
        "answer": _LETTERS.index(letter),
    }


def _articles(path: Path) -> list[dict[str, Any]]:
    (whole,) = _records(path)
    articles: list[dict[str, Any]] = whole["data"]
    return articles


def _questions(article: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the questions of an article, each with its paragraph, as the hub's copy has them."""
    for paragraph in article["paragraphs"]:
        for question in paragraph["qas"]:
            texts = [answer["text"] for answer in question["answers"]]
            starts = [answer["answer_start"] for answer in question["answers"]]
            yield {
                "id": str(question["id"]),
                "title": article["title"],
                "context": paragraph["context"],
                "question": question["question"],
                "answers": {"text": texts, "answer_start": starts},
            }


def _records(path: Path) -> list[dict[str, Any]]:
    return _values(readers.read(path))


def _values(found: Iterable[Record | Broken]) -> list[dict[str, Any]]:
    records = []
    for record in found:
        if isinstance(record, Broken):
            raise DataError(f"{record.place}: {record.reason}")
        records.append(record.values)
    return records
