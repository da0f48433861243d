"""Supervised fine-tuning: token rows and a model in, a trained adapter (or model) on the disk out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.state import DistributedType
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig

from arabic_llm import files, processes
from arabic_llm.config.hw import Precision
from arabic_llm.config.preference_task import PreferenceConfig
from arabic_llm.config.task import Optimizer, TrainingConfig
from arabic_llm.data.preparing import mix_report
from arabic_llm.data.preparing.mix_report import MixReport
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.errors import CheckpointError, ConfigError, HardwareError
from arabic_llm.models.placement import Placement, micro_batch
from arabic_llm.tracking import Tracker
from arabic_llm.training import (
    batches,
    callbacks,
    checkpoint,
    held_out_budget,
    outcome,
    preference_trainers,
    rungs,
    schedule,
)
from arabic_llm.training.guards import keep_dtypes, trained_dtypes
from arabic_llm.training.held_out_budget import Texts, no_texts
from arabic_llm.training.held_out_loss import Drift
from arabic_llm.training.observer import Nobody, Observer
from arabic_llm.training.outcome import Outcome
from arabic_llm.training.schedule import Schedule
from arabic_llm.training.trainer import GuardedClassifier, GuardedTrainer

log = logging.getLogger(__name__)
_ROWS = "rows.json"  # what the run that began here trains on
# A block's weights leave the card after its forward pass; checkpoints hold all, for any number of cards.
_FSDP = {"version": 2, "reshard_after_forward": True, "state_dict_type": "FULL_STATE_DICT"}
# Gradients are shared out after every pass: those of whole weights would stay until the last one.
_SHARED_EACH_PASS = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
_OF_FSDP = "pytorch_model_fsdp.bin"  # a checkpoint's weights, as accelerate takes them up again
_OPTIMIZERS = {  # as transformers names them, by (what, in the host's memory)
    (Optimizer.adamw, False): "adamw_torch",
    (Optimizer.adamw, True): "paged_adamw_32bit",
    (Optimizer.adamw_8bit, False): "adamw_8bit",
    (Optimizer.adamw_8bit, True): "paged_adamw_8bit",
}
_MIX = "mix.json"  # what its mix comes to


@dataclass(frozen=True)
class TrainingData:
    """What is learned from: rows for training, in which mix, and rows for the loss on unseen ones.

    `held_out` returns texts of each language, whose loss says what is forgotten, cut to a share of them.
    """

    train: Sequence[TokenRow]
    dev: Sequence[TokenRow]
    hash: str
    mix: Mix
    held_out: Texts = no_texts
    reference: Path | None = None  # file of the reference's log-probabilities; none: no loss reads them
    kept_first: Path | None = (
        None  # file of the loss on dev before the first step; none: it is the run's own
    )

    @property
    def is_labelled(self) -> bool:
        """Return whether each row has one class to learn, and not its tokens."""
        return self.train[0].kind == "labelled"


@dataclass(frozen=True)
class Run:
    """Where a run keeps its files, its seed, who gets a copy of its metrics, and who watches its steps."""

    directory: Path
    seed: int
    tracker: Tracker
    observer: Observer = field(default_factory=Nobody)
    stop_after: int | None = None  # steps


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    material: TrainingData,
    settings: TrainingConfig,
    placement: Placement,
    run: Run,
) -> tuple[PreTrainedModel, Outcome]:
    """Train the model on the material and return it; what its directory holds of it is carried on.

    Raises TrainingError at the first value that is not finite, HardwareError when the disk is full,
    ConfigError when early stopping has no dev rows to look at and for a mix that cannot be,
    CheckpointError when the directory holds a run on other rows, KeyboardInterrupt after a signal,
    StoppedError where it was to stop before its end.
    """
    directory = run.directory
    if settings.early_stopping_patience is not None and not material.dev:
        raise ConfigError("task.early_stopping_patience needs dev rows; raise data.dev_share")
    train_set = _sequences(material.train, settings)
    names = batches.sources(train_set, material.train)
    sampler = schedule.sampler(settings, names, train_set["seq_lengths"], material.mix, run.seed)
    whole = plan = _cut(schedule.plan(sampler), train_set["seq_lengths"], placement)
    metrics, patience = directory / callbacks.METRICS, settings.early_stopping_patience
    last = processes.from_main(lambda: _taken_up(directory, material.hash, mix_report.report(sampler)))
    if last and (last / _OF_FSDP).exists() != placement.fsdp:
        was, now = ("without", "false") if placement.fsdp else ("with", "true")
        raise HardwareError(
            f"{last} was written {was} FSDP and only carries on so: set hw.fsdp={now}, or resume=false"
        )
    if last and callbacks.has_stopped_early(metrics, patience):
        plan = plan.until(checkpoint.step_of(last))  # it ended there; only its best weights are missing
    step = checkpoint.step_of(last) if last else 0
    is_dev_first = last is None or callbacks.owes_dev_loss(metrics, step, settings.eval_steps)
    counts = schedule.count_tokens(plan, batches.all_labels(train_set))
    calm = callbacks.StopCalmly()
    dev_set = _by_length(_sequences(material.dev, settings, len(material.train))) if material.dev else None
    is_of_tokens = material.train[0].kind not in ("labelled", "pair", "rated")
    density = batches.tokens_per_byte(dev_set, tokenizer) if dev_set is not None and is_of_tokens else None
    hooks = [callbacks.Metrics(metrics, counts, run.tracker, run.observer, density), calm]
    if patience is not None:
        hooks.append(callbacks.StopEarly(metrics, patience))
    set_seed(run.seed)
    dtypes = trained_dtypes(model)
    trainer_class, collate = _trainer(material, settings, batches.Collate(tokenizer.pad_token_id))
    trainer = trainer_class(
        schedule=plan,
        row_ids=batches.row_ids(train_set, material.train),
        keep=settings.save_total_limit,
        observer=run.observer,
        calm=calm,
        kept_first=material.kept_first,
        model=model,
        args=_arguments(
            settings, placement, plan, run, has_dev=bool(material.dev), is_dev_first=is_dev_first
        ),
        train_dataset=train_set.select(plan.order),
        eval_dataset=dev_set,
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=hooks,
    )
    keep_dtypes(model, dtypes)
    trainer.remove_callback(PrinterCallback)
    if texts := held_out_budget.within(material.held_out, plan, counts, settings.save_steps, directory):
        trainer.add_callback(Drift(trainer.nats, texts, (directory, run.tracker), whole.num_steps, calm))
    stops = rungs.stopping(trainer, material.dev, run.stop_after, calm)
    log.info("training: %s steps, from step %s", f"{plan.num_steps:,}", step)
    with stops, calm.listening(), closing(run.observer):
        if material.reference is not None:
            rows = material.train, material.dev
            preference_trainers.ask_reference(trainer, rows, plan, material.reference, calm)
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    return trainer.model, outcome.read(directory, settings, step)


def _taken_up(directory: Path, rows_hash: str, mix: MixReport) -> Path | None:
    """Return the checkpoint that a run carries on from; metrics.jsonl then ends where it does."""
    _same_rows(directory, rows_hash)
    _tell(mix, directory)
    last = checkpoint.newest_whole(directory)
    if last:
        checkpoint.restore(last)
    callbacks.forget_after(directory / callbacks.METRICS, checkpoint.step_of(last) if last else -1)
    return last


def _cut(plan: Schedule, seq_lengths: Sequence[Sequence[int]], placement: Placement) -> Schedule:
    """Return the schedule, cut by tokens where hw says so."""
    if (tokens := placement.tokens_per_micro_batch) is None:
        return plan
    most = placement.micro_batch_size, tokens
    cut = schedule.cut_by_tokens(plan, seq_lengths, most, processes.count())
    log.info("micro-batches: %s a step, of up to %s tokens", cut.num_passes, f"{tokens:,}")
    return cut


def _arguments(
    settings: TrainingConfig,
    placement: Placement,
    plan: Schedule,
    run: Run,
    *,
    has_dev: bool,
    is_dev_first: bool,
) -> SFTConfig:
    size, accumulation = micro_batch(placement, settings.effective_batch_size)
    accumulation = plan.num_passes // processes.count() or accumulation
    stops_early = settings.early_stopping_patience is not None
    arguments = SFTConfig(
        output_dir=str(run.directory),
        max_steps=plan.num_steps,
        per_device_train_batch_size=size,
        per_device_eval_batch_size=placement.eval_batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup_ratio * plan.num_steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=_OPTIMIZERS[settings.optimizer, placement.optimizer_on_host],
        bf16=placement.precision is Precision.bfloat16,
        fp16=placement.precision is Precision.float16,
        gradient_checkpointing=placement.gradient_checkpointing,
        use_cpu=placement.device == "cpu",
        train_sampling_strategy="sequential",  # the schedule has drawn the order
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=placement.device != "cpu",
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_dev else "no",
        eval_on_start=has_dev and is_dev_first,
        eval_steps=settings.eval_steps,
        save_strategy="steps",
        save_steps=settings.save_steps,
        load_best_model_at_end=stops_early,
        metric_for_best_model="eval_loss" if stops_early else None,
        greater_is_better=False if stops_early else None,
        report_to="none",
        ddp_find_unused_parameters=False,
        fsdp=placement.fsdp,
        fsdp_config=_FSDP if placement.fsdp else None,
        accelerator_config=_SHARED_EACH_PASS if placement.fsdp else None,
        disable_tqdm=True,
        seed=run.seed,
    )
    if placement.fsdp and placement.device == "cpu":
        # accelerate shards over cards alone; torch does it over processors too.
        arguments.distributed_state.distributed_type = DistributedType.MULTI_GPU
    return arguments


def _sequences(rows: Sequence[TokenRow], settings: TrainingConfig, first: int = 0) -> Dataset:
    """Return rows as the model is fed them; pairs and rated ones are numbered from `first`."""
    if rows[0].kind in ("pair", "rated"):
        return (batches.pairs if rows[0].kind == "pair" else batches.rated)(rows, first)
    return batches.sequences(rows, settings.max_length)


def _by_length(dataset: Dataset) -> Dataset:
    """Return the sequences, the shortest first: a batch is padded to its longest."""
    lengths = [sum(pieces) for pieces in dataset["seq_lengths"][:]]
    return dataset.select(sorted(range(len(lengths)), key=lengths.__getitem__))


def _trainer(
    material: TrainingData, settings: TrainingConfig, collate: batches.Collate
) -> tuple[Callable[..., Any], Callable[[list[dict[str, Any]]], dict[str, torch.Tensor]]]:
    """Return the trainer of these rows, and what makes batches of them."""
    if material.is_labelled:
        return GuardedClassifier, collate.classes
    if isinstance(settings, PreferenceConfig):
        return preference_trainers.trainer_of(settings), collate
    return GuardedTrainer, collate


def _same_rows(directory: Path, rows_hash: str) -> None:
    """Refuse to carry on a run on other rows than it began with."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _ROWS
    known = files.kept(path, partial(files.read_state, is_old_too=True)) or {}
    if (before := known.get("hash", rows_hash)) != rows_hash:
        raise CheckpointError(
            f"{directory} was begun on other rows (hash {before}, now {rows_hash}): the data, the tokenizer"
            " or the template changed. Give another hydra.run.dir, or resume=false to begin anew"
        )
    files.write_state(path, {"hash": rows_hash})


def _tell(report: MixReport, directory: Path) -> None:
    """Say what a mix comes to, and keep it for who describes the run."""
    for line in report.lines():
        log.info("%s", line)
    files.write_json(directory / _MIX, asdict(report))
