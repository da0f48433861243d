"""The whole question: judge the base model, fine-tune it, judge it again, compare, report."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import processes
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.tasks import compare, evaluate, sft

SHARES_WORK = True  # accelerate launch: its parts share theirs
log = logging.getLogger(__name__)
_SIDES = ("base", "tuned")


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads (None: not here yet)."""
    return {**sft.inputs(config), **evaluate.inputs(config)}


def plan(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    evaluate.plan(config)
    sft.plan(config)


def run(config: RunConfig, directory: Path) -> float:
    """Return the tuned model's mean score, a share of 1; the report is `<directory>/report.html`."""
    from arabic_llm import machine, tracking

    judged, config = machine.settled(config, whole=True), machine.settled(config)
    tracker = tracking.start(config.tracking, directory, identity(config))
    folder = directory / "evaluation"
    base = evaluate.judge(judged, None, folder / "base")
    before = processes.from_main(lambda: evaluate.leave(config, base, folder / "base"))
    trained = sft.fine_tune(config, directory, tracker)
    tuned = evaluate.judge(judged, trained, folder / "tuned")
    after = processes.from_main(lambda: evaluate.leave(config, tuned, folder / "tuned"))
    rows = processes.from_main(
        lambda: compare.report(config, (base, tuned), (before, after), directory, trained)
    )
    tracker.finish(
        {f"{row.base.label} {name}": getattr(row, name).value for row in rows for name in _SIDES}
    )
    return evaluate.mean_score(config, tuned)
