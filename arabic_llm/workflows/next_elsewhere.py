"""What can be done after a talk, a server, a download, a model of one's own, and a table of results."""

from __future__ import annotations

import sys
from pathlib import Path

from arabic_llm.config.adapter import Method
from arabic_llm.config.chat_task import ChatConfig, ServeConfig
from arabic_llm.config.model import ModelKind
from arabic_llm.config.run import Language, RunConfig
from arabic_llm.config.task import PretrainConfig
from arabic_llm.workflows.next_commands import Step, command, kept, of_run, of_training, place

_LIKED = (("learn which answers were better", "pairs", "dpo"), ("learn from the thumbs", "thumbs", "kto"))


def is_of_a_pipe(config: RunConfig) -> bool:
    """Return whether a talk had the questions of a pipe: its answers are all that is wanted."""
    task = config.task
    has_person = sys.stdin is not None and sys.stdin.isatty()
    return isinstance(task, ChatConfig) and not (task.web or task.prompt or has_person)


def after_talk(config: RunConfig) -> list[Step]:
    """Return how to judge who was talked to, and what teaches it what was liked on the page."""
    task = config.task
    if not isinstance(task, ChatConfig):
        return []
    if task.run is None:
        return [("judge it", command(["task=evaluate", *kept("evaluate", config)]))]
    run = Path(task.run)
    start = _trained(run)
    steps = [
        (what, command([f"task={task}", place("data.path", file), start]))
        for what, name, task in _LIKED
        if (file := Path(config.output_dir) / f"{name}.jsonl").is_file()
    ]
    if not task.web:
        steps.append(("on a page, beside its base", f"{of_run('chat', config, run)} task.web=true"))
    return [
        *steps,
        ("judge it", command(["task=evaluate", start])),
        ("hand it on", of_run("export", config, run)),
    ]


def after_serving(config: RunConfig) -> list[Step]:
    """Return how to talk with a run here, and how to judge it."""
    if not isinstance(config.task, ServeConfig):
        return []
    run = Path(config.task.run)
    return [
        ("talk to it here", of_run("chat", config, run)),
        ("judge it", command(["task=evaluate", _trained(run)])),
    ]


def after_download(config: RunConfig) -> list[Step]:
    """Return what the files that were brought are for."""
    if config.model.kind is not ModelKind.causal:
        return [("judge it", command(["task=evaluate", *kept("evaluate", config)]))]
    return [
        ("will it fit", command(["task=plan", *kept("plan", config)])),
        ("judge, train, judge again", command(["task=study", *kept("study", config)])),
    ]


def after_pretraining(config: RunConfig) -> list[Step]:
    """Return what takes the folder of the new model."""
    own = config.task.export_to if isinstance(config.task, PretrainConfig) else None
    model = place("model.path", own or Path(config.output_dir) / "model")
    return [
        ("talk to it", command(["task=chat", model])),
        ("judge it", command(["task=evaluate", model])),
        ("train it on your rows (data.path=...)", command([model])),
    ]


def after_report(config: RunConfig) -> list[Step]:
    """Return the same table in Arabic, where it was not."""
    words = ["task=report", *of_training(config, "report")]
    return [] if config.lang is Language.ar else [("in Arabic", command([*words, "lang=ar"]))]


def _trained(run: Path) -> str:
    """Return the setting that takes what a run has trained: an adapter, or whole weights."""
    is_whole = (run / Method.full.folder).is_dir()
    return place(
        "model.path" if is_whole else "adapter.path",
        run / (Method.full if is_whole else Method.lora).folder,
    )
