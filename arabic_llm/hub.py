"""The only door to the hub: a repository's files, from the hub's cache first, then from the network."""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from httpx2 import ConnectError, HTTPError, TimeoutException  # what huggingface_hub lets through
from huggingface_hub import HfApi, constants, get_session, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from huggingface_hub.file_download import hf_hub_url, http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
from huggingface_hub.utils.sha import git_hash

from arabic_llm import files
from arabic_llm.errors import ConfigError, UserError

StrictSettingsError = StrictDataclassError  # a setting of the wrong type, in transformers' configurations
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TOKEN = "HF_TOKEN"  # noqa: S105 (where it stands, not what it is)
_TIMEOUT_SECONDS = 10
SHA256_LENGTH = 64
_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY_REQUESTS, _SERVER_ERROR = 401, 403, 429, 500


@dataclass(frozen=True)
class Repository:
    """Which files of the hub are meant: `patterns` as the shell spells them."""

    id: str
    revision: str
    patterns: tuple[str, ...]
    kind: str = "model"  # or dataset


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it; its hash is SHA-256 where the file is large, else git's."""

    path: str
    size: int  # bytes
    hash: str


class UnreachableError(Exception):
    """Neither the hub's cache nor the network has the files; the message says why, or is empty."""


class NotTakenError(UserError):
    """The hub does not take what was to be uploaded."""


def snapshot(repository: Repository, is_whole: Callable[[Path], bool], *, network: bool) -> Path:
    """Return the folder of the hub's cache with the repository's files.

    Of what the hub's cache holds only in part, the files that are missing are fetched. Raises
    UnreachableError when nothing has them, OSError when the disk is full or does not let us.
    """
    reason: Exception | None = None
    for local_only in (True, False) if network else (True,):
        try:
            if not local_only:
                _ask_once(repository)
            folder = snapshot_download(
                repository.id,
                repo_type=repository.kind,
                revision=repository.revision,
                allow_patterns=list(repository.patterns),
                local_files_only=local_only,
            )
        except (HfHubHTTPError, HTTPError, OSError) as error:
            if _is_the_disks(error):
                raise
            reason = error
            continue
        if is_whole(Path(folder)):
            return Path(folder)
    raise UnreachableError(_why(reason)) from reason


def _ask_once(repository: Repository) -> None:
    """Raise what the hub answers, or that it does not: the library would ask for half a minute, aloud."""
    HfApi().repo_info(
        repository.id,
        repo_type=repository.kind,
        revision=repository.revision,
        timeout=_TIMEOUT_SECONDS,
    )


@contextmanager
def not_waited_for() -> Iterator[None]:
    """Let libraries go without a hub that does not answer: they would ask half a minute for each file."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(HfApi().endpoint)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@functools.cache
def _answers(address: str) -> bool:
    try:
        get_session().head(address, timeout=_TIMEOUT_SECONDS)
    except (ConnectError, TimeoutException):
        return False
    except HTTPError:  # it is there, and is asked more
        return True
    return True


def cure(repository: Repository, place: Path, choice: str) -> str:
    """Return what fetches the files into a folder where there is a network: this program, or the hub's."""
    options = [repository.id, f"--revision {repository.revision}"]
    if repository.kind != "model":  # of a model, all files may come
        options.append(f"--repo-type {repository.kind}")
        options += [f"--include '{pattern}'" for pattern in repository.patterns]
    return (
        f"fetch them where there is a network: python -m arabic_llm.run task=download {choice}, or without"
        f" this program: hf download {' '.join(options)} --local-dir {place}"
    )


def listing(repository: Repository) -> tuple[str, list[RemoteFile]]:
    """Return (commit, files that match) of a revision as the hub has it now.

    Raises UnreachableError, also when no file matches.
    """
    api = HfApi()
    with _answered():
        commit = str(
            api.repo_info(
                repository.id,
                repo_type=repository.kind,
                revision=repository.revision,
                timeout=_TIMEOUT_SECONDS,
            ).sha
        )
        tree = api.list_repo_tree(repository.id, recursive=True, revision=commit, repo_type=repository.kind)
        entries = [entry for entry in tree if isinstance(entry, RepoFile)]
    listed = [
        RemoteFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
        for entry in entries
        if any(fnmatch(entry.path, pattern) for pattern in repository.patterns)
    ]
    if not listed:
        raise UnreachableError(f"at {commit[:7]} it has no file like {', '.join(repository.patterns)}")
    for file in listed:
        if ".." in Path(file.path).parts or Path(file.path).is_absolute():
            raise UnreachableError(f"it has a file that would lie outside its folder: {file.path}")
    return commit, listed


