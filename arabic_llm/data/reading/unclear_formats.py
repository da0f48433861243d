"""What is said of columns that tell no format, or several: what is there, and the settings that choose."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from arabic_llm.config.data import ColumnsConfig
from arabic_llm.data.reading.column_names import KEYS, spelling
from arabic_llm.data.reading.records import Record, listed, shown

KINDS = (
    "Alpaca, ShareGPT, messages, prompt and completion, preference pairs, rated answers, raw text, labelled"
    " text"
)
_CHOOSING = ("messages", "prompt", "response", "rejected", "text")  # they tell one format from another
_TABLES = (".csv", ".tsv", ".xlsx")
_SIDES = 2  # of a question with its answer
_VIEW = 200  # characters of a row that an error shows


def unknown(first: Record, there: Sequence[str], given: ColumnsConfig) -> str:
    """Return the error of rows that fit no format."""
    missing = [key for key in ("prompt", "response") if getattr(given, key) is None]
    cure = " ".join(f"data.columns.{key}=<column>" for key in missing)
    if not (given.messages or given.prompt or given.response or given.rejected):
        cure += " (or data.columns.messages, or data.columns.text)"
    guess = "" if len(missing) < _SIDES else _perhaps(first)
    if first.place.rpartition(":")[0].lower().endswith(_TABLES):
        guess += "; if these are a row and no names, write a line of names above it (question,answer)"
    return (
        f"{first.place}: fits none of {KINDS}; there are: {listed(there)}."
        f" Set {cure}{guess}; the row is {_view(first)}"
    )


def _perhaps(record: Record) -> str:
    """Return the cure with names in it, where a row has two texts: by words of their names, by order."""
    texts = [str(name) for name, value in record.values.items() if isinstance(value, str) and value.strip()]
    if len(texts) < _SIDES:
        return ""
    asked = next((name for name in texts if _has_word_of("prompt", name)), None)
    answer = next((name for name in texts if name != asked and _has_word_of("response", name)), None)
    left = [name for name in texts if name not in (asked, answer)]
    chosen = {"prompt": asked or left.pop(0), "response": answer or left.pop(0)}
    typed = [shlex.quote(f"data.columns.{key}={shown(name)}") for key, name in chosen.items()]
    return f", perhaps {' '.join(typed)}"


def _has_word_of(role: str, name: str) -> bool:
    return any(spelling(word) in KEYS[role] for word in name.replace("_", " ").split())


def ambiguous(record: Record, names: Sequence[str], candidates: Sequence[ColumnsConfig]) -> str:
    """Return the error of a row that fits several formats, of these names."""
    return (
        f"{record.place}: fits {' and '.join(names)}; there are: {listed(record.values)}."
        f" Set {' or '.join(_cures(candidates))}; the row is {_view(record)}"
    )


def mixed(first: Record, other: Record, names: Sequence[str], candidates: Sequence[ColumnsConfig]) -> str:
    """Return the error of two rows that fit different formats, of these names."""
    columns = dict.fromkeys(str(column) for record in (first, other) for column in record.values)
    return (
        f"{other.place}: fits {names[1]}, but {first.place} fits {names[0]}; there are:"
        f" {listed(columns)}. Make two files of it, or set"
        f" {' or '.join(_cures(candidates))}; the first row is {_view(first)}"
    )


def _cures(candidates: Sequence[ColumnsConfig]) -> list[str]:
    """Return, for each candidate, the settings that choose it and no other."""
    cures = []
    for candidate in candidates:
        chosen = {key: column for key in _CHOOSING if (column := getattr(candidate, key))}
        others = [other for other in candidates if other != candidate]
        own = [key for key, column in chosen.items() if all(getattr(o, key) != column for o in others)]
        keys = own[:1] or list(chosen)
        cures.append(" ".join(f"data.columns.{key}={shown(chosen[key])}" for key in keys))
    return cures


def _view(record: Record) -> str:
    """Return the beginning of a row, on one line."""
    text = json.dumps(record.values, ensure_ascii=False, default=str)
    return shown(text, _VIEW)
