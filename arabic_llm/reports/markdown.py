"""Tables and foreign words in Markdown: what a name or a place holds never becomes markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from arabic_llm.data.reading.records import shown
from arabic_llm.reports import spoken

_LONGEST = 300  # characters of a name, a list of files, or the place of a row
# What GitHub and the hub act on inside a line; an underscore between letters does nothing there.
_ACTIVE = re.compile(r"[\\`*\[\]<>|~$&]|(?<!\w)_|_(?!\w)")


def escaped(foreign: object) -> str:
    """Return foreign words as they are to be read: on one line, nothing invisible, nothing that formats."""
    text = " ".join(str(foreign).split())
    parts = re.split(f"([{spoken.ISOLATES}])", text) if spoken.is_arabic() else [text]  # isolates are ours
    return "".join(
        part if part and part in spoken.ISOLATES else _ACTIVE.sub(r"\\\g<0>", shown(part, _LONGEST))
        for part in parts
    )


def right_to_left(text: str) -> str:
    """Return Markdown, in Arabic from right to left."""
    return f'<div dir="rtl">\n\n{text}\n</div>\n' if spoken.is_arabic() else text


def percent(share: float) -> str:
    """Return a share of 1 in percent; only nothing is 0.0%, and only all is 100.0%."""
    if 0 < share < 0.0005:  # noqa: PLR2004
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{100 * share:.1f}%"  # noqa: PLR2004


def code(text: str, language: str) -> str:
    """Return a block of code; no run of backticks in it ends it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = ()) -> str:
    """Return a table; the columns of these indices stand on the right. Cells are taken as Markdown."""
    right = set(numeric)
    marks = ("---:" if i in right else "---" for i in range(len(header)))
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(marks) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
