"""Articles of a wiki by its API: one request after the other, batched titles, patient, each answer kept."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx2 import Client, HTTPError, Response

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint, library_version
from arabic_llm.config.synthesize_task import MediaWikiConfig
from arabic_llm.data.ledger import Ledger
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.synthesis.articles import Article
from arabic_llm.synthesis.retry_after import retry_after

log = logging.getLogger(__name__)
_TITLES = 20  # a request: what TextExtracts takes at once
_LISTED = 500  # titles a request of a list: what the API gives without a login
_MAXLAG = 5  # seconds: Wikimedia's own advice for what nobody waits for
_TIMEOUT_SECONDS = 60
_LONGEST_WAIT = 120.0  # seconds
_PUT_OFF = ("maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError")
_TOO_MANY, _SERVER_FAULT = 429, 500
_MOST_PAGES = 10_000  # of one answer that goes on and on
_UNREADABLE = ("missing", "invalid", "redirect")
_ARTICLES = "0"  # the namespace

Values = dict[str, Any]


class _PutOffError(Exception):
    """The wiki is busy, with how long it asks to wait."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


def articles(settings: MediaWikiConfig, cache: Path, ledger: Ledger) -> Iterator[Article]:
    """Yield the articles of categories and searches, in order, each once.

    Raises ConfigError without a contact or anything to look for, DataError for a wiki that does not answer.
    """
    if settings.contact is None:
        raise ConfigError(
            "task.mediawiki.contact is not set: Wikimedia asks every program to say whom to write to"
            " (task.mediawiki.contact=me@example.org)"
        )
    if not settings.categories and not settings.search:
        raise ConfigError(
            "task.mediawiki.categories and task.mediawiki.search are empty; name a category"
            " ('task.mediawiki.categories=[\"علوم\"]')"
        )
    agent = f"arabic-llm/{library_version('arabic-llm') or 0} ({settings.contact}) httpx2"
    with Client(timeout=_TIMEOUT_SECONDS, headers={"User-Agent": agent}, follow_redirects=True) as client:
        wiki = _Wiki(settings, cache, client)
        titles = wiki.titles()
        for start in range(0, len(titles), _TITLES):
            yield from wiki.pages(titles[start : start + _TITLES], ledger)


