"""The whole question: evaluate the base model, fine-tune it, evaluate it again, compare, report."""

from __future__ import annotations

import logging
from pathlib import Path

from arabic_llm import files, machine, processes, tasks, tracking
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.memory import disk_room
from arabic_llm.models import placement
from arabic_llm.reports import tables
from arabic_llm.tasks import Inputs
from arabic_llm.tasks.sft import dry_run as dry_run_of_training
from arabic_llm.tracking import Results
from arabic_llm.workflows import compare, compare_stages, evaluate, fine_tune, seen, settings, stages
from arabic_llm.workflows.compare import Side

log = logging.getLogger(__name__)
shares_work = True  # its parts share theirs
_SIDES = ("base", "tuned")
_OF_ROWS = ("data", "held_out")  # inputs that each stage has its own of


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads."""
    if not stages.settings(config).stages:
        return {**fine_tune.inputs(config), **evaluate.inputs(config)}
    found = evaluate.inputs(config)
    for step in stages.steps(config, planned=True):
        with stages.named_as_typed(step.stage):
            read = tasks.load(step.stage.name).inputs(step.config) or {}
        for name, digest in read.items():
            found[f"{step.stage.name}.{name}" if name in _OF_ROWS else name] = digest
    return found


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    evaluate.dry_run(config)
    if not stages.settings(config).stages:
        dry_run_of_training(config)
    for step in stages.steps(config, planned=True):
        log.info("stage %s, from %s, on %s:", step.stage.name, step.start, step.config.data.name)
        with stages.named_as_typed(step.stage):
            tasks.load(step.stage.name).dry_run(step.config)


def run(config: RunConfig, directory: Path) -> float:
    """Return the tuned model's mean score, a share of 1; the report is `<directory>/report.html`."""
    if stages.settings(config).stages:
        return _run_stages(config, directory)
    whole, config = seen.marked(machine.settled(config, whole=True)), machine.settled(config)
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
        lambda: compare.report(
            (Side(base, before, folder / "base"), Side(tuned, after, folder / "tuned")),
            *(directory, trained, config.seed, hardware),
        )
    )
    score = evaluate.mean_score(config.suite, tuned)
    outcome = files.read_json(trained / "outcome.json")
    scored = {f"{row.base.label} {name}": getattr(row, name).value for row in rows for name in _SIDES}
    compared = {"comparison": tables.table_of(rows)}
    tracker.finish(Results(score, outcome | scored, compared, directory / "report.html"))
    return score


def _run_stages(config: RunConfig, directory: Path) -> float:
    """Return the mean score of the last stage; each is a run of its own, in a folder of its name."""
    planned = stages.steps(config, planned=True)
    whole = seen.marked(machine.settled(config, whole=True), [step.config for step in planned])
    for step in planned[1:]:
        with stages.named_as_typed(step.stage):
            stages.refuse_early(step)
    judged = [stages.judge(whole, None)]
    for step in stages.steps(config):
        task = tasks.load(step.stage.name)
        log.info("stage %s, from %s, on %s:", step.stage.name, step.start, step.config.data.name)
        with stages.named_as_typed(step.stage):
            tasks.carry_out(task, step.config, task.inputs(step.config) or {}, step.told)
        judged.append(stages.judge(whole, step))
    hardware = placement.resolve(machine.settled(config).hw).description
    processes.from_main(lambda: compare_stages.report(judged, config, directory, hardware))
    tracker = tracking.start(config.tracking, directory, identity(config))
    found = {f"{score.label} {one.name}": score.value for one in judged for score in one.evaluation.scores}
    score = evaluate.mean_score(config.suite, judged[-1].evaluation)
    scores = {f"scores_{one.name}": tables.scores_table(one.evaluation.scores) for one in judged}
    tracker.finish(Results(score, found, scores, directory / "report.html"))
    return score
