"""A wiki of our own: the API as MediaWiki answers it, in pages, with its errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from local_server import bound

PAGE = 2  # titles a page of a list; texts an answer


@dataclass
class Wiki:
    """Its texts by title, its categories, and what it does first instead of answering."""

    url: str = ""
    texts: dict[str, str | None] = field(default_factory=dict)  # None: no such page
    categories: dict[str, list[str]] = field(default_factory=dict)
    first: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)  # status, headers, body
    asked: list[dict[str, str]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, asked: dict[str, str]) -> dict:
        if "list" in asked:
            kind = asked["list"]
            name = asked["cmtitle"] if kind == "categorymembers" else asked["srsearch"]
            if kind == "search":
                titles = [title for title in self.texts if name in title]
            elif name not in self.categories:
                return {
                    "error": {
                        "code": "invalidcategory",
                        "info": "The category name you entered is not valid.",
                    }
                }
            else:
                titles = self.categories[name]
            key = "cmcontinue" if kind == "categorymembers" else "sroffset"
            start = int(asked.get(key, 0))
            said = {"query": {kind: [{"ns": 0, "title": t} for t in titles[start : start + PAGE]]}}
            if start + PAGE < len(titles):
                said["continue"] = {key: str(start + PAGE), "continue": "-||"}
            return said
        titles = asked["titles"].split("|")
        start = int(asked.get("excontinue", 0))
        pages = [self.page(t, start <= n < start + PAGE) for n, t in enumerate(titles)]
        said = {"batchcomplete": True, "query": {"pages": pages}}
        if start + PAGE < len(titles):
            said["continue"] = {"excontinue": str(start + PAGE), "continue": "||info|revisions"}
        return said

    def page(self, title: str, with_text: bool) -> dict:
        if self.texts.get(title) is None:
            return {"ns": 0, "title": title, "missing": True}
        number = list(self.texts).index(title)
        url = f"https://wiki.example/{title}"
        page = {
            "pageid": number,
            "title": title,
            "canonicalurl": url,
            "revisions": [{"revid": 900 + number}],
        }
        return {**page, "extract": self.texts[title]} if with_text else page


class Handler(BaseHTTPRequestHandler):
    """The one route."""

    wiki: Wiki

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        own = self.wiki
        with own.lock:
            own.at_once += 1
            own.most_at_once = max(own.most_at_once, own.at_once)
            asked = dict(parse_qsl(urlsplit(self.path).query))
            own.asked.append(asked)
            own.agents.append(self.headers["User-Agent"])
            status, headers, body = own.first.pop(0) if own.first else (200, {}, b"")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body or json.dumps(own.answer(asked)).encode())
        with own.lock:
            own.at_once -= 1


@contextmanager
def serving(**settings: object) -> Iterator[Wiki]:
    """Serve on this machine while the block runs."""
    own = Wiki(**settings)  # type: ignore[arg-type]
    with bound(Handler, wiki=own) as url:
        own.url = f"{url}/w/api.php"
        yield own
