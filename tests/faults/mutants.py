"""Mutants by the thousand in one process: files of data, models and evaluations, and typed settings."""

from __future__ import annotations

import functools
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import test_fuzz
from bench import Bench, Case, End, called, is_one_line
from conftest import compose_config, run_in
from mutations import ANY_BYTES, ANY_TEXT, exchange_values, mutated, mutated_file

from arabic_llm.config.data import BadRow, DataConfig
from arabic_llm.config.paths import CONF, PACKAGE
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import UserError

TINY = PACKAGE / "models" / "tiny"
_SHARES = {"data": 0.75, "settings": 0.1, "evaluations": 0.1, "models": 0.05}
_MODEL = ("model=tiny", "model.builtin=false")
_TASKS = ("sft", "plan", "prepare", "compare", "report", "pretrain", "inspect")
_VALUES = (
    *(
        "",
        "null",
        "-1",
        "0",
        "1",
        "7",
        "1.5",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "9" * 400,
        "true",
        "no",
    ),
    *(
        "[]",
        "{}",
        "[1,2]",
        "{a: 1}",
        "[[]]",
        "[null]",
        "text",
        "'",
        '"',
        "\\",
        "???",
        "${seed}",
        "${nobody}",
    ),
    *(
        "${oc.env:NOBODY}",
        "${.}",
        "نص",
        "\u202e",
        "a b",
        "a=b",
        "*",
        "..",
        "~",
        "x" * 5000,
        "%s",
        "\x00",
        "!",
    ),
    *("0x10", "1_000", "2026-11-28", "{", "[", "(", "a,b", "choice(1,2)", "range(1,3)", "@x", "<", "$"),
)


def cases(bench: Bench, num_mutants: int) -> Iterator[Case]:
    """Yield mutants of every kind, in a fixed proportion."""
    work = bench.folder / "mutants"
    work.mkdir(exist_ok=True)
    for name, of in (("settings", _settings), ("evaluations", _evaluation), ("models", _model)):
        for number in range(round(num_mutants * _SHARES[name])):
            one = f"{name} {number}"
            yield Case("mutants", name, one, functools.partial(of, work, bench.draw(one)))
    suffixes = test_fuzz.AT_FULL_SIZE
    wanted = num_mutants * _SHARES["data"] / sum(suffixes.values())
    for suffix, weight in suffixes.items():
        for number in range(round(weight * wanted)):
            one = f"data {suffix} {number}"
            run = functools.partial(_data, work, suffix, number, bench.draw(one))
            yield Case("mutants", f"data {suffix}", one, run)


@functools.cache
def _seed(folder: Path, suffix: str) -> tuple[bytes, DataConfig]:
    binary = test_fuzz.BINARY
    seed = binary[suffix](folder) if suffix in binary else test_fuzz.text_seed(suffix)
    return seed, test_fuzz.config(suffix)


def _data(work: Path, suffix: str, number: int, draw: random.Random) -> End:
    seed, data = _seed(work, suffix)
    path = work / f"mutated{suffix}"
    path.write_bytes(mutated_file(draw, seed, suffix, inside=number % 4 < 2))
    data = replace(data, path=str(path), on_bad_row=BadRow.drop if number % 2 else BadRow.stop)
    return called(lambda: test_fuzz.outcome(data, path))


def refused(error: UserError) -> str:
    """Return what a refusal is: one line that can be printed."""
    said = str(error)
    return "refused" if len(said.splitlines()) == 1 and said.isprintable() else "not one line"


@functools.cache
def _keys() -> list[str]:
    """Return every full key of the configuration, but for those that say where files go."""

    def inside(value: object, key: str) -> Iterator[str]:
        yield key
        for name, item in vars(value).items() if hasattr(value, "__dataclass_fields__") else ():
            yield from inside(item, f"{key}.{name}")

    config = compose_config("task=sft")
    found = [key for name, value in vars(config).items() for key in inside(value, name)]
    return [key for key in found if key not in ("output_dir", "cache_dir", "data_root", "tracking")]


