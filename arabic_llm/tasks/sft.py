"""Supervised fine-tuning: rows, what the model sees of them, training, a sealed adapter."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm import files, processes
from arabic_llm.config.adapter import Method
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import FineTuningConfig, HeldOutConfig, TrainingConfig
from arabic_llm.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from arabic_llm.data.preparing.mixing import Mix
    from arabic_llm.data.preparing.sources import Rows
    from arabic_llm.data.rows import Row
    from arabic_llm.data.tokens.chat import TokenRow
    from arabic_llm.tracking import Tracker
    from arabic_llm.training.sft import Outcome

log = logging.getLogger(__name__)
SHARES_WORK = True  # accelerate launch: each process trains on its part of every step


def run(config: RunConfig, directory: Path) -> float:
    """Return the loss on dev rows (on train rows where there are none), in nats a supervised token."""
    from arabic_llm import machine, tracking
    from arabic_llm.reports import held_out_loss

    config = machine.settled(config)
    tracker = tracking.start(config.tracking, directory, identity(config))
    trained = fine_tune(config, directory, tracker)
    outcome = files.read_json(trained / "outcome.json")
    tracker.finish(outcome)
    metrics = files.read_json_lines(directory / "training" / "metrics.jsonl")
    if line := held_out_loss.line(held_out_loss.courses(metrics, outcome["kept_step"])):
        log.info("%s", line)
    log.info("adapter: %s", trained)
    return float(outcome["train_loss"] if outcome["dev_loss"] is None else outcome["dev_loss"])


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads: rows, base model, earlier adapter (None: not here yet)."""
    from arabic_llm.data.preparing import held_out, sources
    from arabic_llm.models import adapter

    root, cache = Path(config.data_root), Path(config.cache_dir)
    return {
        "data": sources.source_hash(config.data, root, cache),
        "held_out": held_out.texts_hash(followed(settings(config)), root, cache),
        **adapter.known_hashes(config.model, config.adapter, cache),
    }


def plan(config: RunConfig) -> None:
    """Say what a run would do: rows, tokens, steps, bytes of the weights. Writes nothing."""
    from arabic_llm import machine
    from arabic_llm.data.tokens import chat, token_rows
    from arabic_llm.models import bases, tokenization
    from arabic_llm.profiling import training_fit

    config = machine.settled(config)
    rows = rows_of(config)
    for ledger in rows.ledgers:
        log.info("%s", ledger)
    task = settings(config)
    log.info("%s", training_fit.line(config, task, len(rows.train), training_fit.fit(config, task)))
    mix = mix_of(config, rows.train)
    try:
        base = bases.locate(config.model, cache_dir=None)
    except UserError as error:
        log.info("tokens unknown: %s", error)
        return
    codec = chat.prepare(tokenization.load(base), config.model)
    encoded = token_rows.encode(codec, rows.train, config.data, settings(config).max_length, None)
    token_rows.refuse_great_loss([encoded.ledger], config.data, settings(config).max_length)
    total = sum(len(row.input_ids) for row in encoded.rows)
    log.info("%s", encoded.ledger)
    log.info("%s tokens an epoch in %s sequences", f"{total:,}", f"{len(encoded.rows):,}")
    for line in mix_lines(config, encoded.rows, mix):
        log.info("%s", line)


def fine_tune(config: RunConfig, directory: Path, tracker: Tracker) -> Path:
    """Return the folder of the trained adapter (or weights); a finished one is not trained again."""
    from arabic_llm.data.preparing import held_out
    from arabic_llm.data.tokens import chat, lint, token_rows
    from arabic_llm.models import adapter, bases, load, placement, tokenization
    from arabic_llm.profiling import training_fit
    from arabic_llm.training import held_out_loss, sft

    task = settings(config)
    trained, is_done = trained_before(config, directory)
    if is_done:
        return trained
    fitted = training_fit.fit(config, task)
    training_fit.refuse(config, fitted)
    place, cache = fitted.place, Path(config.cache_dir)
    questions = suite_questions(config)
    rows = rows_of(config, questions)
    for ledger in rows.ledgers:
        log.info("%s", ledger)
    log.info("%s", training_fit.line(config, task, len(rows.train), fitted))
    texts = held_out.load(followed(task), Path(config.data_root), rows.train)
    base = bases.locate(config.model, cache)
    codec = chat.prepare(tokenization.load(base), config.model)
    with processes.main_first():
        train = token_rows.encode(codec, rows.train, config.data, task.max_length, cache)
        dev = token_rows.encode(codec, rows.dev, config.data, task.max_length, cache)
    token_rows.refuse_great_loss([train.ledger, dev.ledger], config.data, task.max_length)
    mix = mix_of(config, train.rows)
    seen = lint.lint(codec, rows.train, train, questions)
    for line in seen.lines():
        log.info("%s", line)
    with placement.enough_memory(f"reading the weights of {config.model.name}", "take a smaller model"):
        model = load.base_model(config.model, base, config.adapter, place)
    model, outcome = sft.train(
        adapter.attach(model, config.adapter, base, config.seed),
        codec.tokenizer,
        sft.Material(train.rows, dev.rows, seen.hash, mix, held_out_loss.encode(codec, texts)),
        task,
        place,
        sft.Run(directory / "training", config.seed, tracker, fitted.plan),
    )
    notes = {
        "arabic_llm.json": {
            "base_name": config.model.hub_id or config.model.name,
            "base_revision": base.revision,
            "template": codec.template_hash,
            "data": seen.hash,
        },
        "lint.json": seen.as_dict(),
        "ledger.json": [*(counted.as_dict() for counted in rows.ledgers), train.ledger.as_dict()],
    }
    keep(model, codec.tokenizer, outcome, trained, notes)
    return trained


