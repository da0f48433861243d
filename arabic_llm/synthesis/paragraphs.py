"""Paragraphs of an article that may be asked about: prose of the right length, the others with a reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from arabic_llm.config.synthesize_task import ParagraphsConfig
from arabic_llm.synthesis import sentences
from arabic_llm.synthesis.articles import Article
from arabic_llm.text import normalize
from arabic_llm.text.measures import letters, repetition

_HEADING = re.compile(r"(?m)^\s*(=+)\s*(.+?)\s*\1\s*$")
_WITHOUT_PROSE = {  # sections that name things, as matching reads their headings
    normalize.normalize(heading, "matching")
    for heading in (
        *("مراجع", "المراجع", "المصادر", "مصادر", "هوامش", "الهوامش", "ملاحظات", "وصلات خارجية"),
        *("روابط خارجية", "انظر أيضا", "اقرأ أيضا", "معرض صور", "فهرس المراجع", "مؤلفاته", "أفلامه"),
        *("References", "External links", "See also", "Notes", "Gallery", "Bibliography"),
    )
}
_ITEM = re.compile(r"\s*(?:[*•▪●–—-]|\d{1,3}[.)]|\(?[\u0660-\u0669]{1,3}[.)-])\s+\S")
_CELL = re.compile(r"\||\t|(?:\S {3,}\S.*){2}")
_ENDS = re.compile(r"[.!?؟…:؛][\"»”)\]]*\s*$")
_NOISE = re.compile(r"\[\d{1,3}\]|\{\{|\}\}|<[a-z/][^>]{0,80}>")
_VERBLESS = 4  # words; a line of fewer names something


@dataclass(frozen=True)
class Paragraph:
    """Some prose of an article; `id` is the article's with a number."""

    id: str
    text: str
    title: str
    url: str
    revision: str
    license: str

    def as_dict(self) -> dict[str, Any]:
        """Return the paragraph as JSON holds it."""
        return asdict(self)


def split(article: Article, settings: ParagraphsConfig) -> Iterator[tuple[Paragraph, str | None]]:
    """Yield each paragraph of an article, and why it is not asked about (None: it is)."""
    for number, (text, is_prose) in enumerate(_blocks(article.text), 1):
        pieces = _cut(text, settings.max_chars) if is_prose else [text]
        for part, piece in enumerate(pieces, 1):
            name = f"{article.id}#{number}" + (f".{part}" if len(pieces) > 1 else "")
            told = (article.title, article.url, article.revision, article.license)
            yield (
                Paragraph(name, piece, *told),
                reason_to_drop(piece, settings) if is_prose else "section without prose",
            )


def reason_to_drop(text: str, settings: ParagraphsConfig) -> str | None:
    """Return why a paragraph is not asked about, or None."""
    if _HEADING.fullmatch(text):
        return "heading"
    if is_list(text):
        return "list"
    if is_table(text):
        return "table"
    if len(text) < settings.min_chars:
        return "paragraph too short"
    if len(text) > settings.max_chars:
        return "sentence longer than a paragraph"
    return None if score(text) >= settings.min_score else "paragraph is hardly prose"


def is_list(text: str) -> bool:
    """Return whether most lines of a text are items."""
    lines = [line for line in text.split("\n") if line.strip()]
    items = sum(bool(_ITEM.match(line)) for line in lines)
    names = sum(len(line.split()) < _VERBLESS and not _ENDS.search(line) for line in lines)
    return (len(lines) > 1 and 2 * max(items, names) > len(lines)) or len(lines) == items == 1


def is_table(text: str) -> bool:
    """Return whether most lines of a text are rows of cells."""
    lines = [line for line in text.split("\n") if line.strip()]
    return 2 * sum(len(_CELL.findall(line)) > 1 or line.lstrip().startswith("{|") for line in lines) > len(
        lines
    )


def score(text: str) -> float:
    """Return how much a text is prose, from 0 to 1: a product of shares, each 1 for prose.

    Letters among its characters; one script among its letters; sentences that end; words that differ; no
    marks of a page's source.
    """
    found, shown = letters(text), max(1, sum(not c.isspace() for c in text))
    of_letters = min(1.0, found.total / shown / 0.7)  # digits and marks have the rest in prose too
    one_script = min(1.0, max(found.arabic, found.latin) / max(1, found.total) / 0.8)
    ending = 1.0 if _ENDS.search(text) else 0.7
    varied = min(1.0, 2 * (1 - repetition(text)))
    clean = max(0.0, 1 - 40 * len(_NOISE.findall(text)) / shown)
    return of_letters * one_script * ending * varied * clean


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the paragraphs of a text, and whether their section is one of prose."""
    is_prose = True
    lines = text.replace("\r\n", "\n").split("\n")
    block: list[str] = []
    for line in [*lines, ""]:
        heading = _HEADING.fullmatch(line)
        is_part = bool(line.strip()) and heading is None and (_is_of_block(line) or not block)
        if block and (not is_part or not _is_of_block(block[-1])):
            yield "\n".join(block).strip(), is_prose
            block = []
        if heading:
            is_prose = normalize.normalize(heading[2], "matching") not in _WITHOUT_PROSE
            yield line.strip(), True
        elif line.strip():
            block.append(line)


def _is_of_block(line: str) -> bool:
    """Return whether a line is part of a list or a table, which is looked at as a whole."""
    return bool(_ITEM.match(line) or _CELL.search(line))


def _cut(text: str, most: int) -> list[str]:
    """Return a paragraph in parts of at most so many characters, cut between its sentences."""
    if len(text) <= most:
        return [text]
    parts = [""]
    for sentence in sentences.split(text):
        if parts[-1] and len(parts[-1]) + len(sentence.rstrip()) > most:
            parts.append("")
        parts[-1] += sentence
    return [part.strip() for part in parts]
