"""HTML made of the files of templates/; what is not marked as HTML is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Return a page."""
    return _ENVIRONMENT.get_template(template).render(**values)


def part(template: str, **values: Any) -> Markup:
    """Return a part of a page, which a page takes as it is."""
    return Markup(render(template, **values))  # noqa: S704 (the template escapes)
