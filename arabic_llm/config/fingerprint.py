"""What tells two configurations or results apart: plain values, their hash, and where they differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from arabic_llm.config.paths import PACKAGE


def plain(value: Any) -> Any:
    """Return the value with enums as their names, so that JSON and YAML can hold it."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def fingerprint(value: Any) -> str:
    """Return 16 hex digits of SHA-256 over the canonical JSON of plain values."""
    text = json.dumps(plain(value), ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def library_version(name: str) -> str | None:
    """Return the version of a package that is installed; None: it is not, as our own in a bare checkout."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def code_hash(names: Iterable[str], package: Path = PACKAGE) -> str:
    """Return a hash of the bytes of some modules of the package; of a folder, of all in it.

    Templates and YAML of a folder are code as well. Raises FileNotFoundError for a name that is none.
    """
    found = [
        file
        for path in (package / name for name in names)
        for file in (sorted(p for p in path.rglob("*") if p.suffix != ".pyc") if path.is_dir() else [path])
        if not file.is_dir()
    ]
    return fingerprint(
        {
            file.relative_to(package).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in found
        }
    )


def differences(first: Any, second: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (full key, first value, second value) wherever two plain values differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted({*first, *second}):
            full = f"{key}.{name}" if key else name
            yield from differences(first.get(name), second.get(name), full)
    elif first != second:
        yield key, first, second
