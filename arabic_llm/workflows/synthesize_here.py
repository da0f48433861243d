"""Stages of a synthesis that ask a model of this machine: questions, inventions, translation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from arabic_llm import machine
from arabic_llm.config.chat_task import Show
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.run import RunConfig
from arabic_llm.config.synthesize_task import KnownBenchmark
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import chat, chat_template
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.answers import Answers
from arabic_llm.models import bases, placement, tokenization
from arabic_llm.synthesis import from_benchmarks, local_model, protection, translation
from arabic_llm.synthesis import magpie as magpie_
from arabic_llm.synthesis.asking import ServerRequest
from arabic_llm.synthesis.exchanges import origin
from arabic_llm.synthesis.from_benchmarks import BenchmarkItem
from arabic_llm.synthesis.local_model import Speaker
from arabic_llm.synthesis.replies import MalformedError
from arabic_llm.synthesis.stage_files import MadeStage, Values
from arabic_llm.workflows import settings, synthesize_with, talkers
from arabic_llm.workflows.talkers import Talker

_AS_THEY_ARE = ("kind", "result")  # parts of an item that are not translated: Arabic already; a number
_TOO_LONG = "prompt longer than the model sees"
Outcome = Callable[[ServerRequest], tuple[str | None, str]]


def speaker(config: RunConfig) -> Speaker:
    """Return model=... with what adapter.path has taught it, ready to be asked."""
    base = bases.locate(config.model, Path(config.cache_dir))
    trained = None if config.adapter.path is None else Path(config.adapter.path)
    codec = chat_template.prepare(tokenization.load(base, trained), config.model)
    talker = Talker(config.model, config.adapter, base, trained, codec)
    (voice,) = talkers.voices(config, talker, Show.base if trained is None else Show.tuned)
    return Speaker(voice.model, voice.codec, voice.ends, voice.max_length)


def _kept(config: RunConfig, name: str) -> Answers:
    """Return what this model has answered, drawn in the same way."""
    base = bases.locate(config.model, Path(config.cache_dir))
    told = [bases.files_hash(base.folder, Path(config.cache_dir)), config.adapter.path, config.seed]
    return synthesize_with.kept_answers(config, name, *told, vars(settings.synthesis(config).sampling))


def asked(config: RunConfig, requests: Iterable[ServerRequest]) -> tuple[str, Outcome, str]:
    """Return the model's name, what it said to each request, and a line of how many were asked again."""
    task = settings.synthesis(config)
    told, kept, talks = list(requests), _kept(config, "here"), speaker(config)
    room = talks.max_length - task.sampling.max_new_tokens
    ids = {_key(r): chat.encode_prompt(talks.codec, _turns(r)) for r in told}
    why = {key: _TOO_LONG for key, some in ids.items() if len(some) > room}
    waiting, again = [r for r in told if _key(r) not in why], 0
    for tries in range(task.sampling.max_tries):
        prompts = [(f"{_key(r)}/{tries}", ids[_key(r)]) for r in waiting]
        local_model.answer(talks, prompts, task.sampling, kept)
        waiting = [r for r in waiting if _malformed(r, kept[f"{_key(r)}/{tries}"], why)]
        again += len(waiting)

    def outcome(request: ServerRequest) -> tuple[str | None, str]:
        key = _key(request)
        if key in why:
            return None, why[key]
        tried = (kept[name] for n in range(task.sampling.max_tries) if (name := f"{key}/{n}") in kept)
        return next(said for said in tried if not _malformed(request, said, {})), ""

    return config.model.name, outcome, f"model: {len(told):,} prompts, {again:,} malformed answers"


def _malformed(request: ServerRequest, reply: str, why: dict[str, str]) -> bool:
    """Return whether a reply is none, and note why; one that is none no more is forgotten."""
    try:
        request.check(reply)
    except MalformedError as error:
        why[_key(request)] = str(error)
        return True
    why.pop(_key(request), None)
    return False


def _key(request: ServerRequest) -> str:
    return fingerprint(request.messages)


def _turns(request: ServerRequest) -> list[Message]:
    """Return a request with what the system says in the user's first turn: many templates have no other."""
    system, first, *others = (turn["content"] for turn in request.messages)
    said = [f"{system}\n\n{first}", *others]
    return [Message("assistant" if at % 2 else "user", content) for at, content in enumerate(said)]


