"""A model's opinion of mistakes that no check explains: asked over HTTP, kept, and marked as its own."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from httpx2 import Client, HTTPError, HTTPStatusError, Response
from tqdm import tqdm

from arabic_llm.analysis.mistake_checks import CHOSEN, GENERATED
from arabic_llm.analysis.mistakes import OTHER, Mistake, SortedMistakes, explained
from arabic_llm.analysis.wrong_item import Case
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import JudgeConfig
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.answers import Answers

log = logging.getLogger(__name__)
KEY = "ARABIC_LLM_JUDGE_KEY"  # in the environment only: what is configured is written to files
_AT_ONCE = 8  # requests
_TIMEOUT_SECONDS = 120
_MOST_TOKENS = 200  # of a reply: a kind and one sentence
_LONGEST_REPLY = 2**20  # bytes: a kind and one sentence have some hundred
_LONGEST = 4000  # characters of each text: a paragraph, not a book
_REFUSED = (401, 403)
_NOT_ASKED = ("one answer for all", "undecided", "empty", "cut")  # the checks know more of these
_PROMPT = """A language model was asked a question, and answered wrongly. Say which kind of mistake it is.

Kinds:
{kinds}
- other: well formed, and plainly wrong

Context: {context}
Question: {question}
Right answer: {target}
The model's answer: {answer}

Reply with one JSON object and nothing else: {{"kind": "<one of the kinds>", "reason": "<one sentence>"}}"""


class StrangeReplyError(Exception):
    """The server answered, and not as a judge."""


def ask(found: SortedMistakes, settings: JudgeConfig, kept: Answers) -> SortedMistakes:
    """Return the mistakes with the judge's kind for those that the checks left as other.

    What was asked before is not asked again. Where the judge fails, a line says so, and what it has not
    answered stays as it is.
    """
    prompts = [_prompt(mistake) if mistake.kind == OTHER else "" for mistake in found.mistakes]
    missing = [text for text in dict.fromkeys(prompts) if text and _key(settings, text) not in kept]
    try:
        if missing:
            _fetch(missing, settings, kept)
    except (HTTPError, StrangeReplyError) as error:
        left = sum(_key(settings, text) not in kept for text in missing)
        log.warning(
            "judge.endpoint=%s: %s; %s mistakes stay '%s': resume=false asks for them again",
            *(settings.endpoint, said_of(error), left, OTHER),
        )
    finally:
        kept.flush()
    judged = [
        _judged(mistake, kept[key], str(settings.model))
        if text and (key := _key(settings, text)) in kept
        else mistake
        for mistake, text in zip(found.mistakes, prompts, strict=True)
    ]
    return SortedMistakes(found.items, judged)


def key_of_environment(name: str) -> str:
    """Return a server's key, "" without one. Raises ConfigError for what is no key."""
    secret = os.environ.get(name, "").strip()
    if not (secret.isascii() and secret.isprintable()):  # clients would say it, in a traceback
        raise ConfigError(f"{name} holds what no key does: other letters than ASCII, or a line end")
    return secret


def client() -> Client:
    """Return who asks a judge, with the key of the environment. Raises ConfigError for what is no key."""
    secret = key_of_environment(KEY)
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return Client(timeout=_TIMEOUT_SECONDS, headers=headers)


def completion(server: Client, settings: JudgeConfig, messages: Sequence[dict[str, str]], most: int) -> str:
    """Return what the judge says to messages, in at most so many tokens.

    Raises HTTPError where it does not answer, StrangeReplyError where it answers not as a judge.
    """
    url = f"{str(settings.endpoint).rstrip('/')}/chat/completions"
    question = {"model": settings.model, "messages": messages, "temperature": 0, "max_tokens": most}
    with server.stream("POST", url, json=question) as response:
        return _reply(response)


def _fetch(prompts: Sequence[str], settings: JudgeConfig, kept: Answers) -> None:
    """Ask what was not asked before; each reply is kept as it comes."""
    with client() as server, ThreadPoolExecutor(_AT_ONCE) as pool:

        def reply(prompt: str) -> str:
            return completion(server, settings, [{"role": "user", "content": prompt}], _MOST_TOKENS)

        asked = {pool.submit(reply, prompt): prompt for prompt in prompts}
        try:
            for future in tqdm(as_completed(asked), "asking the judge", len(prompts), unit="mistake"):
                kept.add({_key(settings, asked.pop(future)): future.result()})
        except BaseException:
            pool.shutdown(cancel_futures=True)
            for future, prompt in asked.items():  # what came beside the one that failed
                if not future.cancelled() and future.exception() is None:
                    kept.add({_key(settings, prompt): future.result()})
            raise


def _reply(response: Response) -> str:
    response.raise_for_status()
    body = b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > _LONGEST_REPLY:
            raise StrangeReplyError(f"answered more than {_LONGEST_REPLY:,} bytes to one question")
    try:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise StrangeReplyError(
            "answered something else than a chat completion; the address ends with /v1 on most servers"
        ) from error


def _judged(mistake: Mistake, reply: str, model: str) -> Mistake:
    """Return the mistake with the kind that a reply names; as it was where it names none."""
    for text in re.findall(r"\{[^{}]*\}", reply):
        try:
            said = json.loads(text, strict=False)
        except (ValueError, RecursionError):
            continue
        if (kind := str(said.get("kind", "")).strip().lower()) in (*_kinds(mistake), OTHER):
            return replace(
                mistake, kind=kind, reason=str(said.get("reason", ""))[:_LONGEST], judged_by=model
            )
    return mistake


def _prompt(mistake: Mistake) -> str:
    case, known = Case(mistake.item), explained()
    texts = {
        "context": case.item.context or "none",
        "question": case.item.question,
        "target": case.target,
        "answer": case.answer,
    }
    kinds = "\n".join(f"- {kind}: {known[kind]}" for kind in _kinds(mistake))
    return _PROMPT.format(kinds=kinds, **{name: text[:_LONGEST] for name, text in texts.items()})


def _kinds(mistake: Mistake) -> list[str]:
    return [kind for kind in (CHOSEN if mistake.item.num_choices else GENERATED) if kind not in _NOT_ASKED]


def _key(settings: JudgeConfig, prompt: str) -> str:
    return fingerprint([settings.model, prompt])


def said_of(error: Exception) -> str:
    """Return in one line what went wrong, and what to do about it."""
    if isinstance(error, HTTPStatusError):
        status = error.response.status_code
        cure = f"; set {KEY} in the environment" if status in _REFUSED else ""
        return f"answered {status} {error.response.reason_phrase}{cure}"
    if isinstance(error, HTTPError):
        said = " ".join(str(error).split()) or type(error).__name__
        return f"no answer ({said}); is a server running there?"
    return str(error)
