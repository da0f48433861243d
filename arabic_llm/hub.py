"""The only door to the hub: a repository's files, from the hub's cache first, then from the network."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from httpx2 import HTTPError  # what huggingface_hub lets through when a proxy fails
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


@dataclass(frozen=True)
class Repository:
    """Which files of the hub are meant: `patterns` as the shell spells them."""

    id: str
    revision: str
    patterns: tuple[str, ...]
    kind: str = "model"  # or dataset


class UnreachableError(Exception):
    """Neither the hub's cache nor the network has the files; the message says why, or is empty."""


def snapshot(repository: Repository, is_whole: Callable[[Path], bool], *, network: bool) -> Path:
    """Return the folder of the hub's cache with the repository's files.

    What the hub's cache holds only in part is fetched again from where it stopped. Raises
    UnreachableError when nothing has them, OSError when the disk is full.
    """
    reason: Exception | None = None
    for local_only in (True, False) if network else (True,):
        try:
            folder = snapshot_download(
                repository.id,
                repo_type=repository.kind,
                revision=repository.revision,
                allow_patterns=list(repository.patterns),
                local_files_only=local_only,
            )
        except (HfHubHTTPError, HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = error
            continue
        if is_whole(Path(folder)):
            return Path(folder)
    raise UnreachableError(_why(reason)) from reason


def command(repository: Repository, place: Path) -> str:
    """Return the command that fetches the files into a folder, on a machine with a network."""
    options = [repository.id, f"--revision {repository.revision}"]
    if repository.kind != "model":  # of a model, all files may come
        options.append(f"--repo-type {repository.kind}")
        options += [f"--include '{pattern}'" for pattern in repository.patterns]
    return f"hf download {' '.join(options)} --local-dir {place}"


def _why(reason: Exception | None) -> str:
    if isinstance(reason, GatedRepoError):
        return "the hub asks for its licence to be accepted there, and for `hf auth login`"
    if isinstance(reason, RepositoryNotFoundError | RevisionNotFoundError):
        return "the hub knows no such repository or revision, or not for you: `hf auth login`"
    return ""