def _typed(draw: random.Random) -> list[str]:
    """Return settings as nobody should type them."""
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    typed = [f"task={draw.choice(_TASKS)}", "hw=cpu", "data.max_rows=20"]
    for _ in range(draw.choice((1, 1, 2, 3))):
        before = draw.choice(("", "", "", "", "+", "++", "~"))
        key = draw.choice(_keys() if draw.random() < 0.85 else groups)
        value = draw.choice(_VALUES)
        one = f"{before}{key}={draw.choice((value, value, json.dumps(value)))}"
        if draw.random() < 0.2:
            at = draw.randrange(len(one) + 1)
            one = one[:at] + draw.choice(("=", ".", " ", "'", "[", "{", "\n", "ي", "${", ",")) + one[at:]
        typed.append(one)
    draw.shuffle(typed)
    return typed


def _settings(work: Path, draw: random.Random) -> End:
    typed = _typed(draw)
    here = work / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()

    def ran() -> str:
        status, said = run_in(here, *typed, "dry_run=true")
        said_last.append(said[-500:])
        if status == 0:
            return "composed"
        return "refused" if status == 2 and is_one_line(said) else "not one line"

    said_last: list[str] = []
    end = called(ran, 60)
    return replace(end, said=f"{typed} {end.said} {said_last}") if end.is_fault else end


def _evaluation(work: Path, draw: random.Random) -> End:
    from arabic_llm.analysis import scores

    folder = work / "evaluation"
    if not folder.exists():
        _evaluate(work, folder)
    name = draw.choice(("items.jsonl", "result.json"))
    whole = (folder / name).read_bytes()
    before = scores.read(folder)
    change = exchange_values if draw.random() < 0.3 else functools.partial(mutated, mutations=ANY_TEXT)
    (folder / name).write_bytes(change(draw, whole))

    def read() -> str:
        try:
            return "read as it was" if scores.read(folder, are_shares=True) == before else "other numbers"
        except UserError as error:
            return refused(error)

    try:
        return called(read)
    finally:
        (folder / name).write_bytes(whole)


def _evaluate(work: Path, folder: Path) -> None:
    """Evaluate the built-in model on a few items."""
    status, said = run_in(work, "task=evaluate", "hw=cpu", "suite.limit=3", "hydra.run.dir=evaluated")
    if status:
        raise AssertionError(said)
    shutil.copytree(work / "evaluated" / "evaluation", folder)


@functools.cache
def _config(folder: str) -> RunConfig:
    return compose_config("task=evaluate", "hw=cpu", *_MODEL, f"model.path={folder}")


def _model(work: Path, draw: random.Random) -> End:
    """Load a model one of whose files is mutated, as an evaluation does."""
    from arabic_llm.data.tokens import chat_template
    from arabic_llm.models import adapter, bases, placement, tokenization

    folder = work / "model"
    if not folder.exists():
        shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("SEALED.json", "__pycache__"))
    path = draw.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    whole = path.read_bytes()
    kinds = ANY_BYTES if path.suffix == ".safetensors" else ANY_TEXT
    changed = mutated(draw, whole, kinds)
    if path.suffix == ".json" and draw.random() < 0.5:
        changed = exchange_values(draw, whole)
    path.write_bytes(changed)

    def loaded() -> str:
        config = _config(str(folder))
        try:
            base = bases.locate(config.model, work / "cache", network=False)
            codec = chat_template.prepare(tokenization.load(base), config.model)
            codec.tokenizer("ما عاصمة مصر؟")
            place = placement.resolve(config.hw)
            adapter.load_trained(config.model, base, config.adapter, place, None)
        except UserError as error:
            return refused(error)
        return "loaded"

    try:
        end = called(loaded, 60)
        return replace(end, said=f"{path.name}: {end.said}") if end.is_fault else end
    finally:
        path.write_bytes(whole)
