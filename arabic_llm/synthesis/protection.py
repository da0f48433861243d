"""What a translator must not touch: code, formulas, addresses, numbers; hidden, checked, put back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from arabic_llm.text.numbers import to_european

# The order decides: code may hold an address, an address a number.
_PROTECTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`"
    r"|\$\$.+?\$\$|\$(?=\S)[^$\n]{1,200}(?<=\S)\$(?!\d)|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|(?:(?:https?|ftp)://|www\.)(?:\([^\s()<>]*\)|[^\s<>\"'()\]،؛؟])*(?:\([^\s()<>]*\)|[^\s<>\"'()\].,;:!?،؛؟])"
    r"|(?<![\w/.])(?:~|\.{1,2})?/(?:[\w.+-]+/)+[\w.+-]*\w|\b[A-Za-z]:\\[\w\\.+-]*\w"  # paths
    r"|\\[A-Za-z]+(?:\{[^{}\n]*\})*|\b\w+\^\{?-?\w+\}?"  # \frac{a}{b}, mc^2
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\{\{[^{}\n]{1,60}\}\}|\{[^{}\n]{0,60}\}|<[/!]?\w[^<>\n]{0,80}>|%\(\w+\)[sd]|%[sd](?![\w])|\[[A-Z_]{2,}\]"
    r"|\b(?=[A-Za-z]*\d)(?:[A-Z][a-z]?\d*)+\b",  # H2O, CO2, C6H12O6
    re.DOTALL,
)
_NUMBER = re.compile(r"(?<![\w])\d+(?:[.,:/]\d+)*%?(?!\w)")
_SIGN = "[{}]"  # what stands for a part: translators copy it more often than other signs
_HIDDEN = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True)
class Shielded:
    """A sentence with signs for its protected parts, and the parts; one with such signs has none."""

    text: str
    parts: tuple[str, ...]


def shield(text: str) -> Shielded:
    """Return a text in which signs stand for what must not be touched."""
    taken = _HIDDEN.search(text) is not None
    parts: list[str] = []

    def hide(found: re.Match[str]) -> str:
        parts.append(found[0])
        return _SIGN.format(len(parts) - 1)

    hidden = text if taken else _PROTECTED.sub(hide, text)
    return Shielded(hidden, tuple(parts))


def restored(translated: str, shielded: Shielded) -> str | None:
    """Return a translation with its parts, or None where one was lost, said twice, or a number changed."""
    signs = Counter(int(found) for found in _HIDDEN.findall(translated))
    if shielded.parts and signs != Counter(range(len(shielded.parts))):
        return None
    if numbers(_HIDDEN.sub(" ", shielded.text)) != numbers(_HIDDEN.sub(" ", translated)):
        return None
    if not shielded.parts:
        return translated
    return _HIDDEN.sub(lambda found: shielded.parts[int(found[1])], translated)


def numbers(text: str) -> Counter[str]:
    """Return the numbers of a text, in European digits."""
    return Counter(found.replace("،", ",") for found in _NUMBER.findall(to_european(text)))


def pieces(text: str) -> list[tuple[str, bool]]:
    """Return a text in pieces, each with whether it is to be translated: nothing protected is.

    What a translator loses when it sees the whole sentence cannot be lost so.
    """
    found: list[tuple[str, bool]] = []
    place = 0
    both = re.compile(f"{_PROTECTED.pattern}|{_NUMBER.pattern}", re.DOTALL)
    for match in both.finditer(text):
        found += [(text[place : match.start()], True), (match[0], False)]
        place = match.end()
    found.append((text[place:], True))
    return [(piece, is_said and any(map(str.isalpha, piece))) for piece, is_said in found if piece]


def whole(cut: Sequence[str]) -> list[str]:
    """Return pieces of a text, joined where a cut went through something protected."""
    spans = [match.span() for match in _PROTECTED.finditer("".join(cut))]
    found: list[str] = []
    place = 0
    for piece in cut:
        if any(start < place < end for start, end in spans):
            found[-1] += piece
        else:
            found.append(piece)
        place += len(piece)
    return found


def is_kept(before: str, after: str) -> bool:
    """Return whether a translation holds every protected part and every number of what was translated."""
    parts = Counter(_PROTECTED.findall(before))
    known = all(after.count(part) >= count for part, count in parts.items())
    return known and not numbers(before) - numbers(after)


def joined(translated: Sequence[str], before: Sequence[tuple[str, bool]]) -> str:
    """Return translated pieces as one sentence, with the white space that each had."""
    out: list[str] = []
    for said, (piece, _) in zip(translated, before, strict=True):
        left = piece[: len(piece) - len(piece.lstrip())]
        right = piece[len(piece.rstrip()) :]
        whole_piece = f"{left}{said.strip()}{right}"
        if out and out[-1][-1:].isalnum() and whole_piece[:1].isalnum():  # a sign between them was lost
            whole_piece = f" {whole_piece}"
        out.append(whole_piece)
    return "".join(out)
