"""Asks an OpenAI-compatible server, so many requests at once; what was answered is not asked again."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from httpx2 import HTTPError
from tqdm import tqdm

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.synthesize_task import SamplingConfig, ServerConfig
from arabic_llm.errors import ConfigError, ModelError
from arabic_llm.evaluation import judge
from arabic_llm.evaluation.answers import Answers
from arabic_llm.synthesis.replies import MalformedError
from arabic_llm.synthesis.retry_after import retry_after
from arabic_llm.synthesis.spending import NOTHING, Purse, Tokens

log = logging.getLogger(__name__)
KEY = "ARABIC_LLM_SYNTHESIS_KEY"  # in the environment only: what is configured is written to files
_LONGEST_REPLY = 2**22  # bytes; an answer of 8,192 tokens has some 2**17
_LONGEST_WAIT = 600.0  # seconds that a server may ask for
_PUT_OFF = (408, 409, 425, 429)  # and all from 500 on
_NOT_LET_IN = (401, 403)
_NOT_KNOWN = (400, 422)  # a field that the server does not know, or a request that it does not take
_NOWHERE = 404
_SERVER_FAULT = 500
_FAILURES = 3  # times as many requests as are in flight, all failed: the server is gone
CAP = "cap on tokens or cost reached"

Turns = list[dict[str, str]]
Check = Callable[[str], object]  # raises MalformedError


@dataclass(frozen=True)
class ServerRequest:
    """What is asked, and what its reply must be."""

    messages: Turns
    check: Check


@dataclass
class AskedServer:
    """What asking came to, to be printed and written into the card."""

    tokens: Tokens
    cost: float
    requests: int  # sent now, all tries counted
    retries: Counter[str]  # by reason

    def line(self) -> str:
        """Return it as a person reads it."""
        retried = ", ".join(f"{count:,} {why}" for why, count in sorted(self.retries.items()))
        return (
            f"server: {self.requests:,} requests now; {self.tokens.read:,} tokens read and"
            f" {self.tokens.said:,} said in all, cost {self.cost:g}; tried again: {retried or 'none'}"
        )


class _FailedError(Exception):
    """A try that came to nothing, and how long the server asks to wait; `is_final`: another would too."""

    def __init__(self, why: str, wait: float | None = None, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.wait, self.is_final = wait, is_final


class _UnknownFieldsError(Exception):
    """The server does not know response_format or seed: it is asked without them."""


@dataclass(frozen=True)
class _Try:
    """What one try came to: a reply, or why there is none, and whether there is another."""

    why: str
    reply: str | None = None
    tokens: Tokens = NOTHING
    wait: float | None = None  # seconds that the server asks for
    is_answered: bool = False  # well or badly: it is not asked again after a kill
    goes_on: bool = True
    is_counted: bool = True  # among the tries


class Asker:
    """One server, one way of asking, and what it answered before."""

    def __init__(
        self, server: ServerConfig, sampling: SamplingConfig, kept: Answers, seed: int, key: str = KEY
    ) -> None:
        """Take the server and what is kept of it; its key is read from the environment."""
        self._server, self._sampling, self._kept, self._seed = server, sampling, kept, seed
        self._key_name, self._secret = key, judge.key_of_environment(key)
        self._extras = True  # response_format and seed, until the server says that it knows neither
        self._failed = self._requests = 0  # failures in a row; requests sent
        self._not_before = 0.0  # of the clock: a server that asks to wait is left alone
        self._retries: Counter[str] = Counter()

    def key(self, request: ServerRequest) -> str:
        """Return what tells a request apart."""
        sampling = self._sampling
        drawn = (sampling.temperature, sampling.top_p, sampling.max_new_tokens)
        return fingerprint([self._server.model, request.messages, *drawn, self._seed])

    def outcome(self, request: ServerRequest) -> tuple[str | None, str]:
        """Return (reply, "") or (None, why there is none) of a request that was asked."""
        key = self.key(request)
        if key not in self._kept:
            return None, self._unanswered.get(key, CAP)
        said = self._kept[key]
        return said["reply"], said["why"]

    def ask(self, requests: Iterable[ServerRequest], response_format: dict[str, Any] | None) -> AskedServer:
        """Ask what was not asked before; each reply is on the disk before the next is waited for.

        Raises ConfigError or ModelError for a server that is not there or lets nobody in.
        """
        self._unanswered: dict[str, str] = {}
        self._format = response_format
        return asyncio.run(self._all(requests))

    async def _all(self, requests: Iterable[ServerRequest]) -> AskedServer:
        from openai import AsyncOpenAI

        seen, missing = set[str](), list[ServerRequest]()
        spent = Tokens()
        for request in requests:
            if (key := self.key(request)) in seen:
                continue
            seen.add(key)
            if key in self._kept:
                spent += Tokens(*self._kept[key]["tokens"])
            else:
                missing.append(request)
        self._purse = Purse(self._server, spent)
        queue = iter(tqdm(missing, "asking the server", unit="request"))
        async with AsyncOpenAI(
            base_url=self._server.endpoint,
            api_key=self._secret or "none",
            max_retries=0,  # ours are counted
            timeout=self._server.timeout_seconds,
        ) as client:
            self._client = client
            workers = [asyncio.create_task(self._work(queue)) for _ in range(self._server.in_flight)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
                self._kept.flush()
        tokens = self._purse.spent
        return AskedServer(tokens, tokens.cost(self._server), self._requests, self._retries)

    async def _work(self, queue: Any) -> None:
        for request in queue:
            await self._answer(request)

    async def _answer(self, request: ServerRequest) -> None:
        """Ask until the reply is one, so often as is allowed; keep it, or why there is none."""
        key, used, last = self.key(request), Tokens(), _Try("")
        num_bytes = sum(len(turn["content"].encode()) for turn in request.messages)
        most = Tokens(num_bytes + 64, self._sampling.max_new_tokens)  # a token has a byte or more
        tries = 0
        while tries < self._sampling.max_tries and last.goes_on:
            if not await self._purse.reserve(most):
                last = _Try(CAP)
                break
            try:
                last = await self._try(request, tries, most)
            finally:
                await self._purse.pay(most, last.tokens)
            used += last.tokens
            if last.is_counted:
                tries += 1
                if last.goes_on and tries < self._sampling.max_tries:
                    self._retries[last.why] += 1
                    await self._wait(tries, last)
        if last.is_answered:
            self._keep(key, {"reply": last.reply, "why": last.why, "tokens": [used.read, used.said]})
        else:
            self._unanswered[key] = last.why

    def _keep(self, key: str, outcome: dict[str, Any]) -> None:
        self._kept.add({key: outcome})
        self._kept.flush()

    async def _wait(self, tries: int, failed: _Try) -> None:
        """Wait before the next try: as long as the server asks all to, else twice as long each time."""
        if failed.is_answered:  # it was there: no use to wait
            return
        if failed.wait is None:
            await asyncio.sleep(min(_LONGEST_WAIT, self._server.wait_seconds * 2 ** (tries - 1)))
        else:
            self._not_before = max(self._not_before, time.monotonic() + min(failed.wait, _LONGEST_WAIT))

    async def _try(self, request: ServerRequest, tries: int, most: Tokens) -> _Try:
        """Ask once. Raises ConfigError or ModelError where no request would be answered."""
        tokens = Tokens()
        try:
            body = await self._asked(request, tries)
            reply, tokens = _reply(body, most)
            self._failed = 0
            request.check(reply)
        except MalformedError as error:
            return _Try(str(error), tokens=tokens, is_answered=True)
        except _UnknownFieldsError:
            return _Try("unknown fields", is_counted=False)
        except _FailedError as error:
            if not error.is_final:
                self._failed += 1
                self._refuse_a_server_that_is_gone(str(error))
            return _Try(str(error), wait=error.wait, is_answered=error.is_final, goes_on=not error.is_final)
        return _Try("", reply, tokens, is_answered=True, goes_on=False)

    async def _asked(self, request: ServerRequest, tries: int) -> bytes:
        """Return what the server sends. Raises _FailedError or _UnknownFieldsError for no answer."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        while (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)
        self._requests += 1
        had_extras = self._extras
        try:
            async with asyncio.timeout(self._server.timeout_seconds):
                return await self._body(request, tries)
        except APIStatusError as error:
            status, headers = error.status_code, error.response.headers
            raise self._of_status(status, headers, had_extras) from None
        except (TimeoutError, APITimeoutError):
            raise _FailedError("no answer in time") from None
        except (APIConnectionError, HTTPError):
            raise _FailedError("no connection") from None

    async def _body(self, request: ServerRequest, tries: int) -> bytes:
        extras: dict[str, Any] = {}
        if self._extras:
            extras["seed"] = (self._seed + tries) % 2**31  # the same draw would be as malformed
            if self._format is not None:
                extras["response_format"] = self._format
        body = bytearray()
        create = self._client.chat.completions.with_streaming_response.create
        async with create(
            model=str(self._server.model),
            messages=request.messages,  # type: ignore[arg-type] # plain dictionaries, as it sends them
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            max_tokens=self._sampling.max_new_tokens,
            **extras,
        ) as response:
            async for piece in response.iter_bytes():
                body += piece
                if len(body) > _LONGEST_REPLY:
                    raise _FailedError("answer without an end")
        return bytes(body)

    def _of_status(self, status: int, headers: Any, had_extras: bool) -> Exception:
        """Return what a status means: to be tried again, to be dropped, or the user's to mend."""
        if status in _NOT_LET_IN:
            return ConfigError(
                f"task.server.endpoint={self._server.endpoint} answered {status}; set {self._key_name}"
                " in the environment"
            )
        if status == _NOWHERE:
            return ConfigError(
                f"task.server.endpoint={self._server.endpoint} answered 404: no chat completions there, or"
                f" no model '{self._server.model}'; the address ends with /v1 on most servers"
            )
        if status in _NOT_KNOWN and had_extras:
            self._extras = False
            return _UnknownFieldsError()
        is_final = status not in _PUT_OFF and status < _SERVER_FAULT
        wait = None if is_final else retry_after(headers)
        return _FailedError(f"server answered {status}", wait, is_final=is_final)

    def _refuse_a_server_that_is_gone(self, why: str) -> None:
        """Raise ModelError where nothing but failures has come for long."""
        if self._failed >= max(_FAILURES * self._server.in_flight, _FAILURES * self._sampling.max_tries):
            raise ModelError(
                f"task.server.endpoint={self._server.endpoint}: {why}, {self._failed} times in a row; is a"
                " server running there? What was answered is kept: the same command carries on. Without a"
                " network, task.backend=extractive asks nobody"
            )


def _reply(body: bytes, most: Tokens) -> tuple[str, Tokens]:
    """Return what a chat completion says, and its tokens; where it does not count, the most it may be."""
    try:
        given = json.loads(body)
        choice = given["choices"][0]
        text = choice["message"]["content"] or ""
    except (LookupError, TypeError, ValueError, RecursionError):
        raise _FailedError("answer is no chat completion") from None
    usage = given.get("usage")
    if not isinstance(usage, dict):
        return str(text), most
    read, said = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    return str(text), Tokens(
        *(n if type(n) is int and n >= 0 else m for n, m in ((read, most.read), (said, most.said)))
    )
