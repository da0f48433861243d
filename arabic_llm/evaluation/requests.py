"""What lm-eval's requests are called, and what of their prompts did not fit into the model."""

from __future__ import annotations

from typing import Any


def named(request: Any) -> str:
    """Return what a request asks: its task and its item."""
    return f"{getattr(request, 'task_name', None)}, item {getattr(request, 'doc_id', None)}"


class Lost:
    """Tokens that prompts lost at their beginning, by what lm-eval asks: (prompt, answer or settings)."""

    def __init__(self) -> None:
        """Begin with prompts that are whole."""
        self._tokens: dict[tuple[str, str], int] = {}

    def note(self, said: Any, tokens: int) -> None:
        """Note how many tokens more than fit a prompt had; none where that is not above 0."""
        if tokens > 0:
            self._tokens[_key(said)] = tokens

    def of(self, asked: Any) -> int:
        """Return the most that any of an item's prompts lost."""
        return max((self._tokens.get(_key(said), 0) for said in asked), default=0)


def _key(said: Any) -> tuple[str, str]:
    return str(said[0]), str(said[1])
