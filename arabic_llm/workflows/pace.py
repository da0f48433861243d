"""How long a training may take, where an earlier run of this model on this machine has shown it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from arabic_llm import files, rundir
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import DamagedError

_RUNS = Path("outputs")
_ANY_SPEED = ("path", "dropout")  # of an adapter
_ALIKE = {"sft", "study"}  # tasks whose steps are the same
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True)
class Pace:
    """What a step of an earlier run took: the middle one, its rows and its tokens."""

    run: Path
    seconds: float
    rows: int
    tokens: float


@dataclass(frozen=True)
class Ahead:
    """A training to come: what task it is of, its steps, and tokens of one (None: unknown)."""

    task: str
    rows_a_step: int
    num_steps: int | None
    tokens_a_step: float | None = None


def lines(config: RunConfig, ahead: Ahead) -> list[str]:
    """Return the estimate, or nothing where no run has shown it; of a config as it was typed.

    Rows that nobody has counted are taken to be as long as those of the earlier run.
    """
    if (pace := of_earlier(config, ahead.task)) is None:
        return []
    num_steps, num_tokens = ahead.num_steps, ahead.tokens_a_step
    share = ahead.rows_a_step / pace.rows if num_tokens is None else num_tokens / pace.tokens
    seconds = pace.seconds * share
    like = "with rows as long as its own, " if num_tokens is None else ""
    source = f"{like}by the steps of {pace.run} on this machine; evaluations and checkpoints not counted"
    if num_steps is None:
        return [f"time: about {_said(seconds)} a step, {source}"]
    return [f"time: about {_said(seconds * num_steps)} for {num_steps:,} steps, {source}"]


def of_earlier(config: RunConfig, task: str) -> Pace | None:
    """Return the pace of the newest run of this model, adapter, hw and precision; None: there is none."""
    own = _kind(identity(config), config.hw.name, rundir.machine_name())
    found = [(log.stat().st_mtime, log, told) for log, told in _runs(config) if _of(told) == own]
    for _, log, told in sorted(found, key=lambda run: run[0], reverse=True):
        name = told["identity"]["task"].get("name")
        if name != task and not {name, task} <= _ALIKE:
            continue
        steps = list(_steps(log))
        if steps and (last := steps[-1])["tokens_seen"]:
            return Pace(
                log.parents[1],
                median(step["seconds_per_step"] for step in steps),
                told["identity"]["task"]["effective_batch_size"],
                last["tokens_seen"] / last["step"],
            )
    return None


def _runs(config: RunConfig) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the metrics of each run that has trained, and its manifest, of those that can be read."""
    near = Path(config.output_dir).parent.glob("*/training/metrics.jsonl")
    here = (log for depth in ("*", "*/*") for log in _RUNS.glob(f"{depth}/training/metrics.jsonl"))
    for log in {log.resolve(): log for log in (*near, *here)}.values():
        try:
            yield log, files.read_state(log.parents[1] / rundir.MANIFEST, is_old_too=True)
        except (DamagedError, OSError):
            continue


def _of(manifest: dict[str, Any]) -> tuple[Any, ...] | None:
    """Return what makes the speed of a run, of its manifest; None for one that does not say it."""
    told = manifest.get("identity")
    if not isinstance(told, dict) or not all(isinstance(told.get(k), dict) for k in ("task", "adapter")):
        return None
    return _kind(told, manifest.get("hw"), manifest.get("machine"))


def _kind(told: dict[str, Any], hw: object, machine: object) -> tuple[Any, ...]:
    adapter = {key: value for key, value in told["adapter"].items() if key not in _ANY_SPEED}
    return told.get("model"), adapter, told.get("precision"), hw, machine


def _steps(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines about a step and its time; one that is half written is left out."""
    for text in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            step = json.loads(text)
        except ValueError:
            continue
        if isinstance(step, dict) and step.get("seconds_per_step") and step.get("step"):
            yield step


def _said(seconds: float) -> str:
    """Return a time as people say it: two digits."""
    if seconds < _MINUTE:
        return f"{seconds:.2g} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
