"""Synthetic rows from articles to checked rows, stage after stage; what was made is kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from arabic_llm import files
from arabic_llm.config.data import Engine
from arabic_llm.config.run import RunConfig
from arabic_llm.config.synthesize_task import (
    Articles,
    Backend,
    ParagraphsConfig,
    QualityConfig,
    SynthesizeConfig,
)
from arabic_llm.config.unread_of_synthesis import is_translated
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.reading.records import shown
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.synthesis import (
    articles,
    extractive,
    mediawiki,
    paragraphs,
    quality,
    review_marks,
    selection_of_paragraphs,
)
from arabic_llm.synthesis.articles import Article
from arabic_llm.synthesis.exchanges import TURNS, rows
from arabic_llm.synthesis.stage_files import Each, MadeStage, Values, stage
from arabic_llm.workflows import prepare, settings, synthesize_with

log = logging.getLogger(__name__)
_NO_EXCHANGE = {"short": "no question found", "long": f"fewer than {TURNS} questions found"}


@dataclass(frozen=True)
class Made:
    """The checked rows, the stages that led to them, and what a person is told of them."""

    stages: list[MadeStage]
    said: list[str]

    @property
    def rows(self) -> MadeStage:
        """Return the last stage."""
        return self.stages[-1]


def make(config: RunConfig, work: Path) -> Made:
    """Return rows that passed all checks; stages that lie whole in the folder are not made again."""
    task = settings.synthesis(config)
    said: list[str] = []
    stages = _made(config, work, said)
    if is_translated(config):
        stages.append(synthesize_with.translated(config, stages[-1], work))
    dropped = review_marks.dropped(Path(task.marks)) if task.marks else set[str]()
    each = partial(_checked, dropped=frozenset(dropped), checks=task.quality)
    stages.append(_of_each(config, work, "checked", stages[-1], each))
    if not stages[-1].ledger.kept:
        raise DataError(
            f"{config.output_dir}: no row is left: {'; '.join(str(one.ledger) for one in stages)}"
        )
    return Made(stages, said)


def _made(config: RunConfig, work: Path, said: list[str]) -> list[MadeStage]:
    """Return the stages up to questions and answers."""
    task = settings.synthesis(config)
    if task.benchmark is not None:
        return [stage(work, "reworded", lambda ledger: synthesize_with.benchmark(config, ledger))]
    if task.backend is Backend.magpie:
        return [synthesize_with.magpie(config, work, said)]
    stages = _paragraphs(config, work, said)
    if task.backend is Backend.extractive:
        each = partial(_extracted, num_pairs=task.sampling.num_pairs)
        made = _of_each(config, work, "made", stages[-1], each)
    else:
        made = synthesize_with.prompted(config, stages[-1], work, said)
    return [*stages, made]


def _paragraphs(config: RunConfig, work: Path, said: list[str]) -> list[MadeStage]:
    """Return the stages of articles and of their paragraphs."""
    task = settings.synthesis(config)
    found = stage(work, "articles", lambda ledger: _articles(config, ledger))
    split = _of_each(config, work, "paragraphs", found, partial(_split, how=task.paragraphs))
    kinds: Values = {}
    kept = stage(
        work,
        "selected",
        lambda ledger: selection_of_paragraphs.select(split, task.paragraphs, config.seed, ledger, kinds),
        lambda: kinds,
    )
    said.append(shares(kept, split, task))
    return [found, split, kept]


def shares(kept: MadeStage, split: MadeStage, task: SynthesizeConfig) -> str:
    """Return the shares of short and long paragraphs, asked and achieved."""
    total = max(1, kept.ledger.kept + kept.ledger.dropped["neither short nor long"])
    asked = {"short": task.paragraphs.short_share, "long": task.paragraphs.long_share}
    each = [
        f"{kind} {kept.counted.get(kind, 0):,} ({kept.counted.get(kind, 0) / total:.1%}, asked {share:.1%})"
        for kind, share in asked.items()
    ]
    return f"paragraphs: {', '.join(each)}"


def _articles(config: RunConfig, ledger: Ledger) -> Iterator[Values]:
    task = settings.synthesis(config)
    found: Iterator[Article]
    if task.articles is Articles.mediawiki:
        found = mediawiki.articles(task.mediawiki, Path(config.cache_dir) / "mediawiki", ledger)
    else:
        found = articles.of_data(config.data, Path(config.data_root), ledger)
    for article in found:
        yield article.as_dict()


def _of_each(config: RunConfig, work: Path, name: str, source: MadeStage, each: Each) -> MadeStage:
    """Return a stage that makes something of each line of another, by the engine of data.engine."""

    def make(ledger: Ledger) -> Iterator[Values]:
        if config.data.engine is Engine.processes:
            return (made for values in source.read() for made in each(values, ledger))
        prepare.refuse_no_datatrove()
        from arabic_llm.synthesis import spread  # datatrove

        return spread.made(source, name, each, ledger, work, config.hw)

    return stage(work, name, make)


def _split(values: Values, ledger: Ledger, how: ParagraphsConfig) -> Iterator[Values]:
    for paragraph, reason in paragraphs.split(Article(**values), how):
        if reason is None:
            ledger.keep()
            yield paragraph.as_dict()
        else:
            ledger.drop(reason, paragraph.id)


def _extracted(values: Values, ledger: Ledger, num_pairs: int) -> Iterator[Values]:
    how = {"backend": Backend.extractive.value, "model": None, "prompt": None}
    if found := extractive.exchanges(values["text"], values["title"], values["kind"], num_pairs):
        ledger.keep()
        yield from rows(values, found, how)
    else:
        ledger.drop(_NO_EXCHANGE[values["kind"]], values["id"])


def _checked(
    row: Values, ledger: Ledger, dropped: frozenset[str], checks: QualityConfig
) -> Iterator[Values]:
    reason = "dropped by a reader" if row["id"] in dropped else quality.reason_to_drop(row, checks)
    if reason is None:
        ledger.keep()
        yield row
    else:
        ledger.drop(reason, row["id"])


def sample_of_made(
    made: MadeStage, checked: MadeStage, number: int, seed: int
) -> list[tuple[Values, bool]]:
    """Return rows drawn from all that were made, each with whether the checks keep it."""
    drawn = review_marks.drawn((row["id"] for row in made.read()), number, seed)
    kept = {row["id"] for row in checked.read() if row["id"] in drawn}
    return [(row, row["id"] in kept) for row in made.read() if row["id"] in drawn]


def origin(config: RunConfig) -> str:
    """Return what rows are made from, and by whom."""
    task, data = settings.synthesis(config), config.data
    place = data.path or data.hub_id or f"data={data.name}"
    if task.benchmark is not None:
        return f"training rows of {task.benchmark.value} ({place}), reworded by templates"
    if task.backend is Backend.magpie:
        return f"questions invented by model={config.model.name}"
    if task.articles is Articles.mediawiki:
        place = task.mediawiki.api
    return f"articles of {place}, questions and answers by {task.backend.value}"


def plan(config: RunConfig) -> list[str]:
    """Return what a run would do."""
    task = settings.synthesis(config)
    is_by_server = task.benchmark is None and task.backend is Backend.openai
    server = f"server: {task.server.endpoint}, {task.server.in_flight} requests in flight"
    translated = f"translation: {task.translation.engine.value}, {task.translation.path}"
    return [
        origin(config),
        *([server] if is_by_server else []),
        *([translated] if is_translated(config) else []),
        f"rows and card: {config.output_dir}",
    ]


def source_hash(config: RunConfig) -> str | None:
    """Return a hash of what articles or benchmark rows are read from; None: of the network."""
    from arabic_llm.data.preparing import sources

    task = settings.synthesis(config)
    reads_data = task.benchmark is not None or (
        task.backend is not Backend.magpie and task.articles is Articles.data
    )
    if not reads_data:
        return None
    return sources.source_hash(config.data, Path(config.data_root), Path(config.cache_dir))


def marks_hash(config: RunConfig) -> str | None:
    """Return a hash of the marks of a reader. Raises ConfigError where there is no such file."""
    marks = settings.synthesis(config).marks
    if marks is None:
        return None
    if not Path(marks).is_file():
        raise ConfigError(f"task.marks={shown(marks)}: no such file; the page of a run saves it")
    return files.sha256(Path(marks))
