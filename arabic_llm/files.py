"""Files that are written whole or not at all, what of them is damaged, and their hashes."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from arabic_llm.errors import DamagedError, HardwareError

log = logging.getLogger(__name__)
T = TypeVar("T")
_FORMULA = {*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?%?", re.IGNORECASE)
_PARTIAL = ".partial"
_LARGE_BYTES = 2**26  # hashed in a tenth of a second
HASH = "sha256"  # of a state, among its own keys
_DAMAGED = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EIO)  # where a file was


@contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes from a folder, by a lock beside it. Raises HardwareError where one is at it."""
    lock = folder.with_name(f".{folder.name}.lock")
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HardwareError(f"another process is {doing} {folder}; wait for it") from None
        try:
            yield
        finally:
            lock.unlink()


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Open the file under another name; at the end flush it to the disk and rename it: whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes, two names, on two machines as well.
    partial = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():  # in the place of a file of ours
            set_aside(path)
        partial.replace(path)
    except BaseException as error:  # Ctrl-C and bugs of ours as well: raised again
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # who writes to an open file is not told its name
        raise


def remove_partial(path: Path) -> None:
    """Remove what a killed process had begun to write of a file; nobody else may be writing it."""
    for partial in path.parent.glob(f".{path.name}.*{_PARTIAL}"):
        partial.unlink()


def remove_all_partial(folder: Path) -> None:
    """Remove what killed processes had begun to write anywhere in a folder; nobody else may write there."""
    for partial in folder.rglob(f".*{_PARTIAL}"):
        number = partial.name.removesuffix(_PARTIAL).rpartition(".")[2]
        if number.isdecimal() and partial.is_file() and not partial.is_symlink():
            partial.unlink()


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
    """Return what write_json wrote. Raises DamagedError when it is there and cannot be read."""
    return _parsed(path, read_text(path))


def read_json_lines(path: Path) -> list[Any]:
    """Return what write_json_lines wrote. Raises DamagedError naming the first line that is no JSON."""
    # Not splitlines(): it also splits at U+0085, U+2028 and U+2029, which stand in texts.
    lines = enumerate(read_text(path).split("\n"), 1)
    return [_parsed(path, line, number) for number, line in lines if line]


def read_text(path: Path) -> str:
    """Return what write_text wrote.

    Raises DamagedError for what is no text, no file, or a link to nothing; a file that is not there or
    may not be read is no damage.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path} is damaged: byte {error.start} is no UTF-8") from error
    except OSError as error:
        if error.errno not in _DAMAGED and not path.is_symlink():
            raise
        raise DamagedError(f"{path} is damaged: {error.strerror}") from error


def _parsed(path: Path, text: str, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        place = str(path) if line is None else f"{path}:{line}"
        raise DamagedError(f"{place} is damaged: no JSON ({error})") from error


def write_state(path: Path, value: dict[str, Any]) -> None:
    """Write what the program reads again itself: a JSON object that holds its own hash."""
    value = json.loads(json.dumps(value))  # as it will be read
    write_json(path, value | {HASH: _hash(value)})


def read_state(path: Path, *, is_old_too: bool = False) -> dict[str, Any]:
    """Return what write_state wrote; earlier versions of this program wrote some files without a hash.

    Raises DamagedError when anything in it has changed.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is damaged: no JSON object")
    digest = value.pop(HASH, None)
    if digest != _hash(value) and not (digest is None and is_old_too):
        raise DamagedError(f"{path} is damaged: it does not hold what was written")
    return value


def kept(path: Path, read: Callable[[Path], T], then: str = "it is made again") -> T | None:
    """Return what lies at a place of our own, or None where it is to be made: nothing, or damage.

    What is damaged is said in one line, with what comes of it, and set aside.
    """
    if not os.path.lexists(path):
        return None
    try:
        return read(path)
    except DamagedError as error:
        log.info("%s; %s", error, then)
        set_aside(path)
        return None


def _hash(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def set_aside(path: Path) -> Path:
    """Give a file, folder or link another name beside its own, and return that."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    path.rename(aside)
    log.info("%s was set aside as %s", path, aside.name)
    return aside


def is_in_the_way(path: Path) -> bool:
    """Return whether a folder or a link to nothing lies where a file of ours is to be."""
    return os.path.lexists(path) and not path.is_file()


def spreadsheet_cell(value: Any) -> Any:
    """Return a value as a cell of a CSV file: a text that a spreadsheet would compute begins with '.

    The first signs are OWASP's (CSV injection), and their wide forms. Numbers stay numbers.
    """
    is_formula = isinstance(value, str) and value[:1] in _FORMULA and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as CSV; no cell is a formula."""
    out = io.StringIO()
    cells = [[spreadsheet_cell(cell) for cell in row] for row in (header, *rows)]
    csv.writer(out, lineterminator="\n").writerows(cells)
    return out.getvalue()


def num_bytes(paths: Iterable[Path]) -> int:
    """Return what files take together; a link to nothing takes nothing."""
    return sum(path.stat().st_size for path in paths if path.is_file())


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
    known: dict[str, str] = kept(memory, read_state) or {}
    key = f"{real}:{state.st_size}:{state.st_mtime_ns}"
    if key not in known:
        known[key] = sha256(path)
        write_state(memory, known)
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
    write_state(folder / SEAL, hashes)


def is_whole(folder: Path) -> bool:
    """Return whether a folder was sealed and every file still is what it was."""
    if not os.path.lexists(folder / SEAL):
        return False
    try:
        hashes = read_state(folder / SEAL, is_old_too=True)
    except DamagedError:
        return False
    return bool(hashes) and all(
        (folder / name).is_file() and sha256(folder / name) == digest for name, digest in hashes.items()
    )
