"""A page of made rows that a person reads, right to left, each with its paragraph, to keep or to drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arabic_llm.reports import html


def page(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return the page. Its marks stay in the browser until they are saved as a file for task.marks."""
    return html.render("review.html.jinja", name=name, rows=rows)
