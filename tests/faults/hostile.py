"""Folders that mean harm: code that waits to be run, headers that lie, what never ends, what takes all."""

from __future__ import annotations

import functools
import gzip
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import Bench, Case, End, ended
from mutants import TINY

from arabic_llm import files

_SECONDS = 60
_MIB = 2048  # more than a friendly folder takes
EVALUATE = ("task=evaluate", "hw=cpu", "suite.limit=1", "hydra.run.dir=mine")
MODEL = ("model=tiny", "model.builtin=false", "model.path=model")
CODE = "import pathlib\npathlib.Path({ran!r}).touch()\nraise SystemExit\n"


class _Runs:
    """What a pickle does when it is read."""

    def __init__(self, ran: str) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.ran,))


def changed(name: str, **values: Any) -> Callable[[Path, str], None]:
    """Return what puts keys into a JSON file of the folder."""

    def make(folder: Path, _ran: str) -> None:
        before = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps(before | values))

    return make


def written(name: str, content: bytes | str) -> Callable[[Path, str], None]:
    """Return what writes a file of the folder."""
    held = content.encode() if isinstance(content, str) else content
    return lambda folder, _ran: (folder / name).write_bytes(held) and None


def code(kind: str, names: dict[str, str]) -> Callable[[Path, str], None]:
    """Return what names classes of a module that lies in the folder, and does harm."""

    def make(folder: Path, ran: str) -> None:
        (folder / "evil.py").write_text(CODE.format(ran=ran))
        changed(kind, auto_map=names)(folder, ran)

    return make


def code_of_another_type(folder: Path, ran: str) -> None:
    code("config.json", {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})(folder, ran)
    changed("config.json", model_type="evil")(folder, ran)


def pickled(name: str) -> Callable[[Path, str], None]:
    """Return what puts a pickle that runs in the place of the weights."""

    def make(folder: Path, ran: str) -> None:
        (folder / "model.safetensors").unlink(missing_ok=True)
        (folder / "adapter_model.safetensors").unlink(missing_ok=True)
        (folder / name).write_bytes(pickle.dumps(_Runs(ran)))

    return make


def header(length: int | None, said: bytes, rest: bytes = b"") -> bytes:
    """Return safetensors with this header, of this length as it says itself."""
    return struct.pack("<Q", len(said) if length is None else length) + said + rest


_TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
_HEADERS = {
    "empty": b"",
    "no length": b"\1\2\3",
    "length of an exabyte": header(2**60, b"{}"),
    "length below zero": header(2**64 - 1, b"{}"),
    "no JSON": header(None, b"nothing like it"),
    "nested deep": header(None, b'{"a":' * 50_000),
    "a list": header(None, b"[]"),
    "offsets beyond the file": header(
        None, json.dumps({"w": _TENSOR | {"data_offsets": [0, 2**50]}}).encode()
    ),
    "offsets that overlap": header(None, json.dumps({"a": _TENSOR, "b": _TENSOR}).encode(), b"\0" * 8),
    "a shape of exabytes": header(
        None, json.dumps({"w": _TENSOR | {"shape": [2**40, 2**40]}}).encode(), b"\0" * 8
    ),
    "an unknown type": header(None, json.dumps({"w": _TENSOR | {"dtype": "X9"}}).encode(), b"\0" * 8),
    "no tensor": header(None, b"{}"),
    "a tensor of another name": header(None, json.dumps({"w": _TENSOR}).encode(), b"\0" * 8),
}
_JSONS = {
    "nested deep": b"[" * 100_000,
    "objects nested deep": b'{"a":' * 100_000,
    "60 MB of lists": b"[" + b"[]," * 20_000_000 + b"[]]",
    "a list": b"[]",
    "null": b"null",
    "a number of 5000 digits": b'{"vocab_size": ' + b"9" * 5000 + b"}",
    "NaN": b'{"vocab_size": NaN}',
    "lone surrogate": b'{"model_type": "\\ud800"}',
    "no UTF-8": b"\xff\xfe{",
    "the same key a million times": b"{" + b'"a": 1, ' * 1_000_000 + b'"a": 2}',
}
_TEMPLATES = {
    "endless loop": "{% for i in range(10 ** 12) %}{% endfor %}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "text that doubles": "{% set n = namespace(t='x') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}"
    "{% endfor %}{{ n.t }}",
    "text times a number": "{{ 'x' * 10 ** 11 }}",
    "a list times a number": "{{ ([1] * 10 ** 11) | length }}",
    "a power of powers": "{{ 9 ** 9 ** 9 }}",
    "a padded text": "{{ '%99999999999d' % 1 }}",
    "a macro of itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "reaching for classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "reaching for the system": "{{ cycler.__init__.__globals__.os.mkdir('ran') }}",
    "another file": "{% include '/etc/passwd' %}",
    "no end of a block": "{% for m in messages %}",
    "no syntax": "{{ }} {% %} {{",
    "divided by nothing": "{{ 1 // 0 }}",
    "a name that is not there": "{{ nobody.name.of.it }}",
    "it refuses": "{{ raise_exception('no\nnot\nthis') }}",
    "nested deep": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "nothing": "",
}
_BOMB = "(.*)*" * 12 + "(a|aa|a.)+$nothing"
_ADAPTERS: dict[str, dict[str, Any]] = {
    "a regex that never ends, for layers": {"target_modules": r"^(([a-z0-9_.])+.)+[A-Z]([a-z0-9_.])+$"},
    "a regex of regexes, for layers": {"target_modules": _BOMB},
    "a regex that is none": {"target_modules": "(((("},
    "a regex that never ends, for ranks": {"rank_pattern": {r"(([a-z0-9_.])+.)+[A-Z]([a-z0-9_.])+": 4}},
    "a regex that never ends, for alphas": {"alpha_pattern": {r"(([a-z0-9_.])+.)+[A-Z]([a-z0-9_.])+": 4}},
    "a rank of a billion": {"r": 10**9},
    "a rank below zero": {"r": -1},
    "a rank of text": {"r": "eight"},
    "no kind that is known": {"peft_type": "EVIL"},
    "a kind of ours that it is not": {"peft_type": "IA3"},
    "no task": {"task_type": None},
    "layers that are not there": {"target_modules": ["nowhere"]},
    "unknown settings": {"evil": {"a": [1]}},
    "code to be run": {"auto_mapping": {"base_model_class": "os", "parent_library": "evil"}},
}
_LINKS = {
    "a device without end": "/dev/zero",
    "itself": "config.json",
    "nowhere": "nowhere",
    "a folder": ".",
}


def models() -> Iterator[tuple[str, Callable[[Path, str], None]]]:
    """Yield what makes a friendly model hostile."""
    yield "friendly", lambda _folder, _ran: None
    yield "code for the model", code("config.json", {"AutoModelForCausalLM": "evil.M"})
    yield "code for a type that is not known", code_of_another_type
    yield "code for the tokenizer", code("tokenizer_config.json", {"AutoTokenizer": ["evil.T", "evil.T"]})
    yield "weights that are a pickle", pickled("pytorch_model.bin")
    for name, held in _HEADERS.items():
        yield f"weights: {name}", written("model.safetensors", held)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        for name, held in _JSONS.items():
            yield f"{file}: {name}", written(file, held)
    shards = {"w": "../../../etc/passwd"}
    yield "an index out of the folder", changed("model.safetensors.index.json", weight_map=shards)
    yield "an index nested deep", written("model.safetensors.index.json", b"[" * 100_000)
    yield "a tokenizer's regex that never ends", _bad_split
    for name, target in _LINKS.items():
        yield f"config.json is a link to {name}", functools.partial(_linked, target)
    yield "config.json is a pipe", _pipe


def _bad_split(folder: Path, _ran: str) -> None:
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text())
    split = {"type": "Split", "pattern": {"Regex": r"(\S+\S*)+$^"}, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps(rules | {"pre_tokenizer": split}))


def _linked(target: str, folder: Path, _ran: str) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(target)


def _pipe(folder: Path, _ran: str) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")


