"""Training files that can be trusted and described: rows cleaned, chosen, split, counted, with a card."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config.compose import identity
from arabic_llm.config.data import Engine
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.paths import PACKAGE
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import PrepareConfig
from arabic_llm.errors import ConfigError
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import training_rows

if TYPE_CHECKING:
    from arabic_llm.data.preparing.mix_report import MixReport
    from arabic_llm.data.preparing.on_disk import Prepared, Training
    from arabic_llm.data.preparing.summary import Plan, SourceSummary, SplitFile

log = logging.getLogger(__name__)
shares_work = False
_CODE = ("data", "text")  # what decides which rows come out


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: rows, tokenizer, and the benchmarks whose items are left out."""
    from arabic_llm.data.preparing import sources
    from arabic_llm.data.reading import locate
    from arabic_llm.evaluation import local_copies
    from arabic_llm.models import tokenization

    _settings(config)
    asks = any(source.cleaning.drop_test_items for source in locate.sources_of(config.data))
    return {
        "data": sources.source_hash(config.data, Path(config.data_root), Path(config.cache_dir)),
        "tokenizer": fingerprint(tokenization.rules(config.model)),
        "suite": local_copies.copies_hash(config.suite, Path(config.data_root)) if asks else None,
    }


def dry_run(config: RunConfig) -> None:
    """Say what a run would do: rows found, filters, mix, tokens, steps. Writes nothing that stays."""
    from arabic_llm.data.preparing import on_disk

    with TemporaryDirectory(prefix="arabic-llm-") as folder:
        prepared = _prepare(config, Path(folder), Engine.processes)  # no other machine sees the folder
        sources, plan, mix = on_disk.describe(config.data, prepared, _training(config))
    for line in lines(sources, plan, mix):
        log.info("%s", line)


def run(config: RunConfig, directory: Path) -> float:
    """Return the number of training rows; they lie in the directory, with their card, README.md."""
    from arabic_llm.data.preparing import on_disk
    from arabic_llm.data.preparing.summary import Summary
    from arabic_llm.data.reading import locate
    from arabic_llm.reports import card

    work = directory / ".work"
    prepared = _prepare(config, work, config.data.engine)
    splits = on_disk.write(prepared, directory)
    sources, plan, mix = on_disk.describe(config.data, prepared, _training(config))
    command = files.read_json(directory / "manifest.json")["command"]
    name, tokenizer = config.data.name, config.model.name
    summary = Summary(name, command, tokenizer, config.seed, sources, tuple(splits), plan)
    for file, content in card.files(summary).items():
        files.write_bytes(directory / file, content)
    files.write_json(directory / "ledger.json", [source.ledger.as_dict() for source in sources])
    said = lines(sources, plan, mix)
    files.write_text(directory / "summary.txt", "\n".join(said))
    files.write_json(directory / locate.PREPARED, _manifest(config, splits, plan))
    shutil.rmtree(work)
    for line in (*said, f"rows and card: {directory}"):
        log.info("%s", line)
    return float(sum(split.rows for split in splits if split.name.endswith("train.jsonl")))


def lines(sources: Sequence[SourceSummary], plan: Plan, mix: MixReport) -> list[str]:
    """Return what the user reads of a data set: ledgers, tokens, mix, steps."""
    from arabic_llm.data.preparing.summary import word_unit

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


def _prepare(config: RunConfig, folder: Path, engine: Engine) -> Prepared:
    """Return what becomes of every row; chunks that are in the folder already are not cleaned again."""
    from arabic_llm.data.cleaning import contamination
    from arabic_llm.data.cleaning.rules import Rules
    from arabic_llm.data.preparing import on_disk, sources, staging
    from arabic_llm.data.preparing.shards import Work
    from arabic_llm.data.reading import locate
    from arabic_llm.models import tokenization

    items, read = (
        contamination.index(training_rows.test_items(config.data, config.suite, Path(config.data_root))),
        locate.sources_of(config.data),
    )
    is_signed = sources.is_signed(config.data)
    rules = [Rules(source, items, config.seed, is_signed) for source in read]
    work = Work(rules, tokenization.rules(config.model))
    inputs = [sources.inputs_of(source, Path(config.data_root)) for source in read]
    if engine is Engine.datatrove:
        if find_spec("datatrove") is None:
            raise ConfigError("data.engine=datatrove needs datatrove: pip install 'arabic-llm[scale]'")
        from arabic_llm.data.preparing import executors

        executors.clean(work, inputs, folder, config.hw)
    num_processes = config.hw.num_processes or len(os.sched_getaffinity(0))
    shards = staging.stage(work, inputs, folder, num_processes)
    return on_disk.choose(config.data, inputs, shards, config.seed)


def _manifest(config: RunConfig, splits: list[SplitFile], plan: Plan) -> dict[str, object]:
    """Return what made the files: hashes of inputs and code, the configuration; not when, nor where."""
    code = sorted(path for room in _CODE for path in (PACKAGE / room).rglob("*.py"))
    return {
        "data": config.data.name,
        "splits": {split.name: {"rows": split.rows, "sha256": split.sha256} for split in splits},
        "tokens": {"train": plan.tokens, "model": config.model.name},
        "inputs": inputs(config),
        "code": fingerprint([files.sha256(path) for path in code]),
        "config": {key: identity(config)[key] for key in ("data", "seed", "suite")},
        "fingerprint": fingerprint(identity(config)),
    }


def _training(config: RunConfig) -> Training:
    from arabic_llm.data.preparing.on_disk import Training

    task = _settings(config)
    return Training(task.epochs, task.effective_batch_size, config.seed)


def _settings(config: RunConfig) -> PrepareConfig:
    if not isinstance(config.task, PrepareConfig):
        raise ConfigError("task=prepare is needed here")
    return config.task
