"""Supervised fine-tuning: rows, what the model sees of them, training, a sealed adapter."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files, processes
from arabic_llm.config.compose import identity
from arabic_llm.config.data_schema import HeldOutConfig
from arabic_llm.config.schema import (
    Device,
    FineTuningConfig,
    Method,
    Precision,
    RunConfig,
    TrainingConfig,
)
from arabic_llm.errors import ConfigError, DataError, HardwareError, UserError

if TYPE_CHECKING:
    from arabic_llm.data.chat import TokenRow
    from arabic_llm.data.mixing import Mix
    from arabic_llm.data.rows import Row
    from arabic_llm.data.sources import Rows
    from arabic_llm.memory.plan import Plan
    from arabic_llm.models.placement import Placement
    from arabic_llm.tracking import Tracker

log = logging.getLogger(__name__)
SHARES_WORK = True  # accelerate launch: each process trains on its part of every step


@dataclass
class Config(FineTuningConfig):
    """Schema of conf/task/sft.yaml."""


def run(config: RunConfig, directory: Path) -> float:
    """Return the loss on dev rows (on train rows where there are none), in nats a supervised token."""
    from arabic_llm import machine, tracking
    from arabic_llm.reports import drift

    config = machine.settled(config)
    tracker = tracking.start(config.tracking, directory, identity(config))
    trained = fine_tune(config, directory, tracker)
    outcome = files.read_json(trained / "outcome.json")
    tracker.finish(outcome)
    metrics = files.read_json_lines(directory / "training" / "metrics.jsonl")
    if line := drift.line(drift.courses(metrics, outcome["kept_step"])):
        log.info("%s", line)
    log.info("adapter: %s", trained)
    return float(outcome["train_loss"] if outcome["dev_loss"] is None else outcome["dev_loss"])


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads: rows, base model, earlier adapter (None: not here yet)."""
    from arabic_llm.data import held_out, sources
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
    from arabic_llm.data import chat, tokens
    from arabic_llm.models import load

    config = machine.settled(config)
    rows = rows_of(config)
    for ledger in rows.ledgers:
        log.info("%s", ledger)
    log.info("%s", plan_line(config, len(rows.train), placed(config)))
    mix = mix_of(config, rows.train)
    try:
        base = load.locate(config.model, cache_dir=None)
    except UserError as error:
        log.info("tokens unknown: %s", error)
        return
    codec = chat.prepare(load.tokenizer(base), config.model)
    encoded = tokens.encode(codec, rows.train, config.data, settings(config).max_length, None)
    tokens.refuse_great_loss([encoded.ledger], config.data, settings(config).max_length)
    total = sum(len(row.input_ids) for row in encoded.rows)
    log.info("%s", encoded.ledger)
    log.info("%s tokens an epoch in %s sequences", f"{total:,}", f"{len(encoded.rows):,}")
    for line in mix_lines(config, encoded.rows, mix):
        log.info("%s", line)


def fine_tune(config: RunConfig, directory: Path, tracker: Tracker) -> Path:
    """Return the folder of the trained adapter (or weights); a finished one is not trained again."""
    from arabic_llm.data import chat, held_out, lint, tokens
    from arabic_llm.models import adapter, load, placement
    from arabic_llm.training import drift, sft

    task = settings(config)
    trained = directory / ("model" if config.adapter.method is Method.full else "adapter")
    if processes.from_main(lambda: files.is_whole(trained)):
        log.info("already trained: %s", trained)
        return trained
    place, cache = placed(config), Path(config.cache_dir)
    refuse_what_cannot_run(config, place)
    questions = suite_questions(config)
    rows = rows_of(config, questions)
    for ledger in rows.ledgers:
        log.info("%s", ledger)
    log.info("%s", plan_line(config, len(rows.train), place))
    texts = held_out.load(followed(task), Path(config.data_root), rows.train)
    base = load.locate(config.model, cache)
    codec = chat.prepare(load.tokenizer(base), config.model)
    with processes.main_first():
        train = tokens.encode(codec, rows.train, config.data, task.max_length, cache)
        dev = tokens.encode(codec, rows.dev, config.data, task.max_length, cache)
    tokens.refuse_great_loss([train.ledger, dev.ledger], config.data, task.max_length)
    mix = mix_of(config, train.rows)
    seen = lint.lint(codec, rows.train, train, questions)
    for line in seen.lines():
        log.info("%s", line)
    with placement.enough_memory(f"reading the weights of {config.model.name}", "take a smaller model"):
        model = load.base_model(config.model, base, config.adapter, place)
    model, outcome = sft.train(
        adapter.attach(model, config.adapter, base, config.seed),
        codec.tokenizer,
        sft.Material(train.rows, dev.rows, seen.hash, mix, drift.encode(codec, texts)),
        task,
        place,
        sft.Run(directory / "training", config.seed, tracker),
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
        "outcome.json": asdict(outcome),
    }
    adapter.save(model, codec.tokenizer, trained, notes)
    dev_loss = "" if outcome.dev_loss is None else f", on dev {outcome.dev_loss:.3f}"
    log.info(
        "trained %s steps: loss %.3f%s%s", *(outcome.steps, outcome.train_loss, dev_loss, outcome.memory)
    )
    return trained


def rows_of(config: RunConfig, questions: set[str] | str | None = None) -> Rows:
    """Return the rows that training, its plan and task=inspect see; `questions` if they are read already.

    Raises DataError when the suite's items are to be left out and cannot be read.
    """
    from arabic_llm.data import sources

    return sources.load(config.data, Path(config.data_root), config.seed, test_items(config, questions))


