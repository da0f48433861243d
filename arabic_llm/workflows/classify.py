"""A head of classes on a model: its rows, its training, and what it is worth beside two baselines."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from arabic_llm import files
from arabic_llm.analysis import baselines, classification
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.model import ModelKind
from arabic_llm.config.run import RunConfig
from arabic_llm.data.preparing import labelled
from arabic_llm.data.preparing.labelled import Labelled
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.preparing.sources import content_hash
from arabic_llm.data.tokens import chat, chat_template, token_rows
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.models import adapter, bases, load, placement, tokenization
from arabic_llm.models.bases import Base
from arabic_llm.models.load import Head
from arabic_llm.profiling import training_fit
from arabic_llm.profiling.training_fit import TrainingFit
from arabic_llm.reports.classification import Classified
from arabic_llm.reports.spoken import say
from arabic_llm.tracking import Tracker
from arabic_llm.training import checkpoint, class_loss
from arabic_llm.training import sft as training
from arabic_llm.workflows import compare, settings
from arabic_llm.workflows import fine_tune as finetuning

log = logging.getLogger(__name__)


def fine_tune(
    config: RunConfig, data: Labelled, fitted: TrainingFit, directory: Path, tracker: Tracker
) -> Path:
    """Return the folder of the trained adapter (or weights); a finished one is not trained again.

    Raises HardwareError for a run that its card, or its budget, does not hold.
    """
    trained, is_done = finetuning.trained_before(config.adapter.method, directory)
    if is_done:
        return trained
    training_fit.refuse(config, fitted)
    place = fitted.place
    base, tokenizer, head = _base(config, data)
    train, dev = (_encoded(config, data, name, tokenizer) for name in ("train", "dev"))
    material = training.Material(train, dev, token_rows.data_hash(train), Mix.of(config.data))
    model, outcome = training.train(
        finetuning.adapted(config, base, place, head),
        tokenizer,
        material,
        settings.training(config),
        place,
        finetuning.observed(config, directory / "training", tracker, fitted),
    )
    notes = {
        "arabic_llm.json": {
            "base_name": config.model.hub_id or config.model.name,
            "base_revision": base.revision,
            "labels": data.labels,
            "data": material.hash,
        },
        "ledger.json": [ledger.as_dict() for ledger in data.ledgers],
        "README.md": finetuning.card(config, base, outcome),
    }
    finetuning.keep((model, outcome), tokenizer, trained, notes, base)
    return trained


def evaluate(config: RunConfig, data: Labelled, trained: Path, directory: Path) -> Classified:
    """Return what the classifier and the baselines are worth on the test rows."""
    probabilities, memory = _probabilities(config, data, trained), directory / "training" / "memory.json"
    labels, name = data.classes(data.test), f"{config.model.name} {config.adapter.name}"
    answers = {
        name: [int(best) for best in probabilities.argmax(1)],
        "TF-IDF": _counted_letters(config, data),
        "majority": baselines.majority(data.classes(data.train), len(data.test)),
    }
    measures, gains = classification.measure(
        labels, answers, len(data.labels), ordered=data.are_ordered, seed=config.seed
    )
    log.info("evaluated on %s test texts", f"{len(labels):,}")
    said = [
        {
            "id": row.id,
            "text": row.text,
            "label": row.label,
            "answer": data.labels[answer],
            "tfidf": data.labels[counted],
            "probabilities": {
                label: round(float(p), 6) for label, p in zip(data.labels, each, strict=True)
            },
        }
        for row, answer, counted, each in zip(
            data.test, answers[name], answers["TF-IDF"], probabilities, strict=True
        )
    ]
    return Classified(
        title=say("{model} on {data}", model=name, data=data.name),
        labels=data.labels,
        counts=data.counts(),
        measures=measures,
        gains=gains,
        confusion=classification.confusion_matrix(labels, answers[name], len(data.labels)),
        items=said,
        notes=list(data.notes()),
        manifest=files.read_state(directory / "manifest.json"),
        hardware=placement.resolve(config.hw).description,
        outcome=files.read_json(trained / "outcome.json"),
        metrics=checkpoint.metrics(directory / "training"),
        memory=compare.measured(memory),
    )


def rows(config: RunConfig) -> Labelled:
    """Return the labelled rows of a run, with their splits."""
    cache = None if config.dry_run else Path(config.cache_dir)
    return labelled.load(config.data, Path(config.data_root), config.seed, cache)


def fitted(config: RunConfig, data: Labelled) -> TrainingFit:
    """Return where and how the head is trained."""
    return training_fit.fit(config, settings.training(config), len(data.labels))


def announce(config: RunConfig, data: Labelled, fitted: TrainingFit) -> None:
    """Say which rows there are, of which classes, and what is about to happen."""
    for line in (*map(str, data.ledgers), *data.shares(), *data.notes()):
        log.info("%s", line)
    log.info("%s", training_fit.line(config, settings.training(config), len(data.train), fitted))


def _base(config: RunConfig, data: Labelled) -> tuple[Base, PreTrainedTokenizerBase, Head]:
    """Return where the base model lies, its tokenizer, and the head that it gets."""
    base = bases.locate(config.model, Path(config.cache_dir))
    tokenizer = tokenization.load(base)
    if config.model.kind is ModelKind.causal:
        tokenizer = chat_template.prepare(tokenizer, config.model).tokenizer
    return base, tokenizer, load.Head(data.labels, tokenizer.pad_token_id, config.seed)


def _encoded(
    config: RunConfig, data: Labelled, split: str, tokenizer: PreTrainedTokenizerBase
) -> list[TokenRow]:
    """Return the rows of a split as token rows, and say how many were cut."""
    rows, length = getattr(data, split), settings.training(config).max_length
    encoded = [
        chat.encode_labelled(tokenizer, row, label, length)
        for row, label in zip(rows, data.classes(rows), strict=True)
    ]
    num_tokens, num_cut = sum(len(row.input_ids) for row in encoded), sum(row.was_cut for row in encoded)
    log.info(
        "%s: %s tokens in %s texts, %s of them cut to %s",
        *(split, f"{num_tokens:,}", f"{len(rows):,}", f"{num_cut:,}", length),
    )
    return encoded


def _probabilities(config: RunConfig, data: Labelled, trained: Path) -> Any:
    """Return the probabilities [N, C] that the trained classifier gives the test rows."""
    place = placement.resolve(config.hw)
    base, tokenizer, head = _base(config, data)
    test = _encoded(config, data, "test", tokenizer)
    placement.release()
    with placement.enough_memory(f"reading the weights of {config.model.name}", "take a smaller model"):
        model = adapter.load_trained(config.model, base, config.adapter, place, trained, head)
    return class_loss.probabilities(model, test, place, head.pad_token_id)


def _counted_letters(config: RunConfig, data: Labelled) -> list[int]:
    """Return the answers of the TF-IDF baseline; what one run has fitted on these rows, others read."""
    rows = [content_hash(data.train), content_hash(data.test), data.labels]
    key = fingerprint([rows, baselines.SETTINGS, version("scikit-learn")])
    kept = Path(config.cache_dir) / "baselines" / f"{key}.json"
    if (known := files.kept(kept, files.read_state)) is None:
        texts = ([row.text for row in rows] for rows in (data.train, data.test))
        train, test = texts
        known = {"answers": baselines.tfidf(train, data.classes(data.train), test)}
        files.write_state(kept, known)
        log.info("baseline: TF-IDF and logistic regression on %s texts", f"{len(train):,}")
    answers: list[int] = known["answers"]
    return answers
