"""Training rows of benchmarks as instructions, by templates in Arabic, several a benchmark."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arabic_llm.config.synthesize_task import KnownBenchmark

Values = dict[str, Any]
_LETTERS = ("أ", "ب", "ج", "د", "هـ", "و")
_STEPS = re.compile(r"<<[^<>]*>>")  # GSM8K's calculator marks
_FINAL = re.compile(r"\s*####\s*(\S.*?)\s*\Z")


class NoItemError(Exception):
    """Why a record of a benchmark becomes no row."""


@dataclass(frozen=True)
class BenchmarkItem:
    """A training row of a benchmark: parts in its language, which templates put together."""

    parts: dict[str, str]  # question, passage, ...: those are translated
    choices: tuple[str, ...] = ()
    right: int = 0  # of the choices


@dataclass(frozen=True)
class Templates:
    """How a benchmark is read, what marks it, and in which words it is asked."""

    read: Callable[[Values], BenchmarkItem]
    seen: tuple[str, ...]  # words in the names of the tasks that ask its test
    asked: tuple[str, ...]
    answered: str


def seen_in_training(benchmark: KnownBenchmark) -> list[str]:
    """Return the tasks of suites whose training rows a benchmark's are."""
    return list(_OF[benchmark].seen)


def read(benchmark: KnownBenchmark, values: Values) -> BenchmarkItem:
    """Return the item of a record, as the benchmark is published. Raises NoItemError."""
    return _OF[benchmark].read(values)


def exchange(benchmark: KnownBenchmark, item: BenchmarkItem, name: str, seed: int) -> tuple[str, str]:
    """Return question and answer of an item, in a phrasing drawn by the name of its row."""
    templates = _OF[benchmark]
    digest = hashlib.sha256(f"phrasing/{seed}/{name}".encode()).digest()
    asked = templates.asked[int.from_bytes(digest[:4]) % len(templates.asked)]
    known = dict(item.parts)
    if item.choices:
        letters = _LETTERS[: len(item.choices)]
        lines = zip(letters, item.choices, strict=True)
        known["choices"] = "\n".join(f"{letter}) {choice}" for letter, choice in lines)
        known["letter"], known["right"] = letters[item.right], item.choices[item.right]
    return _filled(asked, known), _filled(templates.answered, known)


def _filled(template: str, known: dict[str, str]) -> str:
    """Return a template with its names filled in once: braces in a question stay what they are."""
    return re.sub(r"\{(\w+)\}", lambda name: known[name[1]], template).strip()


def _text(values: Values, *names: str) -> str:
    for name in names:
        if isinstance(said := values.get(name), str) and said.strip():
            return said.strip()
    raise NoItemError(f"no '{names[0]}'")


def _chosen(choices: Sequence[Any], right: Any) -> tuple[tuple[str, ...], int]:
    texts = tuple(said.strip() for said in choices if isinstance(said, str) and said.strip())
    if len(texts) != len(choices) or not 1 < len(texts) <= len(_LETTERS):
        raise NoItemError("choices that are none")
    if not isinstance(right, int) or isinstance(right, bool) or not 0 <= right < len(texts):
        raise NoItemError("no right choice")
    return texts, right


def _number(values: Values, name: str) -> int:
    said = values.get(name)
    if isinstance(said, str) and said.strip().isdecimal():
        return int(said)
    if not isinstance(said, int) or isinstance(said, bool):
        raise NoItemError(f"no '{name}'")
    return said


def _boolq(values: Values) -> BenchmarkItem:
    answer = values.get("answer", values.get("label"))
    if answer not in (True, False, 0, 1):
        raise NoItemError("no 'answer'")
    parts = {"passage": _text(values, "passage"), "question": _text(values, "question")}
    return BenchmarkItem(parts, ("لا", "نعم"), int(answer))


def _race(values: Values) -> BenchmarkItem:
    letter = _text(values, "answer").upper()
    options = values.get("options")
    if not isinstance(options, list) or letter not in "ABCD":
        raise NoItemError("no 'options' or 'answer'")
    return BenchmarkItem(
        {"passage": _text(values, "article"), "question": _text(values, "question")},
        *_chosen(options, "ABCD".index(letter)),
    )


def _copa(values: Values) -> BenchmarkItem:
    choices = [values.get("choice1"), values.get("choice2")]
    asked = {"cause": "ما سبب ذلك؟", "effect": "ماذا كانت النتيجة؟"}.get(_text(values, "question"))
    if asked is None:
        raise NoItemError("'question' is neither cause nor effect")
    return BenchmarkItem(
        {"premise": _text(values, "premise"), "kind": asked}, *_chosen(choices, _number(values, "label"))
    )


def _hellaswag(values: Values) -> BenchmarkItem:
    endings = values.get("endings")
    if not isinstance(endings, list):
        raise NoItemError("no 'endings'")
    return BenchmarkItem({"context": _text(values, "ctx")}, *_chosen(endings, _number(values, "label")))


