"""Fine-tuning from rows to a sealed adapter, or weights: what task=sft and task=study do alike."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arabic_llm import files, processes
from arabic_llm.config.adapter import Method
from arabic_llm.config.compose import identity
from arabic_llm.config.preference_task import PreferenceConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import FineTuningConfig
from arabic_llm.data.preparing import held_out, pair_report, sources
from arabic_llm.data.tokens import chat_template, lint, preference_rows, token_rows
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.errors import ConfigError
from arabic_llm.models import adapter, adapter_files, bases, load, placement, streaming, vocabulary
from arabic_llm.models.bases import Base
from arabic_llm.models.load import Head
from arabic_llm.models.placement import Placement
from arabic_llm.models.vocabulary import NewTokens
from arabic_llm.profiling import training_fit, training_memory
from arabic_llm.profiling.training_fit import TrainingFit
from arabic_llm.reports import model_card
from arabic_llm.tracking import Tracker
from arabic_llm.training import (
    checkpoint,
    first_dev_loss,
    held_out_loss,
    preference_losses,
    reference_log_probs,
    sft,
)
from arabic_llm.training.outcome import Outcome
from arabic_llm.training.sft import Run
from arabic_llm.workflows import new_tokens, seen, settings, training_rows

log = logging.getLogger(__name__)


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads: rows, base model, earlier adapter (None: not here yet)."""
    root, cache = Path(config.data_root), Path(config.cache_dir)
    return {
        "data": sources.source_hash(config.data, root, cache),
        "held_out": held_out.texts_hash(settings.followed(settings.training(config)), root, cache),
        **adapter.known_hashes(config.model, config.adapter, cache),
    }


def fine_tune(config: RunConfig, directory: Path, tracker: Tracker) -> Path:
    """Return the folder of the trained adapter (or weights); a finished one is not trained again."""
    task = settings.training(config)
    trained, is_done = trained_before(config.adapter.method, directory)
    if is_done:
        return trained
    fitted = training_fit.fit(config, task)
    training_fit.refuse(config, fitted)
    place, cache, root = fitted.place, Path(config.cache_dir), Path(config.data_root)
    questions = training_rows.suite_questions(config.suite, root)
    with processes.main_first():
        rows = training_rows.load(config, questions, cache)
    for line in rows.lines():
        log.info("%s", line)
    for line in pair_report.lines(rows.train):
        log.info("%s", line)
    count = preference_rows.num_sequences(task, rows.train)
    log.info("%s", training_fit.line(config, task, count, fitted))
    texts = held_out.load(settings.followed(task), root, rows.train)
    base = bases.locate(config.model, cache)
    with processes.main_first():
        tokenizer, new = new_tokens.of_run(config, base, rows, cache)
    codec = chat_template.prepare(tokenizer, config.model)
    chat_template.say_notes(codec, config.model, config.adapter.path)
    with processes.main_first():
        form = preference_rows.form_of(task)
        settled = (config.data, task.max_length, cache)
        train = token_rows.encode(codec, rows.train, *settled, form=form)
        dev = token_rows.encode(codec, rows.dev, *settled, form=form)
    token_rows.refuse_great_loss([train, dev], config.data, task.max_length)
    mix = training_rows.mix_of(config.data, train.rows)
    linted = lint.lint(codec, rows.train, train, questions)
    for line in linted.lines():
        log.info("%s", line)
    for line in preference_rows.told(task, train.rows):
        log.info("%s", line)
    model, outcome = sft.train(
        adapted(config, base, place, new=new),
        codec.tokenizer,
        sft.TrainingData(
            train.rows,
            dev.rows,
            linted.hash,
            mix,
            partial(held_out_loss.encode, codec, texts),
            _reference(config, base, place, [*train.rows, *dev.rows]),
            _kept_first(config, base, place, dev.rows),
        ),
        task,
        place,
        observed(config, directory / "training", tracker, fitted),
    )
    notes: dict[str, Any] = {
        adapter_files.ABOUT: {
            "base_name": config.model.hub_id or config.model.name,
            "base_revision": base.revision,
            "template": codec.template_hash,
            "data": linted.hash,
            seen.NOTE: sorted(seen.marks(config)),
        },
        "lint.json": linted.as_dict(),
        "ledger.json": [*(counted.as_dict() for counted in rows.ledgers), train.ledger.as_dict()],
    }
    notes["README.md"] = card(config, base, outcome)
    if new is not None:
        notes[adapter_files.ABOUT]["new_tokens"] = len(new)
        notes[vocabulary.FILE] = new.as_dict()
    keep((model, outcome), codec.tokenizer, trained, notes, base)
    if isinstance(task, FineTuningConfig) and task.loss_also_divided:
        _, accumulation = placement.micro_batch(place, task.effective_batch_size)
        log.info("%s", divided(outcome.train_loss, accumulation))
    return trained


