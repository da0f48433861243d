"""What a model replied, read strictly: one JSON object of questions and answers, or why it is none."""

from __future__ import annotations

import json
import re
from typing import Any

from arabic_llm.synthesis.exchanges import TURNS, Exchange
from arabic_llm.text import refusals
from arabic_llm.text.measures import letters

_FENCED = re.compile(
    r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL
)  # the whole reply, as Markdown shows code
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
    found = []
    for item in given:
        if not isinstance(item, dict) or item.keys() != {"question", "answer"}:
            raise MalformedError("reply with other keys")
        question, answer = item["question"], item["answer"]
        if not isinstance(question, str) or not isinstance(answer, str):
            raise MalformedError("question or answer is no text")
        if not question.strip() or not answer.strip():
            raise MalformedError("empty question or answer")
        found.append(Exchange(question.strip(), answer.strip(), made_by))
    said = letters(" ".join(f"{one.question} {one.answer}" for one in found))
    if said.of(_SCRIPT[language]) < _LEAST * said.total:
        raise MalformedError("reply in another language")
    return found


def json_object(reply: str) -> dict[str, Any]:
    """Return the one JSON object that a reply is. Raises MalformedError."""
    text = fenced[1] if (fenced := _FENCED.fullmatch(reply)) else reply
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
