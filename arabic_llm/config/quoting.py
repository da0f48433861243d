"""What was typed as it is, quoted for Hydra: Arabic anywhere, brackets in paths and names of columns."""

from __future__ import annotations

import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

_FOREIGN = re.compile(r"[^\x00-\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURE = re.compile(r"[\w/.:%@+-]*", re.ASCII)  # what Hydra reads as it stands
_CHOICE = re.compile(r"choice\((.*)\)")
_GROUPS = ("model", "data", "adapter", "hw", "suite", "task")
_NUMBER = re.compile(r"[\d.]+")
_HOME = re.compile(r"((?<=[=,\[])|(?<=[,:] ))~(?=/)")  # a shell leaves it as it is behind an equals sign
_A_TEXT = re.compile(r"(^|\.)(path|dir|columns\.\w+|run|base|tuned)$")  # keys of a path or a column


def quoted(argument: str, *, is_sweep: bool) -> str:
    """Return an override whose value Hydra reads as the text that it is; others as they were typed.

    A ~ before a path is the folder of who types, as everywhere else. Of a list, a map, a choice and the
    values of a sweep, each text is quoted.
    """
    argument = _HOME.sub(lambda _: str(Path.home()), argument)
    key, equals, value = argument.partition("=")
    if not equals or key.startswith("-") or value.startswith(('"', "'")) or _CONTROL.search(value):
        return argument
    if key in _GROUPS and _NUMBER.fullmatch(value):  # Hydra wants a name there, and says so of no key
        return f"{key}={_in_quotes(value)}"
    if _FOREIGN.search(value):
        return f"{key}={_each(value, is_sweep=is_sweep)}"
    if _A_TEXT.search(key) and not _SURE.fullmatch(value) and not _is_read(argument):
        return f"{key}={_in_quotes(value)}"
    return argument


def plain(override: str) -> str:
    """Return an override without the quotes that `quoted` would put back, as a person types it."""
    key, _, value = override.partition("=")
    bare = f"{key}={value[1:-1]}"
    return bare if value[:1] == '"' and quoted(bare, is_sweep=False) == override else override


def _each(value: str, *, is_sweep: bool) -> str:
    """Return a value with each of its foreign texts in quotes; what parts them depends on what it is."""
    parting = "," if is_sweep else ""
    if value.startswith(("[", "{")):
        parting = "[]{},:" if "{" in value else "[],"
    elif choice := _CHOICE.fullmatch(value):  # Hydra loses the quotes within it
        value, parting = choice[1], ","
    if not parting:
        return _in_quotes(value)
    signs = re.escape(parting)
    pieces = re.findall(rf"\"[^\"]*\"|'[^']*'|[{signs}]|[^{signs}]+", value)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    text = piece.strip(" ")
    if not _FOREIGN.search(text) or text.startswith(('"', "'")):
        return piece
    before, _, after = piece.partition(text)
    return f"{before}{_in_quotes(text)}{after}"


def _in_quotes(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()


def _is_read(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True
