"""A finished run in the forms that others load: adapter, merged weights, GGUF, Ollama; and on the hub."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import files, hub
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import ExportConfig
from arabic_llm.errors import ConfigError
from arabic_llm.models import adapter
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import trained_run

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what is exported: what was trained, and its base."""
    task = _settings(config)
    run = trained_run.opened(Path(task.run), task.base)
    base = trained_run.base_of(run, Path(config.cache_dir))
    return {"trained": adapter.trained_hash(run.trained), "base": base.revision}


def dry_run(config: RunConfig) -> None:
    """Say what would be made. Writes nothing."""
    task = _settings(config)
    run = trained_run.opened(Path(task.run), task.base)
    forms = ", ".join(form.name for form in task.formats)
    log.info("plan: %s of %s as %s, in %s", run.trained.name, run.directory, forms, config.output_dir)


def run(config: RunConfig, directory: Path) -> float:
    """Return how far merged weights are from what was trained, in nats (0: none were made)."""
    from arabic_llm.workflows import hand_on, hand_on_card

    task = _settings(config)
    if task.push is not None:
        hub.refuse_without_token()
    trained = trained_run.opened(Path(task.run), task.base)
    base = trained_run.base_of(trained, Path(config.cache_dir))
    codec = trained_run.codec_of(trained)
    source = hand_on.Source(trained, base, codec, hand_on_card.writer(trained, base, task))
    made = hand_on.hand_on(source, task, directory)
    lines = [f"{folder}: {proof['line']}" for folder, proof in made.items()]
    if task.push is not None:
        lines += [hub.push(folder, name) for folder, name in hand_on.names_on_the_hub(made, task.push)]
    files.write_text(directory / "summary.txt", "\n".join(lines))
    return max((float(proof.get("kl", 0.0)) for proof in made.values()), default=0.0)


def _settings(config: RunConfig) -> ExportConfig:
    if not isinstance(config.task, ExportConfig):
        raise ConfigError("task=export is needed here")
    return config.task
