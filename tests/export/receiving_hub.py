"""A hub that takes files: the routes by which huggingface_hub 2.4 makes a repository and fills it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from local_server import bound


@dataclass
class ReceivingHub:
    """What was made and taken; `token` is the only one that may."""

    token: str
    url: str = ""
    private: dict[str, bool] = field(default_factory=dict)  # repository -> as it was made
    taken: dict[str, dict[str, bytes]] = field(default_factory=dict)  # repository -> path -> content
    large: dict[str, bytes] = field(default_factory=dict)  # by their SHA-256
    is_full: bool = False


class Handler(BaseHTTPRequestHandler):
    """Create, preupload, batch, a place for large files, commit."""

    hub: ReceivingHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        content = self.body()
        assert hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2]
        self.hub.large[self.path.rpartition("/")[2]] = content
        self.answer({})

    def do_POST(self) -> None:
        body, path = self.body(), urlsplit(self.path).path.strip("/")
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.answer({"error": "Forbidden"}, 403)
        elif path == "api/repos/create":
            said = json.loads(body)
            name = f"{said['organization']}/{said['name']}"
            self.hub.private[name] = bool(said.get("private")) or said.get("visibility") == "private"
            self.hub.taken.setdefault(name, {})
            self.answer({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif path == "api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.hub.is_full:
            self.answer({"error": "Storage is full"}, 507)
        elif path.endswith("/objects/batch"):
            self.answer(
                {"transfer": "basic", "objects": [self.place(o) for o in json.loads(body)["objects"]]}
            )
        elif "/preupload/" in path:
            self.answer({"files": [self.mode(one) for one in json.loads(body)["files"]]})
        else:
            self.commit("/".join(path.split("/")[2:4]), body)

    def place(self, wanted: dict[str, object]) -> dict[str, object]:
        return wanted | {"actions": {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}"}}}

    def mode(self, file: dict[str, object]) -> dict[str, object]:
        is_large = str(file["path"]).endswith((".safetensors", ".gguf"))
        return {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}

    def commit(self, name: str, body: bytes) -> None:
        for line in body.splitlines():
            said = json.loads(line)
            if said["key"] == "file":
                content = base64.b64decode(said["value"]["content"])
                self.hub.taken[name][said["value"]["path"]] = content
            elif said["key"] == "lfsFile":
                self.hub.taken[name][said["value"]["path"]] = self.hub.large[said["value"]["oid"]]
        oid = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        self.answer({"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid})

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def receiving(token: str) -> Iterator[ReceivingHub]:
    """Serve a hub on this machine while the block runs."""
    hub = ReceivingHub(token)
    with bound(Handler, hub=hub) as hub.url:
        yield hub
