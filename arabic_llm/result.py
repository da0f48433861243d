"""The last files of a finished run: the hashes of all that it has left, then its metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.errors import DamagedError

RESULT = "result.json"
_OUTPUTS = "outputs.json"
_ABOUT = (RESULT, _OUTPUTS, "manifest.json", "run.log")  # the run, not what it was run for
_MAY_GO = ("checkpoint-", "torn-", "wandb", ".")  # once the run is done
_FOR_PEOPLE = (".md", ".html", ".txt")  # to read and to write in: they are to be there


def write(directory: Path, metric: float, fingerprint: str) -> None:
    """Write the result of a run of this configuration; only then is the run done."""
    files.write_state(directory / _OUTPUTS, _outputs(directory))
    done = {"metric": metric, "fingerprint": fingerprint, "outputs": _OUTPUTS}
    files.write_state(directory / RESULT, done)


def read(path: Path) -> dict[str, Any]:
    """Return what `write` wrote. Raises DamagedError when it is no longer that."""
    done = files.read_state(path, is_old_too=True)
    if not isinstance(done.get("metric"), int | float) or not isinstance(done.get("fingerprint"), str):
        raise DamagedError(f"{path} is damaged: it lacks metric, fingerprint")
    return done


def unlike(directory: Path, done: dict[str, Any], cache_dir: Path) -> dict[str, str]:
    """Return which of a done run's outputs are gone or changed, and which of the two."""
    if "outputs" not in done:  # of an earlier version
        return {}
    hashes: dict[str, str] | None = files.kept(directory / _OUTPUTS, files.read_state)
    if hashes is None:
        return {_OUTPUTS: "is gone or damaged"}
    said = {}
    for name, digest in hashes.items():
        if not (directory / name).is_file():
            said[name] = "is gone"
        elif digest and files.known_sha256(directory / name, cache_dir) != digest:
            said[name] = "has changed"
    return said


def _outputs(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of what a run has made, by name; of pages that people may write in, none."""
    sealed: dict[Path, str] = {}  # hashed a moment ago, and may be large
    for seal in (directory / trained / files.SEAL for trained in ("adapter", "model")):
        if seal.is_file():
            sealed |= {seal.parent / name: digest for name, digest in files.read_state(seal).items()}
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        may_go = any(part.startswith(_MAY_GO) or ".damaged-" in part for part in name.parts)
        if path.is_file() and not may_go and str(name) not in _ABOUT:
            is_for_people = path.suffix in _FOR_PEOPLE
            found[str(name)] = "" if is_for_people else sealed.get(path) or files.sha256(path)
    return found
