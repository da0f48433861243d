"""Answers on the terminal as they come: Arabic from right to left where it can, else plain text."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from typing import TextIO

_RIGHT_TO_LEFT, _ENDS = "\u2067", "\u2069"  # RLI, PDI: what stands between them begins at the right
_BIDI_VTE = 5800  # VTE_VERSION of the first GNOME terminals that order what is written (0.58)


def orders_arabic(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal is known to order Arabic itself: others would show the marks."""
    vte = environment.get("VTE_VERSION", "")
    return (
        (vte.isdecimal() and int(vte) >= _BIDI_VTE)
        or "KONSOLE_VERSION" in environment
        or environment.get("TERM", "").startswith("mlterm")
        or environment.get("TERM_PROGRAM") == "Apple_Terminal"
    )


class Screen:
    """Writes pieces of an answer; on a terminal without what would steer it, and with marks if wanted."""

    def __init__(self, stream: TextIO, *, has_marks: bool | None = None) -> None:
        """Take where answers go; marks are written to a terminal that orders Arabic."""
        self._stream = stream
        self.is_terminal = stream.isatty()
        self._has_marks = self.is_terminal and (orders_arabic() if has_marks is None else has_marks)
        self._waiting = ""  # the beginning of a line whose direction is not known yet
        self._is_begun, self._is_marked = False, False

    def hear(self, piece: str) -> None:
        """Write a piece of an answer."""
        if not self.is_terminal:
            self._write(piece)
            return
        shown = "".join(c if c in "\n\t" or c.isprintable() or _is_format(c) else "\ufffd" for c in piece)
        if not self._has_marks:
            self._write(shown)
            return
        for at, line in enumerate(shown.split("\n")):
            if at:
                self._end_line()
                self._write("\n")
            self._direct(line)

    def end(self) -> None:
        """End an answer, whole or not."""
        self._end_line()
        self._write("\n")

    def say(self, text: str) -> None:
        """Write what is no answer."""
        self._write(text)

    def _direct(self, text: str) -> None:
        """Write a part of a line, behind a mark where its first letter is of a script from the right."""
        if self._is_begun:
            self._write(text)
            return
        self._waiting += text
        kinds = map(unicodedata.bidirectional, self._waiting)
        if (first := next((kind for kind in kinds if kind in ("L", "R", "AL")), None)) is None:
            return
        self._is_begun, self._is_marked = True, first != "L"
        waiting, self._waiting = self._waiting, ""
        self._write(f"{_RIGHT_TO_LEFT if self._is_marked else ''}{waiting}")

    def _end_line(self) -> None:
        waiting, self._waiting = self._waiting, ""
        self._write(f"{waiting}{_ENDS if self._is_marked else ''}")
        self._is_begun, self._is_marked = False, False

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


def _is_format(character: str) -> bool:
    """Return whether it joins or parts letters, and is no embedding that nothing would end."""
    return character in "\u200c\u200d\u200e\u200f\u061c"
