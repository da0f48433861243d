"""A server that takes what `wandb sync` sends, and keeps it: as much of W&B's as an upload asks for."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_server import bound


class Received:
    """What arrived: each request's path and body, and the variables of each kind of question."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, bytes]] = []
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.views: dict[str, dict[str, Any]] = {}  # of dashboards, by their names
        self.has_project = True

    def everything(self) -> bytes:
        return b"\n".join(path.encode() + b" " + body for path, body in self.requests)

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of the runs' histories."""
        sent = [
            json.loads(body)["files"]
            for path, body in self.requests
            if path.endswith("/file_stream") and b'"files"' in body
        ]
        return [
            json.loads(line)
            for files in sent
            for line in files.get("wandb-history.jsonl", {}).get("content", ())
        ]

    def answer(self, question: str, given: dict[str, Any]) -> dict[str, Any]:
        self.asked.setdefault(question, []).append(given)
        given = given.get("input", given)
        return {
            "RunResumeStatus": lambda: {"model": None},
            "UpsertBucket": lambda: _bucket(given),
            "ServerFeaturesQuery": lambda: {"serverInfo": {"features": []}},
            "CreateArtifact": lambda: {"createArtifact": {"artifact": _artifact(given)}},
            "CreateArtifactManifest": lambda: {"createArtifactManifest": self._manifest()},
            "UpdateArtifactManifest": lambda: {"updateArtifactManifest": self._manifest()},
            "CreateArtifactFiles": lambda: {
                "createArtifactFiles": {"files": {"edges": self._files(given)}}
            },
            **dict.fromkeys(
                ("Viewer", "GetDefaultEntity"), lambda: {"viewer": {"id": "u", "entity": "me"}}
            ),
            "View": lambda: {"project": self._view(given["viewName"]) if self.has_project else None},
            "UpsertView2": lambda: {"upsertView": self._keep(given)},
            "CommitArtifact": lambda: {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}},
            "CreateRunFiles": lambda: {
                "createRunFiles": {
                    "runID": "b",
                    "uploadHeaders": [],
                    "files": [{"name": name, "uploadUrl": self._place(name)} for name in given["files"]],
                }
            },
        }.get(question, dict)()

    def _view(self, name: str) -> dict[str, Any]:
        found = [self.views[name]] if name in self.views else []
        return {"allViews": {"edges": [{"node": view} for view in found]}}

    def _keep(self, given: dict[str, Any]) -> dict[str, Any]:
        is_new = "id" not in given
        view = {"id": given.get("id", f"id-{given['name']}"), "name": given["name"]}
        self.views[given["name"]] = view | {"spec": given["spec"], "displayName": given["displayName"]}
        return {"view": view, "inserted": is_new}

    def _place(self, name: str) -> str:
        return f"{self.url}/put/{name}"

    def _manifest(self) -> dict[str, Any]:
        file = {"id": "f", "name": "wandb_manifest.json", "displayName": "m", "uploadHeaders": []}
        return {"artifactManifest": {"id": "m", "file": file | {"uploadUrl": self._place("manifest")}}}

    def _files(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "node": {
                    "id": file["name"],
                    "name": file["name"],
                    "displayName": file["name"],
                    "uploadUrl": self._place(file["name"]),
                    "uploadHeaders": [],
                    "storagePath": file["name"],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": file["artifactID"]},
                }
            }
            for file in given["artifactFiles"]
        ]


def _bucket(given: dict[str, Any]) -> dict[str, Any]:
    project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
    bucket = {"id": "b", "name": given["name"], "displayName": given["displayName"], "project": project}
    return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}


def _artifact(given: dict[str, Any]) -> dict[str, Any]:
    latest = {"latestArtifact": None}
    return {"id": given["artifactCollectionName"], "state": "PENDING", "artifactSequence": latest}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    received: Received

    def do_HEAD(self) -> None:
        self._say({})

    def do_GET(self) -> None:
        self._say({})

    def do_PUT(self) -> None:
        self._body()
        self._say({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path != "/graphql":
            return self._say({})
        asked = json.loads(body)
        question = re.search(r"(?:query|mutation) +(\w+)", asked["query"])
        answer = self.received.answer(question[1] if question else "", asked.get("variables") or {})
        return self._say({"data": answer})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.requests.append((self.path, body))
        return body

    def _say(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Received]:
    """Serve on a free port while the block runs."""
    received = Received()
    with bound(_Handler, received=received) as received.url:
        yield received
