"""Files that are written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_LARGE_BYTES = 2**26  # hashed in a tenth of a second


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open the file under another name; at the end flush it to the disk and rename it: whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes, two names, on two machines as well.
    partial = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:  # Ctrl-C and bugs of ours as well: raised again
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # who writes to an open file is not told its name
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write the file whole or not at all."""
    with writing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write the file in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write the value as JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one JSON value a line, whole or not at all."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def read_json(path: Path) -> Any:
    """Return what write_json wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_json_lines(path: Path) -> list[Any]:
    """Return what write_json_lines wrote."""
    # Not splitlines(): it also splits at U+0085, U+2028 and U+2029, which stand in texts.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path, cache_dir: Path) -> str:
    """Return the hex SHA-256 of a file; a large one is read again only when its size or date has changed.

    The hub's cache names large files by their SHA-256: those are not read at all.
    """
    real, state = path.resolve(), path.stat()
    if re.fullmatch(r"[0-9a-f]{64}", real.name):
        return real.name
    if state.st_size < _LARGE_BYTES:
        return sha256(path)
    memory = cache_dir / "file_hashes.json"
    known: dict[str, str] = read_json(memory) if memory.exists() else {}
    key = f"{real}:{state.st_size}:{state.st_mtime_ns}"
    if key not in known:
        known[key] = sha256(path)
        write_json(memory, known)
    return known[key]


def sync(folder: Path) -> None:
    """Flush a file, or every file of a folder and the folder itself, to the disk."""
    for path in (*(p for p in folder.rglob("*") if p.is_file()), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


SEAL = "SEALED.json"  # the last file of a whole folder: names and hashes of all others


def seal(folder: Path) -> None:
    """Write the folder's last file once every other one is on the disk; until then it is not whole."""
    sync(folder)
    hashes = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    write_json(folder / SEAL, hashes)


def is_whole(folder: Path) -> bool:
    """Return whether a folder was sealed and every file still is what it was."""
    seal_path = folder / SEAL
    if not seal_path.is_file():
        return False
    hashes: dict[str, str] = read_json(seal_path)
    return all(
        (folder / name).is_file() and sha256(folder / name) == digest for name, digest in hashes.items()
    )
