"""A GGUF file asked by llama.cpp (xllamacpp) in a process of its own: tokens, answers, stops, template."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arabic_llm import files
from arabic_llm.errors import ModelError

NUM_ANSWERED = 24  # tokens of an answer, at most
_CONTEXT = 2048  # tokens: more than a prompt and its answer have
_SURE = 100.0  # added to a logit: it is the next token
_OK = 200
_MOST_SAID = 300  # characters of what a process that failed has said


@dataclass(frozen=True)
class Inquiry:
    """What is asked of a file."""

    texts: Sequence[str]
    prompts: Sequence[Sequence[int]]
    stop_ids: Sequence[int]
    conversations: Sequence[Sequence[dict[str, str]]]


@dataclass(frozen=True)
class Answered:
    """What a file answers, in the order of what was asked."""

    tokens: list[list[int]]  # of each text
    opened: list[int]  # tokens of the first text with what is put before every one
    answers: list[list[int]]  # greedy
    ended: list[bool]  # by a token that ends answers, which is the last one
    stopped: list[bool]  # of each stop token, whether nothing comes after it
    written: list[str | None]  # of each conversation, what the template in the file makes of it


def is_here() -> bool:
    """Return whether llama.cpp can be asked."""
    return find_spec("xllamacpp") is not None


def ask(file: Path, asked: Inquiry, work: Path) -> Answered:
    """Return what a file answers in another process. Raises ModelError where it cannot be loaded."""
    question, answer = work / "llama_asked.json", work / "llama_answered.json"
    files.write_json(question, asdict(asked))
    command = [sys.executable, "-m", __name__, str(file), str(question), str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-_MOST_SAID:]
        raise ModelError(f"llama.cpp cannot load {file}: {said or f'exit code {done.returncode}'}")
    return Answered(**files.read_json(answer))


def _main(file: str, question: str, answer: str) -> None:
    asked = Inquiry(**files.read_json(Path(question)))
    server = _server(file)
    address = urlsplit(server.listening_address)
    connection = HTTPConnection(str(address.hostname), address.port)

    def post(path: str, **body: Any) -> dict[str, Any]:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = json.loads(response.read())
        if response.status != _OK:
            raise ModelError(f"llama.cpp refuses {path}: {said}")
        found: dict[str, Any] = said
        return found

    def complete(prompt: Sequence[int], **more: Any) -> dict[str, Any]:
        how = {"temperature": 0, "return_tokens": True, "cache_prompt": False}
        return post("/completion", prompt=prompt, n_predict=NUM_ANSWERED, **how, **more)

    def write(conversation: Sequence[dict[str, str]]) -> str | None:
        try:
            return str(post("/apply-template", messages=conversation)["prompt"])
        except ModelError:  # it refuses what its template has no place for
            return None

    said = [complete(prompt) for prompt in asked.prompts]
    forced = [complete(asked.prompts[0], logit_bias=[[stop, _SURE]]) for stop in asked.stop_ids]
    found = Answered(
        tokens=[post("/tokenize", content=text, add_special=False)["tokens"] for text in asked.texts],
        opened=post("/tokenize", content=asked.texts[0], add_special=True)["tokens"],
        answers=[one["tokens"] for one in said],
        ended=[one["stop_type"] == "eos" for one in said],
        stopped=[
            one["tokens"] == [stop] and one["stop_type"] == "eos"
            for one, stop in zip(forced, asked.stop_ids, strict=True)
        ],
        written=[write(conversation) for conversation in asked.conversations],
    )
    files.write_json(Path(answer), asdict(found))


def _server(file: str) -> Any:
    """Return llama.cpp's server on a port of this machine only, in the numbers of the file."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.hostnames, settings.port = ["127.0.0.1"], 0
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers = _CONTEXT, 1, 0
    settings.verbosity, settings.warmup = -1, False
    threads = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads  # they spin while they wait
    # In float16 keys and values are rounded, and answers that are nearly even turn.
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(settings)


if __name__ == "__main__":
    _main(*sys.argv[1:])