def card(config: RunConfig, base: Base, outcome: Outcome) -> str:
    """Return the card of what was trained."""
    return model_card.card_of_training(identity(config), base.revision, asdict(outcome))


def divided(loss: float, accumulation: int) -> str:
    """Return a loss as code logs it that divides it by the micro-batches of a step once more."""
    return (
        f"loss {loss:.4f} nats a token; where it is logged divided by the {accumulation} micro-batches of a"
        f" step (arXiv 2412.17548): {loss / accumulation:.4f}"
    )


def _reference(config: RunConfig, base: Base, place: Placement, pairs: list[TokenRow]) -> Path | None:
    """Return where the reference's log-probabilities of the pairs are kept; None for a loss without one.

    What decides them is named, and nothing of what is trained: the jobs of a sweep share them.
    """
    if not isinstance(config.task, PreferenceConfig) or not preference_losses.needs_reference(config.task):
        return None
    earlier = config.adapter.path
    what = _arithmetic(config, base, place) | {
        "adapter": None if earlier is None else adapter.trained_hash(Path(earlier)),
        "new_tokens": config.adapter.extend_vocabulary,
    }
    return reference_log_probs.path(Path(config.cache_dir), what, pairs)


def _kept_first(config: RunConfig, base: Base, place: Placement, dev: list[TokenRow]) -> Path | None:
    """Return where the loss on dev before the first step is kept; None where it is not the base's alone."""
    own = config.adapter
    is_new = own.method is Method.lora and own.path is None and not own.extend_vocabulary
    if isinstance(config.task, PreferenceConfig) or not is_new or own.use_dora or not dev:  # DoRA divides
        return None
    batches = {"size": place.eval_batch_size, "max_length": settings.training(config).max_length}
    what = _arithmetic(config, base, place) | {"batches": batches}
    return first_dev_loss.path(Path(config.cache_dir), what, dev)


def _arithmetic(config: RunConfig, base: Base, place: Placement) -> dict[str, Any]:
    """Return what decides the last digit of what a base says of tokens."""
    return {
        "base": base.revision,
        "quantization": config.adapter.quantization,
        "precision": place.precision,
        "device": place.device,
    }


def adapted(
    config: RunConfig,
    base: Base,
    place: Placement,
    head: Head | None = None,
    new: NewTokens | None = None,
) -> PreTrainedModel:
    """Return the base model with what is trained on it, also rows of new tokens.

    Raises HardwareError where memory is short, ConfigError for new tokens that would be shared out.
    """
    if new is not None and (place.fsdp or place.shares_packed):
        raise ConfigError("hw.fsdp: rows of new tokens are not shared out over cards; set hw.fsdp=false")
    with placement.enough_memory(f"reading the weights of {config.model.name}", "take a smaller model"):
        model = load.base_model(config.model, base, config.adapter, place, head)
        model = adapter.attach(model, config.adapter, base, config.seed, new)
        streaming.settle(model, place)
    return model


def observed(config: RunConfig, folder: Path, tracker: Tracker, fitted: TrainingFit) -> Run:
    """Return a run in a folder whose steps are held against its plan."""
    watched = training_memory.watch(folder, fitted.plan, Path(config.cache_dir))
    return Run(folder, config.seed, tracker, watched, config.stop_after)


def trained_before(method: Method, directory: Path) -> tuple[Path, bool]:
    """Return the folder of a run's adapter (or weights), and whether a finished training has left it."""
    trained = directory / method.folder
    is_done = processes.from_main(lambda: files.is_whole(trained))
    if is_done:
        log.info("already trained: %s", trained)
        last = processes.from_main(lambda: checkpoint.newest_whole(directory / "training"))
        if last:
            processes.from_main(lambda: checkpoint.restore(last))
    return trained, is_done


def keep(
    tuned: tuple[PreTrainedModel, Outcome],
    tokenizer: PreTrainedTokenizerBase,
    trained: Path,
    notes: dict[str, Any],
    base: Base,
) -> None:
    """Save what was trained, whole, with its notes (file name -> JSON), and say how training ended."""
    model, outcome = tuned
    adapter.save(model, tokenizer, trained, notes | {"outcome.json": asdict(outcome)}, base)
    told = (outcome.steps, outcome.train_loss, outcome.on_dev, outcome.memory)
    log.info("trained %s steps: loss %.3f%s%s", *told)