@dataclass
class _Wiki:
    settings: MediaWikiConfig
    cache: Path
    client: Client
    sleep: Callable[[float], None] = time.sleep
    asked_at: float = field(default=0.0)

    def titles(self) -> list[str]:
        """Return the titles that categories and searches name, each once, no more than are wanted."""
        found: dict[str, None] = {}
        wanted = self.settings.max_articles
        lists = [
            {
                "list": "categorymembers",
                "cmtitle": _category(name),
                "cmnamespace": _ARTICLES,
                "cmlimit": _LISTED,
            }
            for name in self.settings.categories
        ]
        lists += [
            {"list": "search", "srsearch": words, "srnamespace": _ARTICLES, "srlimit": _LISTED}
            for words in self.settings.search
        ]
        for asked in lists:
            for answer in self.answers(asked):
                listed = answer.get("query", {}).get(asked["list"], [])
                found.update(dict.fromkeys(str(page["title"]) for page in listed))
                if len(found) >= wanted:
                    return list(found)[:wanted]
        if not found:
            raise DataError(
                f"{self.settings.api}: no article in these categories and searches; their names are the"
                " wiki's own, in its language"
            )
        return list(found)

    def pages(self, titles: list[str], ledger: Ledger) -> Iterator[Article]:
        """Yield the articles of some titles: their text without markup, but for its headings."""
        asked = {
            "prop": "extracts|revisions|info",
            "titles": "|".join(titles),
            "explaintext": "1",
            "exsectionformat": "wiki",
            "exlimit": "max",
            "rvprop": "ids|timestamp",
            "inprop": "url",
            "redirects": "1",
        }
        merged: dict[str, Values] = {}
        for answer in self.answers(asked):
            for page in answer.get("query", {}).get("pages", []):
                merged.setdefault(str(page.get("title")), {}).update(page)
        for title, page in merged.items():
            reason = next((f"page is {why}" for why in _UNREADABLE if why in page), None)
            text = page.get("extract")
            if reason is None and not (isinstance(text, str) and text.strip()):
                reason = "page without text"
            if reason is not None:
                ledger.drop(reason, title)
                continue
            ledger.keep()
            revisions = page.get("revisions") or [{}]
            yield Article(
                f"{_host(self.settings.api)}/{title}",
                str(text),
                title,
                str(page.get("canonicalurl") or page.get("fullurl") or ""),
                str(revisions[0].get("revid", "")),
                self.settings.license,
            )

    def answers(self, asked: Values) -> Iterator[Values]:
        """Yield the answers to one question, as long as the wiki says that it goes on."""
        more: Values = {}
        for _ in range(_MOST_PAGES):
            answer = self.answer({**asked, **more})
            yield answer
            if not (following := answer.get("continue")) or following == more:
                return
            more = following

    def answer(self, asked: Values) -> Values:
        """Return an answer: the one on the disk, else the wiki's, asked until it has time for us."""
        whole = {"action": "query", "format": "json", "formatversion": "2", **asked}
        path = self.cache / f"{fingerprint([self.settings.api, whole])}.json"
        if (kept := files.kept(path, files.read_state, "it is asked again")) is not None:
            return dict(kept["answer"])
        for tries in range(self.settings.max_tries):
            try:
                answer = self._ask({**whole, "maxlag": _MAXLAG})
            except _PutOffError as error:
                why = str(error)
                if tries + 1 < self.settings.max_tries:
                    wait = error.wait if error.wait is not None else float(2**tries)
                    log.info("%s: %s; asked again in %.0f s", self.settings.api, why, wait)
                    self.sleep(min(wait, _LONGEST_WAIT))
            else:
                files.write_state(path, {"asked": whole, "answer": answer})
                return answer
        raise DataError(
            f"{self.settings.api}: {why}, {self.settings.max_tries} times; the same command carries on."
            " Without a network, take articles from a file: task.articles=data data=local"
            " data.path=articles.jsonl"
        )

    def _ask(self, asked: Values) -> Values:
        self.sleep(max(0.0, self.asked_at + self.settings.seconds_between - time.monotonic()))
        try:
            response = self.client.get(self.settings.api, params=asked)
        except HTTPError as error:
            raise _PutOffError(f"no answer ({type(error).__name__})") from None
        finally:
            self.asked_at = time.monotonic()
        if response.status_code == _TOO_MANY or response.status_code >= _SERVER_FAULT:
            raise _PutOffError(f"answered {response.status_code}", retry_after(response.headers))
        try:
            answer = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            answer = None
        if response.is_error or not isinstance(answer, dict):
            raise DataError(
                f"{self.settings.api} answered {response.status_code} and no JSON of a wiki; the address"
                " ends with /w/api.php on Wikipedia (task.mediawiki.api)"
            )
        self._refuse_error(answer.get("error"), response)
        return answer

    def _refuse_error(self, error: Any, response: Response) -> None:
        """Raise what an error of the wiki means: wait, or mend what was asked."""
        if not isinstance(error, dict):
            return
        code, info = str(error.get("code")), " ".join(str(error.get("info")).split())
        if code in _PUT_OFF:
            raise _PutOffError(f"busy ({code})", retry_after(response.headers))
        raise DataError(f"{self.settings.api}: {code}: {info}")


def _category(name: str) -> str:
    """Return a category's title: its namespace has a name in every language, and an English one in all."""
    return name if ":" in name else f"Category:{name}"


def _host(api: str) -> str:
    return api.partition("://")[2].partition("/")[0]
