"""The rows a model trains on as it sees them, right to left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from arabic_llm.reports.html import render
from arabic_llm.reports.spoken import say


@dataclass(frozen=True)
class ShownRun:
    """Tokens of one kind as text: supervised or not, control tokens of the template or words."""

    text: str
    is_supervised: bool
    is_control: bool


@dataclass(frozen=True)
class ShownRow:
    """A training row as the reader sees it."""

    id: str
    runs: Sequence[ShownRun]
    num_tokens: int
    num_supervised: int

    @property
    def lines(self) -> list[list[ShownRun]]:
        """Return the runs line by line: each line has a direction of its own."""
        lines: list[list[ShownRun]] = [[]]
        for run in self.runs:
            first, *rest = (replace(run, text=text) for text in run.text.split("\n"))
            lines[-1].append(first)
            lines += [[part] for part in rest]
        return [line for line in lines if any(run.text for run in line)]


@dataclass(frozen=True)
class LeftOut:
    """A row that no model sees, and why."""

    id: str
    reason: str


def title(data: str, model: str) -> str:
    """Return what the page is called."""
    return say("{data} as {model} sees it", data=data, model=model)


def page(title: str, rows: Sequence[ShownRow], left_out: Sequence[LeftOut], notes: Sequence[str]) -> str:
    """Return training rows as HTML, the supervised runs coloured, above them those that are left out."""
    return render("inspection.html.jinja", title=title, rows=rows, left_out=left_out, notes=notes)
