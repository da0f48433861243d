"""Supervised fine-tuning: rows, what the model sees of them, training, a sealed adapter."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import files, machine, tracking
from arabic_llm.config.compose import identity
from arabic_llm.config.preference_task import PairConfig, PreferenceConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.data.preparing import pair_report
from arabic_llm.data.tokens import chat_template, preference_rows, token_rows
from arabic_llm.errors import UserError
from arabic_llm.memory import disk_room
from arabic_llm.models import bases, folders
from arabic_llm.profiling import training_fit
from arabic_llm.tasks import Inputs
from arabic_llm.tracking import Results
from arabic_llm.training import checkpoint
from arabic_llm.workflows import new_tokens, settings, shorter_runs, training_rows

log = logging.getLogger(__name__)
shares_work = True  # each process trains on its part of every step


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: rows, base model, earlier adapter."""
    from arabic_llm.workflows import fine_tune  # trl and peft: a dry run is there without them

    return fine_tune.inputs(config)


def dry_run(config: RunConfig) -> None:
    """Say what a run would do: rows, tokens, steps, bytes of the weights. Writes nothing."""
    config = machine.settled(config)
    rows = training_rows.load(config)
    for line in rows.lines():
        log.info("%s", line)
    for line in pair_report.lines(rows.train):
        log.info("%s", line)
    task = settings.training(config)
    count = preference_rows.num_sequences(task, rows.train)
    log.info("%s", training_fit.line(config, task, count, training_fit.fit(config, task)))
    mix = training_rows.mix_of(config.data, rows.train)
    try:
        base = bases.locate(config.model, cache_dir=None)
    except UserError as error:
        log.info("tokens unknown: %s", error)
        return
    folders.check_shape(config.model, base.folder)
    tokenizer, _ = new_tokens.of_run(config, base, rows, cache_dir=None)
    codec = chat_template.prepare(tokenizer, config.model)
    chat_template.say_notes(codec, config.model, config.adapter.path)
    form = preference_rows.form_of(task)
    encoded = token_rows.encode(codec, rows.train, config.data, task.max_length, None, form=form)
    token_rows.refuse_great_loss([encoded], config.data, task.max_length)
    total = sum(len(ids) for row in encoded.rows for ids, _ in row.sides())
    log.info("%s", encoded.ledger)
    log.info("%s tokens an epoch in %s sequences", f"{total:,}", f"{len(encoded.rows):,}")
    for line in preference_rows.told(task, encoded.rows):
        log.info("%s", line)
    for line in training_rows.mix_lines(task, encoded.rows, mix, config.seed):
        log.info("%s", line)


def run(config: RunConfig, directory: Path) -> float:
    """Return the loss on dev rows (on train rows where there are none), in nats a supervised token."""
    from arabic_llm.reports import held_out_loss, preferences  # matplotlib
    from arabic_llm.workflows import fine_tune

    config = machine.settled(config)
    task = settings.training(config)
    disk_room.refuse_short(config.model, config.adapter, task, directory)
    shorter_runs.say(config, directory)
    tracker = tracking.start(config.tracking, directory, identity(config))
    trained = fine_tune.fine_tune(config, directory, tracker)
    outcome = files.read_json(trained / "outcome.json")
    loss = float(outcome["train_loss"] if outcome["dev_loss"] is None else outcome["dev_loss"])
    metrics = checkpoint.metrics(directory / "training")
    courses = held_out_loss.courses(metrics, outcome["kept_step"])
    tracker.finish(Results(loss, outcome, {"held_out": held_out_loss.table(courses)} if courses else {}))
    if line := held_out_loss.line(courses):
        log.info("%s", line)
    for line in preferences.lines(metrics, are_pairs=isinstance(task, PairConfig)):
        log.info("%s", line)
    if isinstance(config.task, PreferenceConfig):
        figure = directory / "preferences.svg"
        files.write_text(figure, preferences.curves(metrics))
        log.info("figure: %s", figure)
    log.info("adapter: %s", trained)
    return loss
