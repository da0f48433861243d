"""A model's folder is the work of others: its files are looked at first, and none of its code is run."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from arabic_llm.errors import CheckpointError

INDEX = "model.safetensors.index.json"
_SETTINGS = (
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", INDEX),
)
_LARGEST_SETTINGS, _LARGEST_FILE = 2**24, 2**28  # bytes: an index has 2**22, tokenizer.json of Gemma 2**25
_MOST_LABELS = 2**20
_PANIC = "PanicException"  # of Rust, a bug met: its module cannot be imported
_LONGEST = 300  # characters of what a library says
_CODE, _KERNEL = "auto_map", "attn_implementation"  # where a config.json names code
# What the libraries raise for files that they cannot use: they have no common error, and check little.
_COMPLAINTS = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(AssertionError, ImportError, RuntimeError, SafetensorError, pickle.UnpicklingError),
)


def check(folder: Path) -> None:
    """Refuse a model's folder whose settings cannot be read, or that would run code.

    Raises CheckpointError naming the file.
    """
    for path in (*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.txt")):
        if not path.is_file():  # to read a pipe would take for ever
            raise CheckpointError(f"{path} is no file; take the file of the model again")
        if path.stat().st_size > _LARGEST_FILE:
            raise CheckpointError(
                f"{path}: {path.stat().st_size:,} bytes; take the file of the model again"
            )
    for name in _SETTINGS:
        if (folder / name).is_file():
            settings = read_object(folder / name)
            _refuse_code(folder / name, settings)
            _refuse_many_labels(folder / name, settings)
    if (folder / INDEX).is_file():
        shards(folder)


def shards(folder: Path) -> list[str]:
    """Return the names of the files that an index of weights speaks of.

    Raises CheckpointError when it names none, or what is no file of the folder.
    """
    index = read_object(folder / INDEX)
    named = index.get("weight_map")
    files = list(named.values()) if isinstance(named, dict) else []
    if not files or not isinstance(index.get("metadata", {}), dict):
        raise CheckpointError(f"{folder / INDEX}: no index of weights; take the file of the model again")
    for name in files:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{folder / INDEX}: '{_line(name)}' is no file of weights of this folder")
    return sorted(set(files))


def read_object(path: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings in a JSON file of others; each name in `needed` is there.

    Raises CheckpointError, which says what is wrong with the file.
    """
    if path.stat().st_size > _LARGEST_SETTINGS:
        raise CheckpointError(f"{path}: {path.stat().st_size:,} bytes are no settings; take it again")
    try:
        value = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_unique, parse_constant=_constant
        )
    except RecursionError as error:
        raise CheckpointError(f"{path}: no JSON (nested too deep); take the file again") from error
    except ValueError as error:  # of JSON, of UTF-8, of a number of too many digits
        raise CheckpointError(f"{path}: no JSON ({_line(error)}); take the file again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: no JSON object, but a {type(value).__name__}; take the file again")
    for name in needed:
        if name not in value:
            raise CheckpointError(f"{path}: no '{name}'; take the file again")
    return value


@contextmanager
def opened(folder: Path, doubt: str = "cannot be used") -> Iterator[None]:
    """Say in one line why a library, and nothing else inside, cannot use a folder.

    Raises CheckpointError. That memory ran out is not the folder's fault, and stays as it is.
    """
    from arabic_llm import hub  # imported with transformers anyway
    from arabic_llm.models.placement import shortage  # imports torch

    try:
        yield
    except (*_COMPLAINTS, hub.StrictSettingsError) as error:
        if shortage(error) is not None:
            raise
        raise CheckpointError(f"{folder} {doubt} ({_said(error)}); take the files again") from error


@contextmanager
def opened_tokenizer(folder: Path) -> Iterator[None]:
    """Say in one line why transformers and tokenizers cannot use a tokenizer. Raises CheckpointError."""
    try:
        yield
    # tokenizers raises Exception itself for all its complaints, and its bugs are no Exception.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise CheckpointError(f"{folder}: no tokenizer ({_said(error)}); take its files again") from error


def _refuse_code(path: Path, settings: dict[str, Any]) -> None:
    """Refuse what names code: a file beside it, one of another repository, a kernel of the hub.

    What names code that is not here, where transformers has a class of its own, is left to that class.
    """
    if (named := settings.get(_CODE)) is not None:
        modules = [str(name).partition(".")[0] for name in _strings(named)]
        there = [name for name in modules if "--" in name or (path.parent / f"{name}.py").exists()]
        if there or not isinstance(named, dict):
            what = f"{there[0]}.py" if there else "code"
            raise CheckpointError(
                f"{path}: auto_map names code of its own ({_line(what)}), and no code of a model is run;"
                " take auto_map out of it if transformers knows this model_type, or take another model"
            )
    for key, value in settings.items():
        if key.endswith(_KERNEL) and any("/" in name for name in _strings(value)):
            raise CheckpointError(
                f"{path}: {key} names code of the hub ({_line(value)}), which is not run; take it out"
            )


def _refuse_many_labels(path: Path, settings: dict[str, Any]) -> None:
    """Refuse a number of classes that transformers would count up to; it may stand in a part of a model."""
    for part in (settings, *(value for value in settings.values() if isinstance(value, dict))):
        number = part.get("num_labels")
        if isinstance(number, int) and number > _MOST_LABELS:
            raise CheckpointError(f"{path}: num_labels is {number}; take the file of the model again")


def _strings(value: Any) -> list[str]:
    """Return the texts in what names code: a text, a list of them, or either by what it is for."""
    if isinstance(value, dict):
        value = list(value.values())
    listed = value if isinstance(value, list) else [value]
    flat = [name for inner in listed for name in (inner if isinstance(inner, list) else [inner])]
    return [name for name in flat if isinstance(name, str)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return values


def _constant(name: str) -> float:
    """Return infinity, which some state space models are configured with; NaN is no setting."""
    if name != "Infinity":
        raise ValueError(f"{name} is no number")
    return math.inf


def _said(error: BaseException) -> str:
    named = isinstance(error, LookupError) or not str(error)
    return _line(f"{type(error).__name__}: {error}" if named else error)


def _line(words: object) -> str:
    """Return foreign words on one line, printable and not too long."""
    text = " ".join(str(words).split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:_LONGEST])
    return f"{line}..." if len(text) > _LONGEST else line
