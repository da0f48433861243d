"""A talk on a page of this machine alone: one answer at a time, streamed; thumbs are kept as rows."""

from __future__ import annotations

import json
import logging
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Event, Lock, Thread
from typing import Any

from arabic_llm.data.rows import Message
from arabic_llm.errors import DataError, HardwareError, UserError
from arabic_llm.serving import console, talk, thumbs
from arabic_llm.serving.talk import Talk

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")  # of this machine, as a browser that is on it says them, at any port
_PAGE = Path(__file__).with_name("page.html")
_MOST_BYTES = 2**20  # of what a page sends
_SAFE = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'nonce-{0}'; style-src 'nonce-{0}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class GoneError(Exception):
    """Who asked has gone: nobody hears the answer."""


@dataclass
class _Question:
    """What a page asks, and where its answer goes, piece by piece; None ends it."""

    voice: str
    messages: list[Message]
    events: Queue[dict[str, Any] | None] = field(default_factory=Queue)
    is_gone: Event = field(default_factory=Event)

    def hear(self, piece: str) -> None:
        """Send on a piece of the answer."""
        if self.is_gone.is_set():
            raise GoneError
        self.events.put({"text": piece})


class Server(ThreadingHTTPServer):
    """Listens in threads; the main one answers, where Ctrl-C and the limits of templates are heard."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int | None) -> None:
        """Listen. Raises HardwareError where another program does."""
        self.about: dict[str, Any] = {}
        self.folder = Path()
        self.questions: Queue[_Question | None] = Queue()  # None: the last one
        self.answering = Lock()
        try:
            super().__init__((HOST, port or 0), _Handler)
        except OSError as error:
            raise HardwareError(
                f"task.port={port}: {error.strerror}; end what listens there, or give another one"
            ) from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def serve(self, chat: Talk, folder: Path, name: str) -> None:
        """Answer what pages ask until Ctrl-C."""
        self.folder = folder
        self.about = {
            "name": name,
            "voices": [voice.name for voice in chat.voices],
            "system": chat.system,
            "sampling": asdict(chat.sampling),
            "folder": str(folder),
        }
        thread = Thread(target=self.serve_forever, daemon=True)
        thread.start()
        where = f"http://{HOST}:{self.server_port}"
        log.info("page: %s (Ctrl-C closes it); thumbs are kept in %s", where, folder)
        try:
            for question in iter(self.questions.get, None):
                _answer(chat, question)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(*(error.args or ("the page is closed",))) from None
        finally:
            self.shutdown()
            thread.join()


def _answer(chat: Talk, question: _Question) -> None:
    """Answer a question to who asked; what goes wrong with it is said there, and ends no page."""
    voice = next(voice for voice in chat.voices if voice.name == question.voice)
    try:
        if question.messages[0].role == "system":
            talk.refuse_system(voice, question.messages[0].content)
        answer = voice.answer(question.messages, chat.sampling, question.hear)
        remarks = list(console.remarks(answer, chat.sampling.max_new_tokens))
        question.events.put({"end": answer.text, "remarks": remarks})
    except GoneError:
        log.info("%s: stopped by who asked", question.voice)
    except UserError as error:
        question.events.put({"error": str(error)})
    finally:
        question.events.put(None)


@contextmanager
def listening(port: int | None) -> Iterator[Server]:
    """Take a port before a model is read, and give it back."""
    server = Server(port)
    try:
        yield server
    finally:
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers requests of pages that this server has given out, and no others."""

    server: Server
    server_version, sys_version = "arabic-llm", ""
    timeout = 60  # seconds that a request may take to come

    def do_GET(self) -> None:
        """Give out the page, and what it shows."""
        if self._refused():
            return
        if self.path == "/":
            nonce = secrets.token_urlsafe(16)
            page = _PAGE.read_text(encoding="utf-8").replace("NONCE", nonce)
            self._send(HTTPStatus.OK, "text/html", page, {"Content-Security-Policy": _POLICY.format(nonce)})
        elif self.path == "/about":
            self._say(HTTPStatus.OK, self.server.about)
        else:
            self._say(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})

    def do_POST(self) -> None:
        """Stream an answer (/say), or keep what somebody thinks of one (/keep)."""
        if self._refused():
            return
        does = {"/say": self._stream, "/keep": self._keep}.get(self.path)
        if does is None:
            self._say(HTTPStatus.NOT_FOUND, {"error": "there is no such page"})
            return
        try:
            does(self._read())
        except UserError as error:
            self._say(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})

    def _refused(self) -> bool:
        """Refuse what another site sends through the browser: by its name for us, or by its own."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host.rpartition(":")[0] in _NAMES and origin in (None, f"http://{host}"):
            return False
        self._say(HTTPStatus.FORBIDDEN, {"error": "only a page of this server is answered"})
        return True

    def _read(self) -> dict[str, Any]:
        """Return the JSON object that was sent. Raises DataError for anything else."""
        if self.headers.get_content_type() != "application/json":  # a form of another site can send none
            raise DataError("Content-Type: application/json is wanted")
        size = self.headers.get("Content-Length", "")
        if not (size.isascii() and size.isdecimal()) or int(size) > _MOST_BYTES:
            raise DataError(f"Content-Length: a number of bytes up to {_MOST_BYTES:,} is wanted")
        try:
            given = json.loads(self.rfile.read(int(size)))
        except (ValueError, RecursionError) as error:
            raise DataError(f"JSON is wanted: {error}") from error
        if not isinstance(given, dict):
            raise DataError("a JSON object is wanted")
        return given

    def _stream(self, given: dict[str, Any]) -> None:
        """Send an answer as it comes, an object a line."""
        voices = self.server.about.get("voices", [])
        if given.get("voice") not in voices:
            raise DataError(f"voice: one of {', '.join(voices)} is wanted")
        messages = [
            talk.asked(m.content) if m.role == "user" else m for m in thumbs.turns_of(given.get("messages"))
        ]
        if not messages[-1].content:
            raise DataError("the question is empty")
        if not self.server.answering.acquire(blocking=False):
            self._say(HTTPStatus.CONFLICT, {"error": "another answer is being given; wait for its end"})
            return
        question = _Question(str(given["voice"]), messages)
        try:
            self.server.questions.put(question)
            self._head(HTTPStatus.OK, "application/x-ndjson", {})
            for event in iter(partial(question.events.get), None):
                self._write(f"{json.dumps(event)}\n".encode(), question)
        finally:
            self.server.answering.release()

    def _write(self, line: bytes, question: _Question) -> None:
        """Send a line; where nobody takes it, the answer ends, and what is left of it is only heard."""
        if question.is_gone.is_set():
            return
        try:
            self.wfile.write(line)
            self.wfile.flush()
        except OSError:
            question.is_gone.set()

    def _keep(self, given: dict[str, Any]) -> None:
        try:
            path = thumbs.keep(given, self.server.folder)
        except OSError as error:
            raise DataError(f"{error.filename}: {error.strerror}") from error
        self._say(HTTPStatus.OK, {"kept": str(path)})

    def _say(self, status: HTTPStatus, said: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(said), {})

    def _send(self, status: HTTPStatus, kind: str, text: str, headers: dict[str, str]) -> None:
        content = text.encode()
        self._head(status, kind, {"Content-Length": str(len(content)), **headers})
        self.wfile.write(content)

    def _head(self, status: HTTPStatus, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": f"{kind}; charset=utf-8", **_SAFE, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""
