"""Finished runs that differ from this one in their length alone: it does not carry them on, and says so."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from arabic_llm import files, processes
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import DamagedError

log = logging.getLogger(__name__)
_LENGTH = ("epochs", "max_steps")  # settings of a task; its schedule of learning rates follows them


def say(config: RunConfig, directory: Path) -> None:
    """Say that a run begins anew although a like one has ended, and what goes on from that one instead."""
    if not processes.is_main() or (directory / "training").exists():  # it is carried on
        return
    own, trained = _but_length(identity(config)), config.adapter.method.folder
    like = [
        (result.stat().st_mtime, result.parent / trained, told)
        for result in directory.parent.glob("*/result.json")
        if result.parent != directory
        and (told := _told(result.parent))
        and _but_length(told) == own
        and files.is_whole(result.parent / trained)
    ]
    if like:
        _, folder, told = max(like, key=lambda found: found[0])
        length = ", ".join(f"task.{name}={told['task'].get(name)}" for name in _LENGTH)
        log.info("begins anew: adapter.path=%s goes on from what was trained with %s", folder, length)


def _told(run: Path) -> dict[str, Any]:
    """Return what a run was told; nothing where its folder does not say so."""
    try:
        told = files.read_state(run / "manifest.json", is_old_too=True).get("identity")
    except (DamagedError, FileNotFoundError):
        return {}
    return told if isinstance(told, dict) and isinstance(told.get("task"), dict) else {}


def _but_length(told: dict[str, Any]) -> dict[str, Any]:
    """Return what a run was told, but for how long it trains."""
    return {**told, "task": {k: v for k, v in told["task"].items() if k not in _LENGTH}}
