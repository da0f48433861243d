"""What a model replied, read strictly: one JSON object of questions and answers, or why it is none."""

from __future__ import annotations

import json
import re
from typing import Any

from arabic_llm.synthesis import quality
from arabic_llm.synthesis.exchanges import TURNS, Exchange
from arabic_llm.text import refusals
from arabic_llm.text.measures import letters

_FENCED = re.compile(
    r"\s*```(?:json)?\s*\n(.*?)\s*```\s*", re.DOTALL
)  # the whole reply, as Markdown's code
_NO_TEXT = re.compile(
    "[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)  # halves of letters, signs of terminals
_SCRIPT = {"ar": "arabic", "en": "latin"}
_LEAST = 0.5  # of the letters: names and terms may be in others

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "exchanges",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "exchanges": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
                        "required": ["question", "answer"],
                        "additionalProperties": False,
                    },
                }
            },
            "required": ["exchanges"],
            "additionalProperties": False,
        },
    },
}


class MalformedError(Exception):
    """Why a reply is none; asked again, a model may do better."""


def exchanges(reply: str, kind: str, language: str, made_by: str) -> list[Exchange]:
    """Return the questions and answers of a reply. Raises MalformedError."""
    given = json_object(reply).get("exchanges")
    if not isinstance(given, list) or not given:
        raise MalformedError("reply without exchanges")
    if kind == "long" and len(given) != TURNS:
        raise MalformedError(f"conversation of other than {TURNS} turns")
    found = [_exchange(item, made_by) for item in given]
    told = " ".join(f"{one.question} {one.answer}" for one in found)
    said = letters(told)
    is_persian = language == "ar" and quality.is_persian_or_urdu(told)
    if is_persian or said.of(_SCRIPT[language]) < _LEAST * said.total:
        raise MalformedError("reply in another language")
    return found


def _exchange(item: Any, made_by: str) -> Exchange:
    """Return a question and its answer. Raises MalformedError."""
    if not isinstance(item, dict) or item.keys() != {"question", "answer"}:
        raise MalformedError("reply with other keys")
    question, answer = item["question"], item["answer"]
    if not isinstance(question, str) or not isinstance(answer, str):
        raise MalformedError("question or answer is no text")
    if not question.strip() or not answer.strip():
        raise MalformedError("empty question or answer")
    if _NO_TEXT.search(question + answer):
        raise MalformedError("characters that are no text")
    return Exchange(question.strip(), answer.strip(), made_by)


def json_object(reply: str) -> dict[str, Any]:
    """Return the one JSON object that a reply is. Raises MalformedError."""
    text = reply.removeprefix("\ufeff")
    text = fenced[1] if (fenced := _FENCED.fullmatch(text)) else text
    try:
        found = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        why = "model refused" if refusals.refuses(reply) else "reply is no JSON"
        raise MalformedError(why) from None
    if not isinstance(found, dict):
        raise MalformedError("reply is no JSON object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)
