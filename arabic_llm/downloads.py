"""Folders brought from the hub: whole or absent, checked by hash, carried on where they stopped, mended."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arabic_llm import files, hub
from arabic_llm.errors import DamagedError, DataError, HardwareError, UserError
from arabic_llm.hub import RemoteFile, Repository

log = logging.getLogger(__name__)
WRITTEN_DOWN = "DOWNLOADED"  # JSON, but not by its name: a *.json there would be read as data
_NOTED = {"repository", "revision", "commit", "patterns", "files"}


@dataclass(frozen=True)
class Downloaded:
    """What lies in a folder after a download."""

    commit: str
    num_files: int
    num_bytes: int
    num_new_bytes: int = 0  # of files that were not there, or were not what the hub has


def is_ours(folder: Path) -> bool:
    """Return whether a folder was downloaded, so that it may be mended."""
    return (folder / WRITTEN_DOWN).is_file()


def refuse_another(folder: Path, repository: str) -> None:
    """Refuse a folder into which another repository was downloaded. Raises UserError."""
    if (held := _written_down(folder).get("repository", repository)) != repository:
        raise UserError(f"{folder} holds {held}; move it away, or give another place")


def bring(repository: Repository, folder: Path) -> str:
    """Return in one line what lies in a folder now: after a download, or found whole without the hub.

    Raises DataError when the files cannot be had, and what `download` raises.
    """
    try:
        done = download(repository, folder)
        news = f"{size(done.num_new_bytes)} new" if done.num_new_bytes else "nothing new"
    except hub.UnreachableError as error:
        before = downloaded(repository, folder)
        if before is None:
            where = f"{repository.id} at {repository.revision}"
            raise DataError(f"{where} does not come to {folder}/: {error}") from error
        done, news = before, f"whole as it came before; not looked for again: {error}"
    return (
        f"{repository.id} at {done.commit[:7]} in {folder}/:"
        f" {done.num_files} files, {size(done.num_bytes)} ({news})"
    )


def download(repository: Repository, folder: Path) -> Downloaded:
    """Bring a repository's files into a folder, and write down there which they are.

    A folder that is not there yet appears whole. What has the hub's hash is not fetched again. Raises
    hub.UnreachableError, UserError where another repository lies, HardwareError where there is no room
    or another process is at it.
    """
    before = _written_down(folder)
    refuse_another(folder, repository.id)
    patterns = tuple(sorted({*repository.patterns, *before.get("patterns", ())}))  # two may share a folder
    commit, listed = hub.listing(replace(repository, patterns=patterns))
    with _staging(folder) as staging:
        new = [file for file in listed if not hub.is_same(folder / file.path, file)]
        missing = [file for file in new if not hub.is_same(staging / file.path, file)]
        _refuse_without_room(folder, sum(file.size for file in missing), staging)
        for file in missing:
            hub.fetch(replace(repository, revision=commit), file, staging / file.path)
        hashes = {file.path: _sha256(file, (staging, folder)) for file in listed}
        _put_in_place(
            {
                "repository": repository.id,
                "revision": repository.revision,
                "commit": commit,
                "patterns": patterns,
                "files": {f.path: {"sha256": hashes[f.path], "size": f.size} for f in listed},
            },
            staging,
            folder,
        )
    return Downloaded(commit, len(listed), sum(f.size for f in listed), sum(f.size for f in new))


def downloaded(repository: Repository, folder: Path) -> Downloaded | None:
    """Return what an earlier download left, if all of it is there still; asks no network."""
    written = _written_down(folder)
    asked = {"repository": repository.id, "revision": repository.revision}
    if not written or any(written[key] != value for key, value in asked.items()):
        return None
    if not {*repository.patterns} <= {*written["patterns"]}:
        return None
    for name, file in written["files"].items():
        if not (folder / name).is_file() or files.sha256(folder / name) != file["sha256"]:
            return None
    sizes = [file["size"] for file in written["files"].values()]
    return Downloaded(written["commit"], len(sizes), sum(sizes))


def _written_down(folder: Path) -> dict[str, Any]:
    """Return what a download has noted of its folder; nothing where it is none, or the note is damaged."""
    if not is_ours(folder):
        return {}
    try:
        written = files.read_state(folder / WRITTEN_DOWN, is_old_too=True)
    except DamagedError as error:
        log.info("%s; each file there is looked at again", error)
        return {}
    return written if written.keys() >= _NOTED else {}


def _sha256(file: RemoteFile, folders: tuple[Path, ...]) -> str:
    """Return the hash of a file that lies in the first of the folders that has it, whole."""
    if len(file.hash) == hub.SHA256_LENGTH:
        return file.hash
    return next(files.sha256(f / file.path) for f in folders if hub.is_same(f / file.path, file))


def _put_in_place(written: dict[str, Any], staging: Path, folder: Path) -> None:
    """Move what came to the folder: as a whole where nothing lies yet, else file by file."""
    for path in [path for path in staging.rglob("*") if path.is_file()]:
        if str(path.relative_to(staging)) not in written["files"]:
            path.unlink()  # of a revision that was given up
    if not folder.exists():
        files.write_state(staging / WRITTEN_DOWN, written)
        staging.rename(folder)
        return
    for path in [path for path in staging.rglob("*") if path.is_file()]:
        place = folder / path.relative_to(staging)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    for gone in _written_down(folder).get("files", {}).keys() - written["files"].keys():
        (folder / gone).unlink(missing_ok=True)
    files.write_state(folder / WRITTEN_DOWN, written)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the one meant, for one process; what came stays in it."""
    staging = folder.with_name(f".{folder.name}.partial")
    staging.mkdir(parents=True, exist_ok=True)
    with files.alone(folder, "downloading to"):
        try:
            yield staging
        except OSError as error:
            if error.errno not in hub.DISK_FULL:
                raise
            raise _no_room(folder, "more") from error
        finally:
            if not any(path.is_file() for path in staging.rglob("*")):
                shutil.rmtree(staging, ignore_errors=True)


def _refuse_without_room(folder: Path, num_bytes: int, staging: Path) -> None:
    """Refuse to begin what the disk cannot hold."""
    needed = num_bytes - files.num_bytes(staging.rglob("*.partial"))
    if needed > shutil.disk_usage(folder.parent).free:
        raise _no_room(folder, size(needed))


def _no_room(folder: Path, needed: str) -> HardwareError:
    free = size(shutil.disk_usage(folder.parent).free)
    return HardwareError(
        f"no room on the disk for {folder}: {needed} needed, {free} free; make room and type the same"
        " command again, what came so far stays"
    )


def size(num_bytes: int) -> str:
    """Return a number of bytes as people say it."""
    if num_bytes < 2**20:
        return f"{num_bytes / 2**10:,.1f} KiB"
    return f"{num_bytes / 2**20:,.1f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:,.2f} GiB"
