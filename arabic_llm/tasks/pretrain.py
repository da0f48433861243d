"""Make the built-in model: a tokenizer and weights from nothing but text that the project generates."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import files
from arabic_llm.config.adapter import AdapterConfig, Method
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import PretrainConfig
from arabic_llm.errors import ConfigError
from arabic_llm.memory import disk_room
from arabic_llm.tasks import Inputs

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return nothing: the text is generated. Raises ConfigError for a place that is not ours to fill."""
    folder = Path(_settings(config).export_to or "")
    if _settings(config).export_to and folder.exists() and not (folder / files.SEAL).exists():
        raise ConfigError(
            f"task.export_to: {folder} is there already and is no model of ours; name a new one"
        )
    return {}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do."""
    task = _settings(config)
    log.info(
        "plan: pretrain %s on %s generated documents, batches of %s x %s tokens, learning rate %s",
        *(config.model.name, f"{task.num_documents:,}", task.effective_batch_size, task.max_length),
        task.learning_rate,
    )


def run(config: RunConfig, directory: Path) -> float:
    """Return the loss on held-out documents, in nats a token, of the model in `<directory>/model`."""
    from arabic_llm import machine, tracking
    from arabic_llm.data.preparing.mixing import Mix
    from arabic_llm.data.sample import corpus
    from arabic_llm.data.tokens import chat_template, token_rows
    from arabic_llm.models import adapter, fresh, placement
    from arabic_llm.profiling import training_memory
    from arabic_llm.tracking import Results
    from arabic_llm.training import sft

    config = machine.settled(config)
    task = _settings(config)
    disk_room.refuse_short(config.model, AdapterConfig("full", Method.full), task, directory)
    dry_run(config)
    tracker = tracking.start(config.tracking, directory, identity(config))
    rows = list(corpus.documents(task.num_documents, config.seed))
    tokenizer = fresh.train_tokenizer((row.words() for row in rows), config.model.architecture.vocab_size)
    codec = chat_template.prepare(tokenizer, config.model)
    encoded = token_rows.encode(codec, rows, config.data, task.max_length, Path(config.cache_dir)).rows
    held_out = round(len(encoded) * config.data.dev_share)
    material = sft.Material(
        encoded[held_out:], encoded[:held_out], token_rows.data_hash(encoded), Mix.of(config.data)
    )
    log.info("%s; %s tokens", f"{len(rows):,} documents", f"{sum(len(r.input_ids) for r in encoded):,}")
    model, outcome = sft.train(
        fresh.new_model(config.model, tokenizer, config.seed),
        codec.tokenizer,
        material,
        task,
        placement.resolve(config.hw),
        sft.Run(
            directory / "training",
            config.seed,
            tracker,
            training_memory.watch(directory / "training"),
            config.stop_after,
        ),
    )
    folder = Path(task.export_to) if task.export_to else directory / "model"
    about = {"rows": material.hash, "steps": outcome.steps, "dev_loss": outcome.dev_loss}
    loss = outcome.train_loss if outcome.dev_loss is None else outcome.dev_loss
    tracker.finish(Results(loss, about))
    adapter.save(model.half(), tokenizer, folder, {"pretraining.json": about})
    log.info(
        "trained %s steps, loss %.3f nats a token%s%s; %s",
        *(outcome.steps, loss, outcome.bits, outcome.memory, folder),
    )
    return loss


def _settings(config: RunConfig) -> PretrainConfig:
    if not isinstance(config.task, PretrainConfig) or not config.model.builtin or not config.data.builtin:
        raise ConfigError("task=pretrain makes the built-in model: use it with model=tiny data=sample")
    return config.task