def is_same(path: Path, file: RemoteFile) -> bool:
    """Return whether a file on the disk is the one that the hub has, by the hub's own hash."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if len(file.hash) == SHA256_LENGTH:
        return files.sha256(path) == file.hash
    return git_hash(path.read_bytes()) == file.hash


def fetch(repository: Repository, file: RemoteFile, place: Path) -> None:
    """Bring one file, from where it was cut off, and give it its name once its hash is right.

    snapshot_download does not carry on inside a file: in huggingface_hub 2.4 each try writes one of its
    own. Raises UnreachableError, OSError when the disk is full.
    """
    partial = place.with_name(f"{place.name}.{file.hash}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(
        repository.id,
        file.path,
        repo_type=repository.kind,
        revision=repository.revision,
        endpoint=HfApi().endpoint,
    )
    # Packed on their way, bytes could not be carried on in the middle.
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    try:
        with _answered(), partial.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=stream.tell(),
                headers=headers,
                expected_size=file.size,
                displayed_filename=file.path,
            )
    finally:
        if not partial.stat().st_size and file.size:
            partial.unlink()
    if not is_same(partial, file):
        partial.unlink()
        raise UnreachableError(f"{file.path} did not arrive as the hub has it; type the same command again")
    files.sync(partial)
    partial.replace(place)


@contextmanager
def _answered() -> Iterator[None]:
    """Turn the ways in which the hub does not answer into one line, and let the library be silent."""
    library = logging.getLogger("huggingface_hub")
    before = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    except (HfHubHTTPError, HTTPError, OSError) as error:
        if _is_the_disks(error):
            raise
        raise UnreachableError(_why(error) or " ".join(str(error).split())[:200]) from error
    finally:
        library.setLevel(before)


def _is_the_disks(error: Exception) -> bool:
    """Return whether it was the system that refused something: the hub's own errors have no number."""
    return getattr(error, "errno", None) is not None


def _without_password(address: str) -> str:
    """Return an address without what stands before an @ in it, and behind a question mark."""
    scheme, _, rest = address.partition("?")[0].rpartition("//")
    return f"{scheme}//{rest.rpartition('@')[2]}"


def _why(reason: Exception | None) -> str:
    """Return what kept the hub from answering and what cures it, or nothing where that is not known."""
    status = reason.response.status_code if isinstance(reason, HfHubHTTPError) else 0
    if isinstance(reason, GatedRepoError):
        said = "the hub asks for its licence to be accepted there, and for `hf auth login`"
    elif isinstance(reason, RepositoryNotFoundError | RevisionNotFoundError):
        said = "the hub knows no such repository or revision, or not for you: `hf auth login`"
    elif status in (_UNAUTHORIZED, _FORBIDDEN):
        said = f"the hub refuses it ({status}): `hf auth login` with a token that may read it"
    elif status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        said = f"the hub cannot answer now ({status}); type the same command again later"
    elif isinstance(reason, OfflineModeIsEnabled):
        said = "HF_HUB_OFFLINE is set; unset it where there is a network"
    elif isinstance(reason, ConnectError | TimeoutException):
        address = _without_password(HfApi().endpoint)
        said = f"{address} does not answer: no network, or HF_ENDPOINT or a proxy is wrong"
    else:
        said = ""
    return said


def refuse_without_token() -> None:
    """Refuse to upload without a token in the environment. Raises ConfigError, which does not say it."""
    if not os.environ.get(_TOKEN):
        raise ConfigError(
            f"task.push: the hub takes files only with a token: {_TOKEN}=... in the environment, one that"
            " may write (https://huggingface.co/settings/tokens)"
        )


def push(folder: Path, name: str) -> str:
    """Upload a folder into a private repository of that name, made if it is not there; say where it is.

    Raises NotTakenError where the hub does not take it.
    """
    refuse_without_token()
    api = HfApi(token=os.environ[_TOKEN])
    try:
        with _answered():
            api.create_repo(name, private=True, exist_ok=True)
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                ignore_patterns=[files.SEAL, "proof.json"],
                commit_message="Upload a model exported by arabic-llm",
            )
    except UnreachableError as error:
        raise NotTakenError(f"task.push={name}: {error}; what was exported stays in {folder}") from error
    place = f"{_without_password(api.endpoint)}/{name}"
    return f"on the hub: {place} (private until you open it there), {str(commit.oid)[:7]}"