def magpie(config: RunConfig, ledger: Ledger) -> Iterator[Values]:
    """Yield questions that the model has invented after the opening of a user's turn, and its answers."""
    sampling, talks = settings.synthesis(config).sampling, speaker(config)
    if not sampling.temperature:
        raise ConfigError(
            "task.backend=magpie needs task.sampling.temperature above 0: else it asks one question"
        )
    opening, kept = magpie_.user_opening(talks.codec), _kept(config, "magpie")
    names = [f"magpie/{number}" for number in range(sampling.num_conversations)]
    inventing = replace(talks, ends=magpie_.turn_ends(talks.codec))
    local_model.answer(inventing, [(f"{name}/question", opening) for name in names], sampling, kept)
    questions = {name: kept[f"{name}/question"] for name in names}
    room = talks.max_length - sampling.max_new_tokens
    prompts = []
    for name, question in questions.items():
        if question.strip() and (ids := _prompt(talks, question)) and len(ids) <= room:
            prompts.append((f"{name}/answer", ids))
    local_model.answer(talks, prompts, sampling, kept)
    how = {"backend": "magpie", "model": config.model.name, "prompt": "empty user turn"}
    how |= {"temperature": sampling.temperature, "seed": config.seed}  # type: ignore[dict-item]
    for name, question in questions.items():
        if f"{name}/answer" not in kept:
            ledger.drop("no question came" if not question.strip() else _TOO_LONG, name)
            continue
        ledger.keep()
        told = origin("", [config.model.name], how)
        said = [[question, kept[f"{name}/answer"]]]
        yield {"id": name, "exchanges": said, "paragraph": "", "origin": told}


def _prompt(talks: Speaker, question: str) -> list[int]:
    """Return the ids of a question; none where it holds a token of the template."""
    try:
        return chat.encode_prompt(talks.codec, [Message("user", question)])
    except ConfigError:
        return []


def diversity(config: RunConfig, made: MadeStage) -> str:
    """Return how unlike each other the invented questions are, in a line."""
    questions = [row["exchanges"][0][0] for row in made.read()]
    return magpie_.diversity(
        questions, settings.synthesis(config).quality.near_duplicates, config.seed
    ).line()


def translated(config: RunConfig, made: MadeStage, ledger: Ledger) -> Iterator[Values]:
    """Yield rows in Arabic: of a benchmark the item's parts are translated, and templates ask in Arabic."""
    task = settings.synthesis(config)
    how = task.translation
    device = placement.resolve(machine.settle(config.hw)).device
    engine = translation.engine(how, device)
    told = (how.engine.value, how.source, how.target, how.num_beams, how.max_tokens)
    weights = bases.files_hash(Path(str(how.path)).expanduser(), Path(config.cache_dir))
    kept = synthesize_with.kept_answers(config, "translation", weights, *told)
    texts = chain.from_iterable(_texts(row) for row in made.read())
    known = translation.translate(texts, engine, how, kept)
    for row in made.read():
        ledger.keep()
        lost = not all(protection.is_kept(text, known[text]) for text in _texts(row))
        yield {**row, **_in_arabic(row, known, task.benchmark, config.seed), "lost": lost}


def _texts(row: Values) -> list[str]:
    """Return what of a row is translated."""
    if "item" in row:
        parts = row["item"]["parts"]
        return [
            *(text for name, text in parts.items() if name not in _AS_THEY_ARE),
            *row["item"]["choices"],
        ]
    return [text for exchange in row["exchanges"] for text in exchange]


def _in_arabic(row: Values, known: dict[str, str], benchmark: KnownBenchmark | None, seed: int) -> Values:
    if "item" not in row or benchmark is None:
        before = row["exchanges"]
        after = [[known[text] for text in exchange] for exchange in before]
        # The paragraph is in the other language than the answer, or no longer to be held against it.
        return {"exchanges": after, "translated_from": before}
    item = row["item"]
    parts = {name: text if name in _AS_THEY_ARE else known[text] for name, text in item["parts"].items()}
    choices = tuple(known[choice] for choice in item["choices"])
    said = BenchmarkItem(parts, choices, item["right"])
    return {"exchanges": [list(from_benchmarks.exchange(benchmark, said, row["id"], seed))]}
