"""Ask a suite's questions as people type them, and say what each way of typing costs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import JudgeConfig
from arabic_llm.config.task import RobustnessConfig
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.tasks import evaluate
from arabic_llm.text import perturb
from arabic_llm.text.perturb import Perturbation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from arabic_llm.evaluation.perturbed import Condition, Texts
    from arabic_llm.reports.robustness import Report
    from arabic_llm.tasks.evaluate import Asked

log = logging.getLogger(__name__)


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads (None: not here yet)."""
    path = _diacritised_text(config)
    return {**evaluate.inputs(config), "diacritised_text": files.sha256(path)[:16] if path else None}


def plan(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    evaluate.plan(config)
    known, left_out = _perturbations(config)
    rates = ", ".join(f"{rate:g}" for rate in _rates(config))
    log.info("plan: the same again with %s perturbations at %s: %s", len(known), rates, ", ".join(known))
    for reason in left_out:
        log.info("left out: %s", reason)


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean drop of the suite's first scores over all perturbations and rates, a share of 1."""
    from arabic_llm import machine
    from arabic_llm.evaluation import perturbed, suites
    from arabic_llm.models import adapter, bases, placement, tokenization
    from arabic_llm.reports import robustness

    config = machine.settled(config, whole=True)
    known, left_out = _perturbations(config)
    trained = Path(config.adapter.path) if config.adapter.path else None
    base, place = bases.locate(config.model, Path(config.cache_dir)), placement.resolve(config.hw)
    tokenizer = tokenization.load(base)
    chosen = suites.load(config.suite, Path(config.data_root))
    left_out += perturbed.left_out(chosen, list(known))
    for reason in left_out:
        log.info("left out: %s", reason)
    asked = evaluate.Asked(
        chosen,
        cache(lambda: adapter.load_trained(config.model, base, config.adapter, place, trained)),
        suites.overall(config.suite, chosen),
    )
    folder = directory / "evaluation"
    clean = evaluate.judge(config, trained, folder / "clean", asked)
    evaluate.leave(config, clean, folder / "clean")
    # The judge is asked about the clean questions alone: about all it would be asked fifty times as much.
    unjudged = replace(config, judge=JudgeConfig())
    drops, answers = [], []
    for condition, asked_so, texts in _conditions(config, known, asked):
        found = evaluate.judge(config, trained, folder / condition.name, asked_so)
        evaluate.leave(unjudged, found, folder / condition.name)
        drops += perturbed.drops(clean, found, condition, _tokens(tokenizer, texts))
        changed = perturbed.changed_answers(clean, found)
        answers.append((condition, list(islice(changed, robustness.NUM_ANSWERS))))
    if not drops:
        raise DataError(f"suite={config.suite.name} has no question that can be perturbed")
    return _write(
        robustness.Report(
            clean=clean,
            drops=perturbed.gathered(drops),
            answers=answers,
            left_out=left_out,
            manifest=files.read_json(directory / "manifest.json"),
            hardware=place.description,
        ),
        directory,
    )


def _conditions(
    config: RunConfig, known: dict[str, Perturbation], asked: Asked
) -> Iterator[tuple[Condition, Asked, Texts]]:
    """Yield each perturbation at each rate, the suite as it is asked then, and what its items ask."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from arabic_llm.evaluation import perturbed

    conditions = [perturbed.Condition(name, rate, config.seed) for name in known for rate in _rates(config)]
    with logging_redirect_tqdm():
        for condition in tqdm(conditions, "perturbing"):
            way = known[condition.perturbation]
            entries, texts = perturbed.ask_as(asked.chosen, condition, way, config.suite.limit)
            if entries:
                overall = asked.overall if len(entries) == len(asked.chosen) else None
                yield condition, evaluate.Asked(entries, asked.weights, overall, condition), texts


def _write(report: Report, directory: Path) -> float:
    """Write robustness.{md,csv} and report.html, say the table, and return the mean drop."""
    from arabic_llm.reports import robustness

    files.write_text(directory / "robustness.md", robustness.markdown(report))
    files.write_text(directory / "robustness.csv", robustness.comma_separated(report.drops))
    files.write_text(directory / "report.html", robustness.page_of(report))
    summary = f"\n{robustness.terminal(report)}\n\nreport: {directory / 'report.html'}"
    files.write_text(directory / "summary.txt", summary)
    log.info("%s", summary)
    shown = robustness.firsts(report.drops)
    return sum(drop.drop[0] for drop in shown) / len(shown)


def _perturbations(config: RunConfig) -> tuple[dict[str, Perturbation], list[str]]:
    """Return the perturbations asked for, in their order, and a line for each that cannot be had."""
    from arabic_llm.data.reading import lexicons

    known, left_out = {}, []
    for name in dict.fromkeys(_settings(config).perturbations):
        if name in perturb.PERTURBATIONS:
            known[name] = perturb.PERTURBATIONS[name]
        elif name != perturb.DIACRITICS_ADDED:
            known[name] = perturb.phrases(lexicons.dialect_words(name.removeprefix("dialect_")))
        elif path := _diacritised_text(config):
            known[name] = perturb.words(lexicons.diacritised_words(path))
        else:
            text = _settings(config).diacritised_text
            left_out.append(f"{name}: no diacritised text at {Path(config.data_root) / text}")
    if not known:
        raise DataError(f"task.perturbations: {left_out[0]}; set task.diacritised_text")
    return known, left_out


def _diacritised_text(config: RunConfig) -> Path | None:
    """Return the file that diacritics are learned from, as typed or under data_root; None: not here."""
    typed = Path(_settings(config).diacritised_text).expanduser()
    return next((path for path in (typed, Path(config.data_root) / typed) if path.is_file()), None)


def _rates(config: RunConfig) -> list[float]:
    return sorted(set(_settings(config).rates))


def _tokens(tokenizer: PreTrainedTokenizerBase, texts: Texts) -> dict[str, tuple[int, int]]:
    """Return the tokens of each leaf's questions, clean and perturbed."""
    return {
        leaf: (_count(tokenizer, [a for a, _ in pairs]), _count(tokenizer, [b for _, b in pairs]))
        for leaf, pairs in texts.items()
    }


def _count(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> int:
    return sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))


def _settings(config: RunConfig) -> RobustnessConfig:
    if not isinstance(config.task, RobustnessConfig):
        raise ConfigError("task=robustness is needed here")
    return config.task
