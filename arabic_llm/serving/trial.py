"""Starts transformers serve for one question: whether it reads and answers as we do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.data.rows import Message
from arabic_llm.errors import ConfigError, HardwareError, ModelError
from arabic_llm.serving.commands import HOST
from arabic_llm.serving.talk import as_turns

_NEEDS = ("fastapi", "uvicorn", "openai", "pydantic")  # as transformers' is_serve_available has it
_SECONDS = 900  # until a model is read
_MOST_SAID = 300  # characters of what a server that ended has said
_OK = 200


@dataclass(frozen=True)
class Reply:
    """What the server answered, and how many tokens it read and said."""

    text: str
    num_read: int
    num_said: int
    has_ended: bool


def refuse_missing() -> None:
    """Refuse a start without what the server is made of. Raises ConfigError."""
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        raise ConfigError(
            f"task.start=true: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed;"
            " pip install 'arabic-llm[serve]'"
        )


def free_port(wanted: int | None) -> int:
    """Return the port to listen on: any free one where none is wanted.

    Raises HardwareError where another program listens on it.
    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, wanted or 0))
        except OSError as error:
            raise HardwareError(
                f"task.port={wanted}: {error.strerror}; end what listens there, or give another one"
            ) from error
        return int(tried.getsockname()[1])


@contextmanager
def served(folder: Path, port: int, log: Path) -> Iterator[None]:
    """Serve a folder while the block runs. Raises ModelError for a server that does not come up."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*command, "--host", HOST, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        _wait(process, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(port: int, messages: Sequence[Message], most: int) -> Reply:
    """Return the likeliest answer of a server. Raises ModelError for none."""
    body = {"messages": as_turns(messages), "max_tokens": most, "temperature": 0}
    status, said = _request(port, "POST", "/v1/chat/completions", body)
    try:
        given: Any = json.loads(said) if status == _OK else None
        choice, usage = given["choices"][0], given["usage"]
        text, read, num_said = (
            choice["message"]["content"],
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )
    except (ValueError, LookupError, TypeError) as error:
        shown = said[:_MOST_SAID].decode(errors="replace")
        raise ModelError(f"transformers serve answered {status}: {shown}") from error
    return Reply(str(text or "").strip(), int(read), int(num_said), choice["finish_reason"] == "stop")


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + _SECONDS
    while True:
        if process.poll() is not None:
            lines = files.read_text(log).split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
            raise ModelError(f"transformers serve has ended, and said: {last[:_MOST_SAID]}")
        try:
            if _request(port, "GET", "/health")[0] == _OK:
                return
        except (OSError, HTTPException):  # it does not listen yet
            pass
        if time.monotonic() > end:
            raise ModelError(f"transformers serve did not come up in {_SECONDS} s; {log} has what it said")
        time.sleep(0.2)


def _request(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection(HOST, port, timeout=_SECONDS)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
