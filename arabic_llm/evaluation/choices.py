"""Choices as Arabic benchmarks label them: letters in the order of the abjad, and options that may be empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LETTERS = ("أ", "ب", "ج", "د", "هـ", "و", "ز", "ح", "ط", "ي")


def options_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of a row with ArabicMMLU's columns, of which a question has two to five."""
    return tuple(str(text) for n in range(1, 6) if (text := document.get(f"Option {n}")))
