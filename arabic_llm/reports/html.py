"""HTML made of the files of templates/, in the language that is spoken; what is not HTML is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from arabic_llm.reports import reasons, spoken


def _apart(value: object) -> object:
    """Return what a template interpolates; among Arabic words with a direction of its own."""
    return value if isinstance(value, Markup) else spoken.isolated(value)


_TONES = {
    **dict.fromkeys(("better", "fewer", "became right"), "better"),
    **dict.fromkeys(("worse", "more", "forgotten", "became wrong"), "worse"),
    "within noise": "within",
}
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_apart,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _say(text: str, **values: object) -> Markup:
    """Return a text of a template, which is HTML; its values are not."""
    return Markup(spoken.say(text, **_escaped(values)))  # noqa: S704 (values are escaped)


def _named(text: str) -> Markup:
    """Return a name that may be broken into lines behind its underscores."""
    return escape(spoken.isolated(text)).replace("_", Markup("_<wbr>"))


def _count(number: int, one: str, several: str, **values: object) -> Markup:
    return Markup(spoken.count(number, one, several, **_escaped(values)))  # noqa: S704 (values are escaped)


def _tone(said: str, other: str = "within") -> Markup:
    """Return the class of a cell by the verdict that it says."""
    return Markup(next((tone for word, tone in _TONES.items() if said == spoken.term(word)), other))  # noqa: S704


def _escaped(values: dict[str, object]) -> dict[str, object]:
    return {name: escape(value) if isinstance(value, str) else value for name, value in values.items()}


_ENVIRONMENT.globals.update(
    say=_say,
    count=_count,
    named=_named,
    term=spoken.term,
    reason=reasons.reason,
    tone=_tone,
    listed=spoken.listed,
    is_arabic=spoken.is_arabic,
)


def render(template: str, **values: Any) -> str:
    """Return a page."""
    return _ENVIRONMENT.get_template(template).render(**values)


def part(template: str, **values: Any) -> Markup:
    """Return a part of a page, which a page takes as it is."""
    return Markup(render(template, **values))  # noqa: S704 (the template escapes)