def trained_before(config: RunConfig, directory: Path) -> tuple[Path, bool]:
    """Return the folder of a run's adapter (or weights), and whether a finished training has left it."""
    trained = directory / ("model" if config.adapter.method is Method.full else "adapter")
    is_done = processes.from_main(lambda: files.is_whole(trained))
    if is_done:
        log.info("already trained: %s", trained)
    return trained, is_done


def keep(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    outcome: Outcome,
    trained: Path,
    notes: dict[str, Any],
) -> None:
    """Save what was trained, whole, with its notes (file name -> JSON), and say how training ended."""
    from arabic_llm.models import adapter

    adapter.save(model, tokenizer, trained, notes | {"outcome.json": asdict(outcome)})
    dev_loss = "" if outcome.dev_loss is None else f", on dev {outcome.dev_loss:.3f}"
    log.info(
        "trained %s steps: loss %.3f%s%s", *(outcome.steps, outcome.train_loss, dev_loss, outcome.memory)
    )


def rows_of(config: RunConfig, questions: set[str] | str | None = None) -> Rows:
    """Return the rows that training, its plan and task=inspect see; `questions` if they are read already.

    Raises DataError when the suite's items are to be left out and cannot be read.
    """
    from arabic_llm.data.preparing import sources

    return sources.load(config.data, Path(config.data_root), config.seed, test_items(config, questions))


def test_items(config: RunConfig, questions: set[str] | str | None = None) -> set[str]:
    """Return the suite's questions where data.cleaning leaves them out; `questions` if they are read.

    Raises DataError when they cannot be read.
    """
    from arabic_llm.data.reading import locate

    if not any(source.cleaning.drop_test_items for source in locate.sources_of(config.data)):
        return set()
    items = suite_questions(config) if questions is None else questions
    if isinstance(items, str):
        raise DataError(f"data.cleaning.drop_test_items: {items}; bring the suite, or set it to false")
    return items


def mix_of(config: RunConfig, rows: Sequence[Row | TokenRow]) -> Mix:
    """Return the mix. Raises ConfigError when these rows cannot give it: before a model is loaded."""
    from arabic_llm.data.preparing.mixing import Mix

    mix = Mix.of(config.data)
    mix.shares(Counter(row.source for row in rows))
    return mix


def mix_lines(config: RunConfig, rows: Sequence[TokenRow], mix: Mix) -> list[str]:
    """Return what the mix comes to in a run on these rows; nothing for one source in one bucket."""
    if mix.num_buckets == 1 and len({row.source for row in rows}) == 1:
        return []
    from arabic_llm.data.preparing import mix_report
    from arabic_llm.training import batches, schedule

    task = settings(config)
    sequences = batches.sequences(rows, task.max_length)
    names = batches.sources(sequences, rows)
    return mix_report.report(
        schedule.sampler(task, names, sequences["seq_lengths"], mix, config.seed)
    ).lines()


def settings(config: RunConfig) -> TrainingConfig:
    """Return the settings of a task that trains. Raises ConfigError when there is nothing to train."""
    if not isinstance(config.task, TrainingConfig):
        raise ConfigError(f"task={config.task.name} does not train")
    if config.adapter.method is Method.none:
        raise ConfigError("adapter=none trains nothing; choose lora, qlora, dora, rslora or full")
    return config.task


def followed(task: TrainingConfig) -> HeldOutConfig:
    """Return the texts whose loss is followed; none for a task that has no setting of them."""
    return task.held_out if isinstance(task, FineTuningConfig) else HeldOutConfig(num_bytes=0)


def suite_questions(config: RunConfig) -> set[str] | str:
    """Return the normalised questions of the suite, or why they could not be read."""
    from arabic_llm.data.tokens.lint import question_key
    from arabic_llm.evaluation import suites

    try:
        chosen = suites.load(config.suite, Path(config.data_root))
    except UserError as error:
        return str(error)
    return {question_key(question) for question in suites.questions(chosen)} - {""}