def data() -> Iterator[tuple[str, str, bytes]]:
    """Yield files of rows that unpack to much more than they are: (kind, name, bytes)."""
    row = json.dumps({"instruction": "س", "output": "ج"}).encode() + b"\n"
    yield "a line of 60 MB of lists", "a.jsonl", b'{"x": [' + b"[]," * 20_000_000 + b"[]]}\n" + row * 40
    yield "a gzip of 2 GB of nothing", "a.jsonl.gz", gzip.compress(b"\n" * 2**31, 1)
    yield "256 MiB of line feeds", "a.jsonl", b"\n" * 2**28 + row * 40
    yield "a cell of 200 MB", "a.csv", b"instruction,output\n" + b"x" * 200_000_000 + b",y\n"


def cases(bench: Bench) -> Iterator[Case]:
    """Yield every hostile folder, model, template, adapter and file of rows."""

    def case(kind: str, name: str, make: Callable[[Path, str], None], typed: tuple[str, ...]) -> Case:
        return Case("hostile", kind, f"hostile {kind}: {name}", lambda: _end(bench, make, typed))

    for name, make in models():
        yield case("model", name, _in("model", make), (*EVALUATE, *MODEL))
    for name, held in _TEMPLATES.items():
        text = written("t.jinja", held)
        yield case("template", name, text, (*EVALUATE, "model.chat_template=t.jinja"))
        inside = _in("model", written("chat_template.jinja", held))
        yield case("template of a model", name, inside, (*EVALUATE, *MODEL))
    adapters = {name: changed("adapter_config.json", **values) for name, values in _ADAPTERS.items()}
    adapters |= {f"config {name}": written("adapter_config.json", held) for name, held in _JSONS.items()}
    adapters |= {
        f"weights: {name}": written("adapter_model.safetensors", held) for name, held in _HEADERS.items()
    }
    adapters["weights that are a pickle"] = pickled("adapter_model.bin")
    for name, make in adapters.items():
        folder = functools.partial(_adapter, bench, make)
        yield case("adapter", name, folder, (*EVALUATE, "adapter.path=adapter"))
    for name, file, held in data():
        rows = written(file, held)
        typed = ("task=sft", "hw=cpu", "data=local", f"data.path={file}", "dry_run=true")
        yield case("rows", name, rows, typed)


def _in(name: str, make: Callable[[Path, str], None]) -> Callable[[Path, str], None]:
    """Return what makes a copy of the built-in model hostile."""

    def made(work: Path, ran: str) -> None:
        shutil.copytree(TINY, work / name, ignore=shutil.ignore_patterns("SEALED.json", "__pycache__"))
        make(work / name, ran)

    return made


def _adapter(bench: Bench, make: Callable[[Path, str], None], work: Path, ran: str) -> None:
    """Make a copy of a trained adapter hostile; it is trained once."""
    trained = bench.folder / "trained"
    if not (trained / "mine" / "result.json").exists():
        shutil.rmtree(trained, ignore_errors=True)
        trained.mkdir(parents=True)
        typed = ("hw=cpu", "task.max_steps=1", "data.max_rows=20", "task.held_out.num_bytes=0")
        bench.nursery.finish(trained, (*typed, "hydra.run.dir=mine", "tracking=none"))
    shutil.copytree(trained / "mine" / "adapter", work / "adapter")
    (work / "adapter" / files.SEAL).unlink()  # a stranger's has none
    make(work / "adapter", ran)


def _end(bench: Bench, make: Callable[[Path, str], None], typed: tuple[str, ...]) -> End:
    """Run the program on a hostile folder, under a limit of time and of memory."""
    work = bench.folder / "hostile"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    ran = work / "ran"
    make(work, str(ran))
    status, said, peak = bench.run(work, typed, _SECONDS)
    if ran.exists():
        return End("its code ran", said[-300:])
    if peak > _friendly_mib(bench) + _MIB:
        return End("too much memory", f"{peak} MiB")
    return ended(status, said)


@functools.cache
def _friendly_mib(bench: Bench) -> int:
    """Return the memory that the program takes with a folder that means well."""
    work = bench.folder / "friendly"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    _in("model", lambda _folder, _ran: None)(work, "")
    _, _, peak = bench.run(work, (*EVALUATE, *MODEL), _SECONDS)
    return peak
