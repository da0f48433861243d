"""What reports say, in the language they are asked for: English as the code has it, Arabic by ar.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from arabic_llm.config.run import Language
from arabic_llm.errors import DamagedError

CATALOGUE = Path(__file__).with_name("ar.yaml")
_FROM_LEFT, _FROM_RIGHT, _END = "\u2066", "\u2067", "\u2069"
ISOLATES = _FROM_LEFT + _FROM_RIGHT + _END  # between them text has a direction of its own
_NO_ISOLATES = dict.fromkeys(map(ord, ISOLATES))
_ARABIC = re.compile("[\u0620-\u064a\u0671-\u06d3]")
# What is typed reads from the left, whatever it is about: a command, settings, a path, a file and its line.
_TYPED = re.compile(
    r"python |[A-Za-z_][\w.,\[\]]*=|[A-Za-z.~/]\S*/|/"
    r"|[^\n]*\.(?:csv|gz|gguf|html|jsonl?|md|parquet|tsv|txt|xlsx|ya?ml|zst)(?::\d+)?$"
)
_FEW, _MANY = range(3, 11), range(11, 100)  # of a number's last two digits: CLDR's plurals of Arabic
_spoken: ContextVar[Language] = ContextVar("spoken", default=Language.en)


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Say all that is said inside in a language."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def speak(language: Language) -> None:
    """Say in a language whatever is said from now on, until the end of the `speaking` around it."""
    _spoken.set(language)


def is_arabic() -> bool:
    """Return whether Arabic is asked for."""
    return _spoken.get() is Language.ar


def say(text: str, **values: object) -> str:
    """Return a text with its values (`{n:,}`, as str.format has them) in the language that is spoken.

    In Arabic each value stands isolated, so that numbers, names and commands read from left to right.
    """
    if not is_arabic():
        return text.format(**values) if values else text
    return _filled(_translated(text), values)


def count(number: int, one: str, several: str, **values: object) -> str:
    """Return `one` or `several` by a number, which both may name `{n}`; in Arabic one of its six forms."""
    values = {"n": number, **values}
    if not is_arabic():
        return (one if number == 1 else several).format(**values)
    return _filled(_translated(several, plural(number)), values)


def term(word: str) -> str:
    """Return a word of ours that reaches a report as data (a verdict, a kind); other words as they are."""
    known = _catalogue().get(_spaced(word)) if is_arabic() else None
    return known if isinstance(known, str) else word


def marked(*texts: str) -> tuple[str, ...]:
    """Return texts as they are: constants that `term` says later, which the catalogue must know."""
    return texts


def isolated(value: object) -> str:
    """Return a value as text; in Arabic with a direction of its own: numbers and commands from the left.

    Not the first strong letter decides: what stands in another isolate would not count as one.
    """
    text = str(value)
    if not is_arabic() or not text:
        return text
    from_right = _ARABIC.search(text) and not _TYPED.match(text)
    return f"{_FROM_RIGHT if from_right else _FROM_LEFT}{text}{_END}"


def plain(text: str) -> str:
    """Return a text without isolates: for columns of a terminal, LaTeX, CSV."""
    return text.translate(_NO_ISOLATES)


def listed(names: list[str]) -> str:
    """Return names one after the other, between the commas of the language."""
    return ("، " if is_arabic() else ", ").join(map(isolated, names))


def plural(number: int) -> str:
    """Return the form that Arabic counts a number with, as CLDR names it."""
    exact = {0: "zero", 1: "one", 2: "two"}
    if number in exact:
        return exact[number]
    last = number % 100
    return "few" if last in _FEW else "many" if last in _MANY else "other"


class _Isolating(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return isolated(super().format_field(value, format_spec))


def _filled(text: str, values: dict[str, object]) -> str:
    if not values:
        return text
    return (
        _Isolating().vformat(text, (), values).replace(f"{_END}%", f"%{_END}")
    )  # it reads with its number


def _translated(text: str, form: str = "") -> str:
    found = _catalogue().get(_spaced(text))
    if isinstance(found, dict):
        found = found.get(form) or found.get("other")
    if not isinstance(found, str):
        raise DamagedError(f"{CATALOGUE}: nothing is said for '{text}'")
    return found


def _spaced(text: str) -> str:
    """Return a text with its lines joined: a template's are broken anywhere."""
    return re.sub(r"\s+", " ", text)


@cache
def _catalogue() -> dict[str, str | dict[str, str]]:
    """Return English -> Arabic, or its forms by number."""
    loaded = yaml.load(CATALOGUE.read_text(encoding="utf-8"), Loader=_loader())  # noqa: S506 (a safe one)
    return {_spaced(key): value for key, value in loaded.items()}


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
