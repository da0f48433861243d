"""Training files that can be trusted and described: rows cleaned, chosen, split, counted, with a card."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from arabic_llm import files
from arabic_llm.config.compose import identity
from arabic_llm.config.data import Engine
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.paths import PACKAGE
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import PrepareConfig
from arabic_llm.data.preparing import on_disk
from arabic_llm.data.preparing import sources as sources_
from arabic_llm.data.preparing.on_disk import Training
from arabic_llm.data.preparing.summary import SplitFile, StepCount, Summary
from arabic_llm.data.reading import locate
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import local_copies
from arabic_llm.models import tokenization
from arabic_llm.reports import card
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import prepare

log = logging.getLogger(__name__)
shares_work = False
_CODE = ("data", "text")  # what decides which rows come out


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: rows, tokenizer, and the benchmarks whose items are left out."""
    _settings(config)
    asks = any(source.cleaning.drop_test_items for source in locate.sources_of(config.data))
    return {
        "data": sources_.source_hash(config.data, Path(config.data_root), Path(config.cache_dir)),
        "tokenizer": fingerprint(tokenization.rules(config.model)),
        "suite": local_copies.copies_hash(config.suite, Path(config.data_root)) if asks else None,
    }


def dry_run(config: RunConfig) -> None:
    """Say what a run would do: rows found, filters, mix, tokens, steps. Writes nothing that stays."""
    with TemporaryDirectory(prefix="arabic-llm-") as folder:
        prepared = prepare.prepare(
            config, Path(folder), Engine.processes
        )  # no other machine sees the folder
        sources, plan, mix = on_disk.describe(config.data, prepared, _training(config))
    for line in prepare.lines(sources, plan, mix):
        log.info("%s", line)


def run(config: RunConfig, directory: Path) -> float:
    """Return the number of training rows; they lie in the directory, with their card, README.md."""
    work = directory / ".work"
    prepared = prepare.prepare(config, work, config.data.engine)
    splits = on_disk.write(prepared, directory)
    sources, plan, mix = on_disk.describe(config.data, prepared, _training(config))
    command = files.read_state(directory / "manifest.json")["command"]
    name, tokenizer = config.data.name, config.model.name
    summary = Summary(name, command, tokenizer, config.seed, sources, tuple(splits), plan)
    for file, content in card.files(summary).items():
        files.write_bytes(directory / file, content)
    files.write_json(directory / "ledger.json", [source.ledger.as_dict() for source in sources])
    said = prepare.lines(sources, plan, mix)
    files.write_text(directory / "summary.txt", "\n".join(said))
    files.write_state(directory / locate.PREPARED, _manifest(config, splits, plan))
    shutil.rmtree(work)
    written = ", ".join(f"{split.name.partition('.')[0]} {split.rows:,}" for split in splits)
    for line in (*said, f"rows ({written}) and card: {directory}"):
        log.info("%s", line)
    return float(sum(split.rows for split in splits if split.name.endswith("train.jsonl")))


def _manifest(config: RunConfig, splits: list[SplitFile], plan: StepCount) -> dict[str, object]:
    """Return what made the files: hashes of inputs and code, the configuration; not when, nor where."""
    code = sorted(path for room in _CODE for path in (PACKAGE / room).rglob("*.py"))
    return {
        "data": config.data.name,
        "splits": {split.name: {"rows": split.rows, "sha256": split.sha256} for split in splits},
        "seen_in_training": sorted({*config.data.seen_in_training, *_seen(config)}),
        "tokens": {"train": plan.tokens, "model": config.model.name},
        "inputs": inputs(config),
        "code": fingerprint([files.sha256(path) for path in code]),
        "config": {key: identity(config)[key] for key in ("data", "seed", "suite")},
        "fingerprint": fingerprint(identity(config)),
    }


def _seen(config: RunConfig) -> set[str]:
    return {name for source in locate.sources_of(config.data) for name in source.seen_in_training}


def _training(config: RunConfig) -> Training:
    task = _settings(config)
    return Training(task.epochs, task.effective_batch_size, config.seed)


def _settings(config: RunConfig) -> PrepareConfig:
    if not isinstance(config.task, PrepareConfig):
        raise ConfigError("task=prepare is needed here")
    return config.task
