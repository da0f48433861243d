"""A JSON file read from its beginning to its end, of which no more is held than the value being read."""

from __future__ import annotations

from json import JSONDecodeError
from pathlib import Path
from typing import Any

from arabic_llm.data.reading import json_values
from arabic_llm.data.reading.json_values import MOST_VALUES, decode, holds_too_many, may_hold_too_many, skip
from arabic_llm.data.reading.lines import texts
from arabic_llm.errors import DataError

_LONGEST = 2**25  # characters of a row; each takes four bytes where one of them is rare
_PIECE = 2**20  # characters that are read at least; a longer value is tried again with twice as many
_LONGEST_NUMBER = 32  # characters before the end of what is read, where a number may go on
_FEWEST_LETTERS = 64  # a value, of a table that is one value: then its texts take more room than they


class Stream:
    """What was read of a file and is not used yet; `at` is where in its `text` the next thing stands."""

    def __init__(self, path: Path) -> None:
        """Read the beginning."""
        self.text, self.at = "", 0
        self.is_suspect = False  # the value that came last must be looked at
        self._path, self._pieces = path, texts(path)
        self._is_whole = self._is_dense = False
        self._line, self._counted = 1, 0  # the line at a position
        self._more()

    @property
    def place(self) -> str:
        """Return the file and the line of what comes next."""
        self._count()
        return f"{self._path}:{self._line}"

    def _count(self) -> None:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at

    def has_more(self) -> bool:
        """Go over white space; return whether something comes behind it."""
        self.at = skip(self.text, self.at)
        while self.at == len(self.text) and not self._is_whole:
            self._more()
            self.at = skip(self.text, self.at)
        return self.at < len(self.text)

    def takes(self, sign: str) -> bool:
        """Go over white space, and over a sign if it comes next; return whether it does."""
        came = self.has_more() and self.text.startswith(sign, self.at)
        self.at += len(sign) * came
        return came

    def expect(self, sign: str) -> None:
        """Go over white space and a sign. Raises DataError where another one comes next."""
        if not self.takes(sign):
            raise DataError(f"{self.place}: broken JSON: expected '{sign}'; mend it")

    def value(self, flaws: list[str], *, is_table: bool = False) -> Any:
        """Return the value that comes next; what JSON forbids in it goes to `flaws`.

        A table may be as long as its file, and have as many values as its length allows.
        Raises DataError for what is no value, and for one that is too long or has too many values in it.
        """
        decoder = json_values.strict_decoder(flaws)
        self.has_more()
        while True:
            flaws.clear()
            self._refuse_too_many(is_table=is_table)
            try:
                value, end = decode(decoder, self.text, self.at)
                if self._is_whole or end + _LONGEST_NUMBER < len(self.text):
                    self.is_suspect = json_values.is_suspect(self.text, self.at, end)
                    self.at = end
                    return value
            except JSONDecodeError as error:
                if self._is_whole:
                    self.at = error.pos
                    raise DataError(
                        f"{self.place}: broken JSON: {json_values.said_of(error)}; mend it"
                    ) from error
            if len(self.text) - self.at > _LONGEST and not is_table:
                raise DataError(
                    f"{self.place}: broken JSON: the value that begins here is longer than"
                    f" {_LONGEST >> 20} Mi characters, or does not end; mend it"
                )
            self._more()

    def _refuse_too_many(self, *, is_table: bool) -> None:
        most = MOST_VALUES + is_table * len(self.text) // _FEWEST_LETTERS
        if self._is_dense and holds_too_many(self.text, self.at, most):
            cure = "write it as JSON Lines" if is_table else "take it out"
            raise DataError(f"{self.place}: more than {most:,} values in one; {cure}")

    def _more(self) -> None:
        """Forget what was used, and read as much again as is left."""
        self._count()
        parts = [self.text[self.at :]]
        self.text = ""  # which may be half of the memory that is taken here
        left = max(len(parts[0]), _PIECE)
        while left > 0 and not self._is_whole:
            piece = next(self._pieces, None)
            if piece is None:
                self._is_whole = True
            else:
                parts.append(piece)
                left -= len(piece)
        self.text, self.at, self._counted = "".join(parts), 0, 0
        self._is_dense = may_hold_too_many(self.text)
