"""Ask a suite's questions as people type them, and say what each way of typing costs."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

from arabic_llm import files, machine, tracking
from arabic_llm.analysis import robustness as drops_of
from arabic_llm.config.compose import identity
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import JudgeConfig
from arabic_llm.config.task import RobustnessConfig
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.evaluation import perturbed, suites
from arabic_llm.models import adapter, bases, placement, tokenization
from arabic_llm.reports import tables
from arabic_llm.reports.robustness import HEADER, NUM_ANSWERS, Report, cells
from arabic_llm.tasks import Inputs
from arabic_llm.tracking import Results
from arabic_llm.workflows import evaluate, robustness, seen
from arabic_llm.workflows.evaluate import Asked

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads (None: not here yet)."""
    path = robustness.diacritised_text(_settings(config), Path(config.data_root))
    read = {**evaluate.inputs(config), **evaluate.made_with()}
    return {**read, "diacritised_text": files.sha256(path)[:16] if path else None}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    evaluate.dry_run(config)
    task = _settings(config)
    known, left_out = robustness.perturbations(task, Path(config.data_root))
    rates = ", ".join(f"{rate:g}" for rate in sorted(set(task.rates)))
    log.info("plan: the same again with %s perturbations at %s: %s", len(known), rates, ", ".join(known))
    for reason in left_out:
        log.info("left out: %s", reason)


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean drop of the suite's first scores over all perturbations and rates, a share of 1."""
    task, root = _settings(config), Path(config.data_root)
    config = seen.marked_as_it_is(machine.settled(config, whole=True))
    tracker = tracking.start(config.tracking, directory, identity(config))
    known, left_out = robustness.perturbations(task, root)
    trained = Path(config.adapter.path) if config.adapter.path else None
    base, place = bases.locate(config.model, Path(config.cache_dir)), placement.resolve(config.hw)
    tokenizer = tokenization.load(base, trained)
    chosen = evaluate.load_suite(config)
    left_out += perturbed.left_out(chosen, list(known))
    for reason in left_out:
        log.info("left out: %s", reason)
    weights = cache(lambda: adapter.load_trained(config.model, base, config.adapter, place, trained))
    missing = tuple(suites.left_out(config.suite, chosen))
    asked = Asked(chosen, weights, suites.overall(config.suite, chosen), left_out=missing)
    folder = directory / "evaluation"
    clean = evaluate.evaluate(config, trained, folder / "clean", asked)
    evaluate.leave(config, clean, folder / "clean")
    # The judge is asked about the clean questions alone: about all it would be asked fifty times as much.
    unjudged = replace(config, judge=JudgeConfig())
    drops, answers = [], []
    rates = sorted(set(task.rates))
    for condition, asked_so, texts in robustness.conditions(
        asked, known, rates, config.seed, config.suite.limit
    ):
        found = evaluate.evaluate(config, trained, folder / condition.name, asked_so)
        evaluate.leave(unjudged, found, folder / condition.name)
        drops += drops_of.drops(clean, found, condition, robustness.num_tokens(tokenizer, texts))
        changed = drops_of.changed_answers(clean, found)
        answers.append((condition, list(islice(changed, NUM_ANSWERS))))
    if not drops:
        raise DataError(f"suite={config.suite.name} has no question that can be perturbed")
    report = Report(
        clean=clean,
        drops=drops_of.gathered(drops),
        answers=answers,
        left_out=left_out,
        manifest=files.read_state(directory / "manifest.json"),
        hardware=place.description,
    )
    lost = robustness.write(report, directory)
    scored = {one.label: one.value for one in clean.scores}
    lists = {"scores": tables.scores_table(clean.scores), "drops": (HEADER, list(map(cells, report.drops)))}
    tracker.finish(Results(lost, scored, lists, directory / "report.html"))
    return lost


def _settings(config: RunConfig) -> RobustnessConfig:
    if not isinstance(config.task, RobustnessConfig):
        raise ConfigError("task=robustness is needed here")
    return config.task
