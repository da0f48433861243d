"""How lighteval 0.13 asks the columns of the Open Arabic LLM Leaderboard v2: its strings, to the letter.

Source: lighteval/tasks/multilingual/tasks/arabic.py (MIT). The YAML files beside this one name them.
"""

from __future__ import annotations

from typing import Any

from arabic_llm.evaluation.choices import LETTERS, having, options_of

_CHOOSE = "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة:\n\n"
_CHOOSE_OF_THREE = "السؤال التالي هو سؤال متعدد الإختيارات. اختر الإجابة الصحيحة: أ، ب أو ج. \n\n"
_CHOOSE_BY_CONTEXT = "بناءً على السياق أدناه، اختر الإجابة الصحيحة للسؤال التالي من قائمة الأجوبة:\n\n"
_CHOSEN = "الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح"
_BY_CONTEXTS = "بناءً على السياقات المقترحة التالية، اجب عن السؤال التالي"
_ANSWER = "الإجابة:"
Doc = dict[str, Any]

_MMLU = ("Question", "Option 1", "Option 2", "Answer Key")
arabicmmlu_rows, madinah_rows = having(*_MMLU), having(*_MMLU, "Context")
exams_rows = having("question", *"ABCD", "answer", "subject")
aratrust_rows = having("Question", *"ABC", "Answer")
mmlu_ht_rows = having("question", "choices", "answer")
alghafa_rows = having("query", "sol1", "sol2", "label")
alrage_rows = having("question", "candidates", "gold_answer")


def arabicmmlu(doc: Doc) -> str:
    """Return the question with its options behind letters; the context is not shown, as there."""
    return f"{_CHOOSE}{doc['Question']}\n{_lettered(options_of(doc))}{_ANSWER}"


def madinah(doc: Doc) -> str:
    """Return the question after its context, with its options behind letters."""
    asked = f"\nالسياق:\n{doc['Context']}\nالسؤال:\n{doc['Question']}\n"
    return f"{_CHOOSE_BY_CONTEXT}{asked}{_lettered(options_of(doc))}{_ANSWER}"


def letters(doc: Doc) -> list[str]:
    """Return the letters of the options that a row has: of two to five."""
    return list(LETTERS[: len(options_of(doc))])


def letter_position(doc: Doc) -> int:
    """Return where the right one stands among the options that are there."""
    there = [letter for n, letter in enumerate("ABCDE", 1) if doc.get(f"Option {n}")]
    return there.index(doc["Answer Key"])


def exams(doc: Doc) -> str:
    """Return the question under its subject, each option with an empty line behind it, as there."""
    options = "\n".join(f" {letter}) {doc[key]}\n" for letter, key in zip(LETTERS, "ABCD", strict=False))
    about = f"{_CHOSEN} حول {doc['subject'].replace('_', ' ')}. \n\n"
    return f"{about}السؤال: {doc['question']}\n{options}\n{_ANSWER}"


def aratrust(doc: Doc) -> str:
    """Return the question with its three options; their letters stand in their texts."""
    return f"{_CHOOSE_OF_THREE}{doc['Question']}\n{doc['A']}\n{doc['B']}\n{doc['C']}\n{_ANSWER}"


def mmlu_ht(doc: Doc) -> str:
    """Return the question with its options numbered from 1."""
    numbered = "".join(f"{number}. {choice}\n" for number, choice in enumerate(doc["choices"], 1))
    return f"{_CHOOSE}{doc['question']}\n{numbered}{_ANSWER}"


def alghafa(doc: Doc) -> str:
    """Return the question with its options numbered from 0."""
    numbered = "".join(f"{number}) {choice}\n" for number, choice in enumerate(_solutions(doc)))
    return f"{_CHOSEN}\n\nالسؤال: {doc['query']}\n{numbered}{_ANSWER}"


def alghafa_digits(doc: Doc) -> list[str]:
    """Return the digits of its options."""
    return [str(number) for number in range(len(_solutions(doc)))]


def alrage(doc: Doc) -> str:
    """Return the question before the passages that may answer it."""
    given = doc["candidates"]
    passages = given if isinstance(given, list) else str(given).split("\n")
    listed = ", ".join(str(passage).strip() for passage in passages if str(passage or "").strip())
    return f"{_BY_CONTEXTS}\n\nالسؤال:\n{doc['question']}\n\nالسياقات المقترحة:\n{listed}\n"


def unjudged(doc: Doc, results: list[str]) -> dict[str, float]:
    """Raise: what is written here is scored by judge.endpoint, which takes the place of this."""
    raise NotImplementedError("ALRAGE has no score but a judge's (judge.endpoint)")


def _lettered(options: tuple[str, ...]) -> str:
    return "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, options, strict=False))


def _solutions(doc: Doc) -> list[str]:
    return [doc[key] for key in (f"sol{number}" for number in range(1, 6)) if doc.get(key) is not None]
