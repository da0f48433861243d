"""The commands that serve a run by others' programs: transformers, vLLM, Ollama."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
_PORT = 8000  # of transformers and vLLM, where none is given
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM takes (--max-lora-rank)


@dataclass(frozen=True)
class Served:
    """What there is of a run to be served; None: that form was not exported."""

    name: str  # that Ollama and vLLM call it
    run: Path
    base: str  # folder, or name on the hub
    adapter: Path | None
    merged: Path | None
    ollama: Path | None  # folder with a Modelfile
    settings: Mapping[str, Any] | None  # adapter_config.json; None: all weights were trained
    is_4bit: bool


def lines(served: Served, port: int | None) -> Iterator[str]:
    """Yield what a person is to type, each command by itself, under who serves it."""
    where = f"--host {HOST} --port {port or _PORT}"
    yield "transformers (an OpenAI-compatible server; pip install 'arabic-llm[serve]'):"
    yield from _export(served, served.merged, "merged")
    yield f"  {transformers(served.merged or Path('OUT/merged'), port or _PORT)}"
    why = without_adapter(served)
    yield f"vLLM{'' if why is None else f' (whole weights: {why})'}:"
    if why is None:
        yield from _export(served, served.adapter, "adapter")
        yield f"  {_with_adapter(served, served.adapter or Path('OUT/adapter'))} {where}"
    else:
        yield from _export(served, served.merged, "merged")
        yield f"  vllm serve {_quoted(served.merged or Path('OUT/merged'))} {where}"
    yield "Ollama:"
    yield from _export(served, served.ollama, "ollama")
    folder = served.ollama or Path("OUT/gguf")
    yield f"  ollama create {served.name} -f {_quoted(folder / 'Modelfile')}"
    yield f"  ollama run {served.name}"


def transformers(merged: Path, port: int) -> str:
    """Return the command that serves merged weights: it knows no adapters."""
    return f"transformers serve {_quoted(merged)} --host {HOST} --port {port}"


def without_adapter(served: Served) -> str | None:
    """Return why vLLM cannot serve the adapter beside its base; None where it can."""
    settings = served.settings
    if settings is None:
        return "all of them were trained"
    if settings.get("use_dora"):
        return "it serves no DoRA"
    if settings.get("modules_to_save") or settings.get("trainable_token_indices"):
        return "it serves no adapter with rows of tokens"
    if settings["r"] > _RANKS[-1]:
        return f"it serves no rank above {_RANKS[-1]}"
    return "the adapter was trained on 4-bit weights" if served.is_4bit else None


def export(served: Served, form: str) -> str:
    """Return the command that makes a form of a run."""
    run = shlex.quote(f"task.run={served.run}")
    return f"python -m arabic_llm.run task=export {run} 'task.formats=[{form}]'"


def _export(served: Served, made: Path | None, form: str) -> Iterator[str]:
    """Yield the command that comes first where a form is not there; OUT is the folder that it says."""
    if made is None:
        yield f"  {export(served, form)}  # OUT: the folder that it says"


def _with_adapter(served: Served, adapter: Path) -> str:
    rank = next(rank for rank in _RANKS if (served.settings or {})["r"] <= rank)
    return (
        f"vllm serve {shlex.quote(served.base)} --enable-lora --lora-modules"
        f" {served.name}={_quoted(adapter)} --max-lora-rank {rank} --chat-template"
        f" {_quoted(adapter / 'chat_template.jinja')}"
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