def _sciq(values: Values) -> BenchmarkItem:
    right = _text(values, "correct_answer")
    choices = [right, *(_text(values, f"distractor{number}") for number in range(1, 4))]
    place = int.from_bytes(hashlib.sha256("\0".join(choices).encode()).digest()[:2]) % len(choices)
    choices[0], choices[place] = choices[place], choices[0]  # the right one is the first in the file
    return BenchmarkItem({"question": _text(values, "question")}, *_chosen(choices, place))


def _arc(values: Values) -> BenchmarkItem:
    given = values.get("choices")
    if not isinstance(given, dict):
        raise NoItemError("no 'choices'")
    labels, key = given.get("label"), values.get("answerKey")
    if not isinstance(labels, list) or key not in labels:
        raise NoItemError("no right choice")
    return BenchmarkItem(
        {"question": _text(values, "question")}, *_chosen(given.get("text") or [], labels.index(key))
    )


def _piqa(values: Values) -> BenchmarkItem:
    choices = [values.get("sol1"), values.get("sol2")]
    return BenchmarkItem({"goal": _text(values, "goal")}, *_chosen(choices, _number(values, "label")))


def _gsm8k(values: Values) -> BenchmarkItem:
    solution = _STEPS.sub("", _text(values, "answer"))
    final = _FINAL.search(solution)
    if final is None:
        raise NoItemError("no final answer (####)")
    steps = solution[: final.start()].strip()
    return BenchmarkItem({"question": _text(values, "question"), "steps": steps, "result": final[1]})


_CHOICE = "الإجابة الصحيحة هي ({letter}): {right}."
_CHOICES = (
    "{question}\n\nاختر الإجابة الصحيحة:\n{choices}",
    "أجب عن السؤال الآتي باختيار حرف الإجابة الصحيحة.\n{question}\n{choices}",
    "سؤال: {question}\nالخيارات:\n{choices}\nما الخيار الصحيح؟",
)
_READING = (
    "اقرأ النص ثم أجب عن السؤال.\n\n{passage}\n\nالسؤال: {question}\n{choices}",
    "{passage}\n\nاعتمادا على ما سبق: {question}\n{choices}",
    "النص:\n{passage}\n\n{question}\nاختر مما يأتي:\n{choices}",
)
_OF: dict[KnownBenchmark, Templates] = {
    KnownBenchmark.boolq: Templates(
        _boolq,
        ("boolq",),
        (
            "اقرأ النص ثم أجب بنعم أو لا.\n\n{passage}\n\nالسؤال: {question}",
            "{passage}\n\nبناء على ذلك، هل الجواب نعم أم لا؟ {question}",
            "هذا نص وسؤال عنه، جوابه نعم أو لا.\nالنص: {passage}\nالسؤال: {question}",
        ),
        "{right}.",
    ),
    KnownBenchmark.race: Templates(_race, ("race",), _READING, _CHOICE),
    KnownBenchmark.copa: Templates(
        _copa,
        ("copa",),
        (
            "{premise}\n{kind}\n{choices}",
            "حدث ما يأتي: {premise}\n{kind} اختر الأرجح:\n{choices}",
            "الموقف: {premise}\nالسؤال: {kind}\nالخياران:\n{choices}",
        ),
        _CHOICE,
    ),
    KnownBenchmark.hellaswag: Templates(
        _hellaswag,
        ("hellaswag",),
        (
            "ما أنسب تتمة لما يأتي؟\n{context}\n\n{choices}",
            "أكمل النص بالخيار الأنسب.\nالنص: {context}\nالخيارات:\n{choices}",
            "{context}\n\nماذا يحدث بعد ذلك على الأرجح؟\n{choices}",
        ),
        _CHOICE,
    ),
    KnownBenchmark.sciq: Templates(_sciq, ("sciq",), _CHOICES, _CHOICE),
    KnownBenchmark.arc_easy: Templates(_arc, ("arc_easy",), _CHOICES, _CHOICE),
    KnownBenchmark.arc_challenge: Templates(_arc, ("arc_challenge",), _CHOICES, _CHOICE),
    KnownBenchmark.piqa: Templates(
        _piqa,
        ("piqa",),
        (
            "كيف أفعل ما يأتي؟ {goal}\nاختر الطريقة الأصح:\n{choices}",
            "الهدف: {goal}\nأي الطريقتين تحققه؟\n{choices}",
            "أريد أن أحقق هذا: {goal}\nأيهما أفضل؟\n{choices}",
        ),
        _CHOICE,
    ),
    KnownBenchmark.gsm8k: Templates(
        _gsm8k,
        ("gsm8k", "mgsm"),
        (
            "حل المسألة الآتية خطوة بخطوة.\n{question}",
            "{question}\nاشرح خطوات الحل، ثم اذكر الجواب.",
            "مسألة: {question}\nما الجواب؟ بين كيف وصلت إليه.",
        ),
        "{steps}\nالجواب: {result}",
    ),
}
