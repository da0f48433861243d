"""Synthetic instruction data: articles, paragraphs, questions and answers in Arabic, checked."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.run import RunConfig
from arabic_llm.data.reading import locate
from arabic_llm.models import tokenization
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import publish_synthetic, synthesize

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: articles, the tokenizer that counts, a reader's marks."""
    return {
        "data": synthesize.source_hash(config),
        "tokenizer": fingerprint(tokenization.rules(config.model)),
        "marks": synthesize.marks_hash(config),
    }


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing, and asks no server."""
    for line in synthesize.plan(config):
        log.info("%s", line)


def run(config: RunConfig, directory: Path) -> float:
    """Return the number of training rows; they lie in the directory, with card and page."""
    work = directory / ".work"
    made = synthesize.make(config, work)
    prepared = publish_synthetic.prepared(config, made.rows, work)
    splits = publish_synthetic.write(prepared, made.rows, directory)
    said = publish_synthetic.describe(config, made, prepared, splits)
    publish_synthetic.review(config, made, splits)
    files.write_state(
        directory / locate.PREPARED, publish_synthetic.manifest(config, splits, inputs(config))
    )
    shutil.rmtree(work)
    for line in (*said, f"rows and card: {directory}"):
        log.info("%s", line)
    return float(sum(split.rows for split in splits if split.name == "train.jsonl"))