def test_items(config: RunConfig, questions: set[str] | str | None = None) -> set[str]:
    """Return the suite's questions where data.cleaning leaves them out; `questions` if they are read.

    Raises DataError when they cannot be read.
    """
    from arabic_llm.data import sources

    if not any(source.cleaning.drop_test_items for source in sources.sources_of(config.data)):
        return set()
    items = suite_questions(config) if questions is None else questions
    if isinstance(items, str):
        raise DataError(f"data.cleaning.drop_test_items: {items}; bring the suite, or set it to false")
    return items


def placed(config: RunConfig) -> Placement:
    """Return where and how a run trains: with a budget, as its plan says."""
    from arabic_llm.models import placement

    place = placement.resolve(config.hw)
    if (chosen := planned(config, place)) is None:
        return place
    return replace(
        place,
        micro_batch_size=chosen.micro_batch_size,
        gradient_checkpointing=chosen.checkpointing,
        optimizer_on_host=chosen.work.optimizer_on_host and place.device != "cpu",
        embedding_on_host=chosen.work.embedding_on_host,
        fsdp=chosen.work.fsdp and processes.count() > 1,
    )


def planned(config: RunConfig, place: Placement) -> Plan | None:
    """Return the plan of a run, or None without a budget, and in float32 on a card.

    Budgets are of cards: on a CPU they are planned as if the card were there.
    """
    from arabic_llm.memory import plan as planning

    if config.hw.usable_gib is None or (place.device != "cpu" and place.precision is Precision.float32):
        return None
    precision = place.precision if place.device != "cpu" else Precision.auto
    hw = replace(config.hw, precision=precision, device=Device.auto)
    return planning.best(planning.ask(config.model, config.adapter, hw, settings(config)))


def refuse_what_cannot_run(config: RunConfig, place: Placement) -> None:
    """Raise HardwareError for a run over its budget, on a card that is taken, or larger than the memory."""
    from arabic_llm import machine
    from arabic_llm.memory import weights

    chosen = planned(config, place)
    gib = _weights_gib(config, place) if chosen is None else chosen.total / weights.GIB
    if place.device == "cpu":
        machine.refuse_too_large(config.model.name, _weights_gib(config, place))
    elif (missing := over_budget(config, place)) is not None:
        raise HardwareError(missing)
    else:
        machine.refuse_busy(gib)


def _weights_gib(config: RunConfig, place: Placement) -> float:
    from arabic_llm.memory import weights
    from arabic_llm.models import load

    each, quantization = load.dtype_of(config.adapter, place).itemsize, config.adapter.quantization
    return weights.weight_bytes(config.model.architecture, quantization, each) / weights.GIB


def over_budget(config: RunConfig, place: Placement) -> str | None:
    """Return why a run does not fit its budget, or None when it does."""
    from arabic_llm.memory import plan as planning

    chosen = planned(config, place)
    if chosen is None or planning.fits(chosen, config.hw):
        return None
    if planning.hangs_on_holes(chosen, config.hw):
        from arabic_llm.training import rehearsal

        if rehearsal.peak(chosen.work, int((config.hw.usable_gib or 0) * planning.GIB)).fits:
            return None
    return (
        f"hw={config.hw.name} leaves {config.hw.usable_gib} GiB and this run needs"
        f" {chosen.total / planning.GIB:.2f}, whatever the batch; task=plan with the same settings says"
        " what fits"
    )


def plan_line(config: RunConfig, num_rows: int, place: Placement) -> str:
    """Return what is about to happen in one line; the figures of the memory are a closed form."""
    from arabic_llm import machine
    from arabic_llm.memory import weights
    from arabic_llm.models.placement import micro_batch
    from arabic_llm.training.schedule import num_steps

    task, model, adapter = settings(config), config.model, config.adapter
    size, accumulation = micro_batch(place, task.effective_batch_size)
    batch = f"{task.effective_batch_size} sequences ({accumulation} x {size})"
    trained = ""
    if adapter.rank is not None and adapter.target_modules == ["all-linear"] and not adapter.use_dora:
        millions = weights.adapter_parameters(model.architecture, adapter.rank) / 1e6
        trained = f" ({millions:,.2f} M trained)"
    count = weights.count(model.architecture).total / 1e6
    if (chosen := planned(config, place)) is None:
        needs = f"weights {_weights_gib(config, place):,.2f} GiB"
    else:
        needs = f"needs {chosen.total / weights.GIB:,.2f} GiB of {config.hw.usable_gib} that hw leaves"
        needs += ", which is too much" if over_budget(config, place) else ""
    where = place.description
    where += f", {machine.free_gib():.1f} GiB free" if place.device == "cpu" else ""
    return (
        f"plan: {model.name} ({count:,.1f} M parameters) with adapter={adapter.name}{trained}"
        f" on {num_rows:,} rows: {num_steps(task, num_rows):,} steps of {batch},"
        f" up to {task.max_length:,} tokens; {needs}; {where}"
    )


def mix_of(config: RunConfig, rows: Sequence[Row | TokenRow]) -> Mix:
    """Return the mix. Raises ConfigError when these rows cannot give it: before a model is loaded."""
    from arabic_llm.data.mixing import Mix

    mix = Mix.of(config.data)
    mix.shares(Counter(row.source for row in rows))
    return mix


def mix_lines(config: RunConfig, rows: Sequence[TokenRow], mix: Mix) -> list[str]:
    """Return what the mix comes to in a run on these rows; nothing for one source in one bucket."""
    if mix.num_buckets == 1 and len({row.source for row in rows}) == 1:
        return []
    from arabic_llm.data import mix_report
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
    from arabic_llm.data.lint import question_key
    from arabic_llm.evaluation import suites

    try:
        chosen = suites.load(config.suite, Path(config.data_root))
    except UserError as error:
        return str(error)
    return {question_key(question) for question in suites.questions(chosen)} - {""}
