"""What a backend makes of a paragraph: questions, each with its answer, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TURNS = 3  # of a conversation


@dataclass(frozen=True)
class Exchange:
    """A question, its answer, and the rule or the model that they are from."""

    question: str
    answer: str
    made_by: str


def origin(place: str, made_by: Sequence[str], how: dict[str, Any], **given: str) -> dict[str, Any]:
    """Return where a row is from: its source as far as `given`, who made it, and how."""
    source = {"title": "", "url": "", "revision": "", "license": "", **given}
    return {**source, "paragraph": place, "made_by": list(made_by), **how}


def rows(
    paragraph: dict[str, Any], exchanges: Sequence[Exchange], how: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the rows of a paragraph: each exchange is one, or all of them are one conversation.

    `how` is of the backend: its prompt's hash, its model, its settings.
    """
    source = {key: paragraph[key] for key in ("title", "url", "revision", "license")}
    groups = [exchanges] if paragraph["kind"] == "long" else [[one] for one in exchanges]
    return [
        {
            "id": f"{paragraph['id']}/{number}",
            "exchanges": [[one.question, one.answer] for one in group],
            "paragraph": paragraph["text"],
            "origin": origin(paragraph["id"], sorted({one.made_by for one in group}), how, **source),
        }
        for number, group in enumerate(groups, 1)
    ]
