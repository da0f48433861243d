"""A server of our own that makes questions as OpenAI's chat completions do, well or in every bad way."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from local_server import bound

ANSWERS = {
    "cut": '{"exchanges": [{"question": "ما',
    "refuse": "عذرا، لا أستطيع المساعدة في ذلك.",
    "english": '{"exchanges": [{"question": "What is it?", "answer": "It is an old town in Egypt."}]}',
    "prose": "سؤال: ما هي؟ جواب: مدينة.",
    "twice": '{"exchanges": [], "exchanges": [{"question": "ما؟", "answer": "نعم"}]}',
    "keys": '{"exchanges": [{"question": "ما هي القاهرة؟", "answer": "مدينة", "note": "x"}]}',
    "empty": '{"exchanges": []}',
    "persian": '{"exchanges": [{"question": "پایتخت ایران کجاست؟", "answer": "تهران پایتخت ایران است."}]}',
    "half a letter": '{"exchanges": [{"question": "ما \\ud800 القاهرة؟", "answer": "مدينة"}]}',
    "no wish": "لا يسعني تلبية هذا الطلب.",
}
STATUS = {"429": 429, "500": 500, "503": 503, "400": 400, "401": 401, "404": 404}


@dataclass
class Generator:
    """By words in a request, what is next in `script` (the last for good); else it answers well."""

    url: str = ""
    script: dict[str, list[str]] = field(default_factory=dict)  # words of a request -> what comes
    wait: float = 0.0  # seconds an answer takes
    retry_after: str | None = None
    knows_extras: bool = True  # response_format and seed
    usage: bool = True
    asked: list[dict] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)
    turns: Counter[str] = field(default_factory=Counter)

    def next(self, said: str) -> str:
        for words, plan in self.script.items():
            if words in said:
                self.turns[words] += 1
                return plan[min(self.turns[words], len(plan)) - 1]
        return "ok"


def paragraph_of(said: str) -> str:
    """Return what stands between the marks of a request."""
    lines = said.split("\n")
    return "\n".join(lines[2:-1])


def well(request: dict) -> str:
    """Return what a good model would: sentences of the paragraph, one question each."""
    said = request["messages"][-1]["content"]
    sentences = [one.strip(" .") for one in paragraph_of(said).split(". ") if len(one.split()) > 3]
    system = request["messages"][0]["content"]
    count = 3 if "محادثة" in system or "conversation" in system else 1
    sentences = (sentences * 3)[:count]
    turns = [
        {
            "question": f"ماذا تعرف عن {' '.join(one.split()[:3])} ({number})؟".replace(
                f" ({number})", " " * number
            ),
            "answer": f"{one}.",
        }
        for number, one in enumerate(sentences)
    ]
    return json.dumps({"exchanges": turns}, ensure_ascii=False)


class Handler(BaseHTTPRequestHandler):
    """The one route."""

    generator: Generator
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        own = self.generator
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with own.lock:
            own.asked.append(request)
            own.keys.append(self.headers.get("Authorization"))
            own.times.append(time.monotonic())
            own.at_once += 1
            own.most_at_once = max(own.most_at_once, own.at_once)
            does = own.next(request["messages"][-1]["content"])
        try:
            time.sleep(own.wait)
            if not own.knows_extras and {"response_format", "seed"} & request.keys():
                does = "400"
            self._do(does, request)
        finally:
            with own.lock:
                own.at_once -= 1

    def _do(self, does: str, request: dict) -> None:
        if does in STATUS:
            self._send(STATUS[does], {"error": {"message": "no"}})
        elif does == "stall":
            self.generator.released.wait(20)
            self.close_connection = True
        elif does == "hang up":
            self.close_connection = True
        elif does == "for ever":
            self._for_ever()
        elif does == "strange":
            self._send(200, {"hello": "there"})
        else:
            text = ANSWERS.get(does) or well(request)
            said = {"choices": [{"message": {"role": "assistant", "content": text}}]}
            if self.generator.usage:
                said["usage"] = {"prompt_tokens": 100, "completion_tokens": 50}
            self._send(200, said)

    def _for_ever(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while not self.generator.released.wait(0.05):
                self.wfile.write(b"1\r\n \r\n")
        except OSError:
            pass
        self.close_connection = True

    def _send(self, status: int, said: dict) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        if status != 200 and self.generator.retry_after is not None:
            self.send_header("Retry-After", self.generator.retry_after)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(**settings: object) -> Iterator[Generator]:
    """Serve on this machine while the block runs."""
    own = Generator(**settings)  # type: ignore[arg-type]
    with bound(Handler, generator=own) as url:
        own.url = f"{url}/v1"
        try:
            yield own
        finally:
            own.released.set()
