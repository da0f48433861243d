"""How transformers, vLLM and Ollama serve a run; with task.start=true the first is asked a question."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm.config.chat_task import ServeConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import ConfigError
from arabic_llm.workflows import trained_run

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> None:
    """Return nothing: what was exported since the last time is looked for again."""


def dry_run(config: RunConfig) -> None:
    """Say what would be served. Writes nothing."""
    task = _settings(config)
    run = trained_run.opened(Path(task.run), task.base)
    trained_run.base_of(run, Path(config.cache_dir))
    how = "start transformers serve and ask it one question" if task.start else "say the commands"
    log.info("plan: %s, of %s", how, run.trained)


def run(config: RunConfig, directory: Path) -> None:
    """Say the commands that serve a run, and try the one of transformers where that is asked for."""
    from arabic_llm.serving import commands
    from arabic_llm.workflows import served  # torch

    task = _settings(config)
    trained = trained_run.opened(Path(task.run), task.base)
    found = served.find(trained, Path(config.cache_dir), task.exported, directory.parent.parent / "export")
    if task.start:
        served.held_against(config, task, trained, found)
        return
    for line in commands.lines(found, task.port):
        log.info("%s", line)


def _settings(config: RunConfig) -> ServeConfig:
    if not isinstance(config.task, ServeConfig):
        raise ConfigError("task=serve is needed here")
    return config.task
