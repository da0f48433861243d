"""Stages of a synthesis that ask a model about paragraphs, and those of benchmarks and the judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.run import RunConfig
from arabic_llm.config.synthesize_task import Backend, KnownBenchmark
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import locate, readers
from arabic_llm.data.reading.records import Record
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import judge
from arabic_llm.evaluation.answers import Answers
from arabic_llm.synthesis import from_benchmarks, prompt_files, replies
from arabic_llm.synthesis.asking import Asker, ServerRequest
from arabic_llm.synthesis.exchanges import TURNS, Exchange, origin, rows
from arabic_llm.synthesis.stage_files import MadeStage, Values, stage
from arabic_llm.workflows import settings

_ARABIC = "ar"


@dataclass(frozen=True)
class Prompts:
    """The prompts of both kinds, in one language, and how many questions are asked for."""

    language: str
    num_pairs: int
    num_examples: int = 0

    def file(self, kind: str) -> prompt_files.PromptFile:
        """Return the prompt of short or long paragraphs."""
        return prompt_files.load(
            "conversation" if kind == "long" else "pairs", self.language, self.num_examples
        )

    def request(self, paragraph: Values, made_by: str) -> ServerRequest:
        """Return what is asked about a paragraph."""
        kind, count = paragraph["kind"], TURNS if paragraph["kind"] == "long" else self.num_pairs
        title = " ".join(paragraph["title"].split())
        messages = self.file(kind).messages(
            {"title": title, "paragraph": paragraph["text"]}, count=str(count)
        )
        return ServerRequest(messages, lambda reply: self.read(reply, kind, made_by))

    def read(self, reply: str, kind: str, made_by: str) -> list[Exchange]:
        """Return what a reply says. Raises MalformedError."""
        found = replies.exchanges(reply, kind, self.language, made_by)
        return found if kind == "long" else found[: self.num_pairs]


def kept_answers(config: RunConfig, name: str, *told: Any) -> Answers:
    """Return what was answered before in the same way: it lies where other runs find it too."""
    return Answers(Path(config.cache_dir) / "synthesis" / f"{name}-{fingerprint(list(told))}.jsonl")


def prompted(config: RunConfig, selected: MadeStage, work: Path, said: list[str]) -> MadeStage:
    """Return the stage of questions and answers that a model has made of the paragraphs."""
    task = settings.synthesis(config)
    lines: Values = {}
    ask = _asked_of_server if task.backend is Backend.openai else _asked_here

    def make(ledger: Ledger) -> Iterator[Values]:
        how_asked = task.sampling
        prompts = Prompts(how_asked.prompts.value, how_asked.num_pairs, how_asked.num_examples)
        model, outcome, lines["said"] = ask(config, selected, prompts)
        for values in selected.read():
            reply, why = outcome(prompts.request(values, model))
            if reply is None:
                ledger.drop(why, values["id"])
                continue
            ledger.keep()
            how = {
                **{"backend": task.backend.value, "model": model},
                **{"prompt": prompts.file(values["kind"]).version, "language": prompts.language},
                **{"temperature": task.sampling.temperature, "seed": config.seed},
            }
            yield from rows(values, prompts.read(reply, values["kind"], model), how)

    made = stage(work, "made", make, lambda: lines)
    said.append(made.counted["said"])
    return made


def asker_of(config: RunConfig) -> Asker:
    """Return who asks the server of the task. Raises ConfigError without one."""
    server = settings.synthesis(config).server
    if server.endpoint is None:
        raise ConfigError(
            "task.backend=openai needs task.server.endpoint=http://localhost:8000/v1 and task.server.model;"
            " without a server, task.backend=extractive asks nobody"
        )
    kept = kept_answers(config, "server", server.model)
    return Asker(server, settings.synthesis(config).sampling, kept, config.seed)


def _asked_of_server(config: RunConfig, selected: MadeStage, prompts: Prompts) -> tuple[str, Any, str]:
    asker = asker_of(config)
    model = str(settings.synthesis(config).server.model)
    requests = (prompts.request(values, model) for values in selected.read())
    asked = asker.ask(requests, replies.SCHEMA)
    return model, asker.outcome, asked.line()


def _asked_here(config: RunConfig, selected: MadeStage, prompts: Prompts) -> tuple[str, Any, str]:
    from arabic_llm.workflows import synthesize_here

    return synthesize_here.asked(config, (prompts.request(v, config.model.name) for v in selected.read()))


def magpie(config: RunConfig, work: Path, said: list[str]) -> MadeStage:
    """Return the stage of questions that a model has invented, and its answers."""
    from arabic_llm.workflows import synthesize_here

    made = stage(work, "made", lambda ledger: synthesize_here.magpie(config, ledger))
    said.append(synthesize_here.diversity(config, made))
    return made


def benchmark(config: RunConfig, ledger: Ledger) -> Iterator[Values]:
    """Yield the training rows of a benchmark as instructions."""
    task = settings.synthesis(config)
    wanted = task.benchmark or KnownBenchmark.gsm8k
    how = {"backend": "templates", "model": None, "prompt": f"{wanted.value}@{_template_version()}"}
    for place, values in _records(config, ledger):
        try:
            item = from_benchmarks.read(wanted, values)
        except from_benchmarks.NoItemError as error:
            ledger.drop(str(error), place)
            continue
        ledger.keep()
        question, answer = from_benchmarks.exchange(wanted, item, place, config.seed)
        told = origin(place, [f"templates:{wanted.value}"], how, license=config.data.license or "")
        row: Values = {"id": place, "exchanges": [[question, answer]], "paragraph": "", "origin": told}
        if config.data.language not in (None, _ARABIC):
            row["item"] = {"parts": item.parts, "choices": list(item.choices), "right": item.right}
        yield row


def _template_version() -> str:
    return fingerprint(Path(from_benchmarks.__file__).read_text(encoding="utf-8"))[:8]


def _records(config: RunConfig, ledger: Ledger) -> Iterator[tuple[str, Values]]:
    """Yield the training records of data=, as their file has them."""
    if config.data.builtin:
        raise ConfigError(
            f"task.benchmark: data={config.data.name} is built in; name the training rows of the benchmark"
            " (data=local data.path=train.jsonl)"
        )
    for source in locate.sources_of(config.data):
        for put in sources.inputs_of(source, Path(config.data_root)):
            if put.path is None or put.given.name != "train":
                continue
            for item in readers.read(put.path, unwrap=True):
                place = item.place.removeprefix(f"{config.data_root}/")
                if isinstance(item, Record):
                    yield place, item.values
                else:
                    ledger.drop(item.reason.partition(":")[0], place)


def translated(config: RunConfig, made: MadeStage, work: Path) -> MadeStage:
    """Return the stage of rows in Arabic; what each was translated from is kept beside it."""
    from arabic_llm.workflows import synthesize_here

    return stage(work, "translated", lambda ledger: synthesize_here.translated(config, made, ledger))


def judge_asker(config: RunConfig) -> Asker:
    """Return who asks the judge."""
    task = settings.synthesis(config)
    asked = config.judge
    server = replace(
        task.server, endpoint=asked.endpoint, model=asked.model, max_tokens=None, max_cost=None
    )
    sampling = replace(task.sampling, temperature=0.0, max_new_tokens=200)
    kept = kept_answers(config, "judge", server.model)
    return Asker(server, sampling, kept, config.seed, judge.KEY)
