"""A judge of our own: it speaks as OpenAI's chat completions do, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from local_server import bound


@dataclass
class Server:
    """What it says, and what it was asked."""

    url: str = ""
    reply: str = '{"kind": "near miss", "reason": "A city of the same country."}'
    body: bytes | None = None  # said instead, where the server is no judge
    status: int = 200
    after: int = 10**9  # requests that are answered; then 500
    asked: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """The one route."""

    judge: Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.judge.asked.append(body)
        self.judge.keys.append(self.headers.get("Authorization"))
        status = self.judge.status if len(self.judge.asked) <= self.judge.after else 500
        if self.path != "/v1/chat/completions":
            status = 404
        said = {"choices": [{"message": {"role": "assistant", "content": self.judge.reply}}]}
        data = self.judge.body or json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on this machine while the block runs."""
    judge = Server()
    with bound(Handler, judge=judge) as url:
        judge.url = f"{url}/v1"
        yield judge
