"""What becomes of every row of a data set, on the disk, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from arabic_llm.config.data import Engine
from arabic_llm.config.run import RunConfig
from arabic_llm.data.cleaning import contamination
from arabic_llm.data.cleaning.rules import Rules
from arabic_llm.data.preparing import on_disk, sources, staging
from arabic_llm.data.preparing.mix_report import MixReport
from arabic_llm.data.preparing.on_disk import Prepared
from arabic_llm.data.preparing.shards import Work
from arabic_llm.data.preparing.summary import SourceSummary, StepCount, word_unit
from arabic_llm.data.reading import locate
from arabic_llm.errors import ConfigError
from arabic_llm.models import tokenization
from arabic_llm.workflows import training_rows


def lines(sources: Sequence[SourceSummary], plan: StepCount, mix: MixReport) -> list[str]:
    """Return what the user reads of a data set: ledgers, tokens, mix, steps."""
    said = [f"{source.name}: filters {', '.join(source.filters)}" for source in sources]
    said += [str(source.ledger) for source in sources]
    for source in sources:
        counts, unit = source.counts, word_unit(source.language)
        each = f", {counts.tokens / counts.words:.2f} a {unit}" if counts.words else ""
        said.append(
            f"{source.name}: {counts.instruction_tokens:,} instruction tokens, {counts.answer_tokens:,}"
            f" answer tokens{each}"
        )
    return [
        *(*said, *mix.lines()),
        f"plan: {plan.num_steps:,} steps of {plan.effective_batch} sequences for {plan.epochs:g} epochs",
    ]


def refuse_no_datatrove() -> None:
    """Raise ConfigError where datatrove is not installed."""
    if find_spec("datatrove") is None:
        raise ConfigError("data.engine=datatrove needs datatrove: pip install 'arabic-llm[scale]'")


def prepare(config: RunConfig, folder: Path, engine: Engine) -> Prepared:
    """Return what becomes of every row; chunks that are in the folder already are not cleaned again."""
    items, read = (
        contamination.index(training_rows.test_items(config.data, config.suite, Path(config.data_root))),
        locate.sources_of(config.data),
    )
    is_signed = sources.is_signed(config.data)
    rules = [Rules(source, items, config.seed, is_signed) for source in read]
    work = Work(rules, tokenization.rules(config.model))
    inputs = [sources.inputs_of(source, Path(config.data_root)) for source in read]
    if engine is Engine.datatrove:
        refuse_no_datatrove()
        from arabic_llm.data.preparing import executors

        executors.clean(work, inputs, folder, config.hw)
    num_processes = config.hw.num_processes or len(os.sched_getaffinity(0))
    shards = staging.stage(work, inputs, folder, num_processes)
    return on_disk.choose(config.data, inputs, shards, config.seed)
