"""The whole question: evaluate the base model, fine-tune it, evaluate it again, compare, report."""

from __future__ import annotations

from pathlib import Path

from arabic_llm import machine, processes, tracking
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.memory import disk_room
from arabic_llm.models import placement
from arabic_llm.tasks import Inputs
from arabic_llm.tasks.sft import dry_run as dry_run_of_training
from arabic_llm.workflows import compare, evaluate, fine_tune, settings

shares_work = True  # its parts share theirs
_SIDES = ("base", "tuned")


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads."""
    return {**fine_tune.inputs(config), **evaluate.inputs(config)}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    evaluate.dry_run(config)
    dry_run_of_training(config)


def run(config: RunConfig, directory: Path) -> float:
    """Return the tuned model's mean score, a share of 1; the report is `<directory>/report.html`."""
    whole, config = machine.settled(config, whole=True), machine.settled(config)
    disk_room.refuse_short(config.model, config.adapter, settings.training(config), directory)
    tracker = tracking.start(config.tracking, directory, identity(config))
    folder = directory / "evaluation"
    base = evaluate.evaluate(whole, None, folder / "base")
    before = processes.from_main(lambda: evaluate.leave(config, base, folder / "base"))
    trained = fine_tune.fine_tune(config, directory, tracker)
    tuned = evaluate.evaluate(whole, trained, folder / "tuned")
    after = processes.from_main(lambda: evaluate.leave(config, tuned, folder / "tuned"))
    hardware = placement.resolve(config.hw).description
    rows = processes.from_main(
        lambda: compare.report((base, tuned), (before, after), directory, trained, config.seed, hardware)
    )
    tracker.finish(
        {f"{row.base.label} {name}": getattr(row, name).value for row in rows for name in _SIDES}
    )
    return evaluate.mean_score(config.suite, tuned)
