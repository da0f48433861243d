"""A hub of our own: folders served by the routes and headers that huggingface_hub 2.4 asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from local_server import bound

LARGE_BYTES = 2**20  # from here on the hub lists a SHA-256, and sends files from another address
PAGE = 3  # files a page of a listing
ERRORS = {  # as the real hub spells them
    "no repository": (401, {"X-Error-Code": "RepoNotFound"}),
    "no revision": (404, {"X-Error-Code": "RevisionNotFound"}),
    "gated": (403, {"X-Error-Code": "GatedRepo"}),
    "forbidden": (403, {"X-Error-Message": "Forbidden"}),
    "down": (503, {}),
}


@dataclass
class Hub:
    """Repositories by (kind, id, revision) -> folder, and what was asked of them."""

    url: str = ""
    folders: dict[tuple[str, str, str], Path] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # id -> a key of ERRORS
    sizes: dict[str, int] = field(default_factory=dict)  # path -> a size that the listing claims
    renamed: dict[str, str] = field(default_factory=dict)  # path -> what the listing calls it
    stall_after: int | None = None  # bytes of a large file; then nothing comes until `released`
    released: threading.Event = field(default_factory=threading.Event)
    sent: dict[str, int] = field(default_factory=dict)  # path -> bytes of its content
    ranges: list[str] = field(default_factory=list)

    def add(self, kind: str, name: str, folder: Path, revision: str = "main") -> str:
        """Serve a folder; return its commit."""
        self.folders[kind, name, revision] = folder
        return commit_of(folder)

    def find(self, kind: str, name: str, revision: str) -> Path | None:
        """Return the folder of a branch or a commit."""
        for (its_kind, its_name, branch), folder in self.folders.items():
            if (its_kind, its_name) == (kind, name) and revision in (branch, commit_of(folder)):
                return folder
        return None


def paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def commit_of(folder: Path) -> str:
    said = "".join(f"{path.relative_to(folder)} {git_id(path)}\n" for path in paths(folder))
    return hashlib.sha1(said.encode(), usedforsecurity=False).hexdigest()


def git_id(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def is_large(path: Path) -> bool:
    return path.stat().st_size >= LARGE_BYTES


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The routes: revision, tree (in pages), resolve, and where large files really lie."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "large":
            kind, owner, name, commit, *file = parts[1:]
            self.send_file(self.hub.find(kind, f"{owner}/{name}", commit), "/".join(file))
        elif parts[0] == "api" and len(parts) < 6:  # /api/agent-harnesses
            self.send(404, {})
        elif parts[0] == "api":
            _, kinds, owner, name, verb, revision, *_ = parts
            self.answer_api(kinds.removesuffix("s"), f"{owner}/{name}", verb, revision)
        else:
            kind = "dataset" if parts[0] == "datasets" else "model"
            owner, name, _, commit, *file = parts[1:] if kind == "dataset" else parts
            self.resolve(kind, f"{owner}/{name}", commit, "/".join(file))

    def answer_api(self, kind: str, name: str, verb: str, revision: str) -> None:
        refused = self.hub.refused.get(name)
        folder = self.hub.find(kind, name, revision)
        if refused in ("no repository", "forbidden", "down"):
            self.refuse(refused)
        elif not any((kind, name) == known[:2] for known in self.hub.folders):
            self.refuse("no repository")
        elif folder is None:
            self.refuse("no revision")
        elif verb == "revision":
            self.send_json({"id": name, "sha": commit_of(folder), "private": False, "siblings": []})
        else:
            self.send_page([self.entry(path, folder) for path in paths(folder)])

    def entry(self, path: Path, folder: Path) -> dict[str, object]:
        name = str(path.relative_to(folder))
        size = self.hub.sizes.get(name, path.stat().st_size)
        path_shown = self.hub.renamed.get(name, name)
        found: dict[str, object] = {"type": "file", "path": path_shown, "size": size, "oid": git_id(path)}
        if is_large(path):
            found["lfs"] = {"oid": sha256(path), "size": size, "pointerSize": 134}
        return found

    def send_page(self, entries: list[dict[str, object]]) -> None:
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            url = f"{self.hub.url}{urlsplit(self.path).path}?recursive=True&cursor={start + PAGE}"
            headers["Link"] = f'<{url}>; rel="next"'
        self.send_json(entries[start : start + PAGE], headers)

    def resolve(self, kind: str, name: str, commit: str, file: str) -> None:
        refused, folder = self.hub.refused.get(name), self.hub.find(kind, name, commit)
        if refused or folder is None:
            self.refuse(refused or "no repository")
        elif is_large(folder / file):
            self.send(
                302,
                {
                    "Location": f"{self.hub.url}/large/{kind}/{name}/{commit}/{file}",
                    "X-Linked-Etag": f'"{sha256(folder / file)}"',
                    "X-Linked-Size": str((folder / file).stat().st_size),
                    "X-Repo-Commit": commit_of(folder),
                },
            )
        else:
            self.send_file(folder, file)

    def send_file(self, folder: Path | None, file: str) -> None:
        path = (folder or Path()) / file
        data = path.read_bytes()
        headers = {
            "ETag": f'"{sha256(path) if is_large(path) else git_id(path)}"',
            "Accept-Ranges": "bytes",
        }
        headers["X-Repo-Commit"] = commit_of(folder or Path())
        status, start = 200, 0
        if asked := self.headers.get("Range"):
            self.hub.ranges.append(asked)
            status, start = 206, int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send(status, headers, data[start:], name=file, slow=is_large(path))

    def refuse(self, why: str) -> None:
        status, headers = ERRORS[why]
        self.send(status, headers)

    def send_json(self, value: object, headers: dict[str, str] | None = None) -> None:
        self.send(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())

    def send(
        self, status: int, headers: dict[str, str], body: bytes = b"", name: str = "", slow: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        first = self.hub.stall_after if slow and self.hub.stall_after is not None else len(body)
        self.write(body[:first], name)
        if first < len(body):
            self.wfile.flush()
            self.hub.released.wait(60)
            self.write(body[first:], name)

    def write(self, data: bytes, name: str) -> None:
        try:
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            self.close_connection = True
            return
        if name:
            self.hub.sent[name] = self.hub.sent.get(name, 0) + len(data)


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub on this machine while the block runs."""
    hub = Hub()
    with bound(Handler, hub=hub) as hub.url:
        try:
            yield hub
        finally:
            hub.released.set()
