"""A talk with a model, in the terminal, of a pipe, or on a page: base, tuned, or one beside the other."""

from __future__ import annotations

import logging
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

from arabic_llm.config.chat_task import ChatConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import ConfigError
from arabic_llm.workflows import trained_run

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> None:
    """Return nothing: a talk is never done."""


def dry_run(config: RunConfig) -> None:
    """Say who would be talked to, and where. Writes nothing."""
    task = _settings(config)
    who = config.model.name
    if task.run is not None:
        run = trained_run.opened(Path(task.run), task.base)
        trained_run.base_of(run, Path(config.cache_dir))
        who = f"{run.model.name} as {run.trained} has it"
    where = f"on a page, port {task.port or 'that is free'}" if task.web else "in the terminal"
    how = f"drawn at temperature {task.temperature:g}" if task.temperature else "the likeliest words"
    log.info("plan: talk with %s, %s, %s, at most %s tokens", who, where, how, task.max_new_tokens)


def run(config: RunConfig, directory: Path) -> None:
    """Talk until the other side has enough; on a page, what is liked is kept in the directory."""
    from arabic_llm.serving import site  # torch
    from arabic_llm.serving.console import Console
    from arabic_llm.serving.screen import Screen
    from arabic_llm.serving.talk import Talk
    from arabic_llm.workflows import talkers

    task = _settings(config)
    talker = talkers.talker(config, task)
    show = talkers.shown(talker, task)
    with site.listening(task.port) if task.web else nullcontext() as server:
        chat = Talk(talkers.voices(config, talker, show), talkers.sampling(config, task))
        chat.open_with(task.system)
        if server is not None:
            server.serve(chat, directory, talker.model.name)
            return
        console = Console(chat, Screen(sys.stdout), directory)
        with suppress(BrokenPipeError):  # nobody reads any longer
            if task.prompt is not None:
                console.one(task.prompt)
            elif sys.stdin is not None and sys.stdin.isatty():
                log.info("%s, %s; /help lists commands", talker.model.name, show.name)
                console.with_person()
            else:
                console.of_pipe()


def _settings(config: RunConfig) -> ChatConfig:
    if not isinstance(config.task, ChatConfig):
        raise ConfigError("task=chat is needed here")
    return config.task
