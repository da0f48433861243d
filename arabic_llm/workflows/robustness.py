"""A suite asked as people type it: which perturbations there are, each condition, what is written down."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import PreTrainedTokenizerBase

from arabic_llm import files
from arabic_llm.analysis.robustness import Condition
from arabic_llm.config.task import RobustnessConfig
from arabic_llm.data.reading import lexicons
from arabic_llm.errors import DataError
from arabic_llm.evaluation import perturbed
from arabic_llm.evaluation.perturbed import Texts
from arabic_llm.reports import robustness
from arabic_llm.reports.robustness import Report
from arabic_llm.reports.spoken import say
from arabic_llm.text import perturb
from arabic_llm.text.perturb import Perturbation
from arabic_llm.workflows.evaluate import SuiteVariant

log = logging.getLogger(__name__)


def perturbations(task: RobustnessConfig, data_root: Path) -> tuple[dict[str, Perturbation], list[str]]:
    """Return the perturbations asked for, in their order, and a line for each that cannot be had."""
    known, left_out = {}, []
    for name in dict.fromkeys(task.perturbations):
        if name in perturb.PERTURBATIONS:
            known[name] = perturb.PERTURBATIONS[name]
        elif name != perturb.DIACRITICS_ADDED:
            known[name] = perturb.phrases(lexicons.dialect_words(name.removeprefix("dialect_")))
        elif path := diacritised_text(task, data_root):
            known[name] = perturb.words(lexicons.diacritised_words(path))
        else:
            left_out.append(f"{name}: no diacritised text at {data_root / task.diacritised_text}")
    if not known:
        raise DataError(f"task.perturbations: {left_out[0]}; set task.diacritised_text")
    return known, left_out


def diacritised_text(task: RobustnessConfig, data_root: Path) -> Path | None:
    """Return the file that diacritics are learned from, as typed or under data_root; None: not here."""
    typed = Path(task.diacritised_text).expanduser()
    return next((path for path in (typed, data_root / typed) if path.is_file()), None)


def conditions(
    asked: SuiteVariant,
    known: dict[str, Perturbation],
    rates: Sequence[float],
    seed: int,
    limit: int | None,
) -> Iterator[tuple[Condition, SuiteVariant, Texts]]:
    """Yield each perturbation at each rate, the suite as it is asked then, and what its items ask."""
    wanted = [Condition(name, rate, seed) for name in known for rate in rates]
    with logging_redirect_tqdm():
        for condition in tqdm(wanted, "perturbing"):
            way = known[condition.perturbation]
            entries, texts = perturbed.ask_as(asked.chosen, condition, way, limit)
            if entries:
                overall = asked.overall if len(entries) == len(asked.chosen) else None
                asked_so = replace(asked, chosen=entries, overall=overall, condition=condition)
                yield condition, asked_so, texts


def num_tokens(tokenizer: PreTrainedTokenizerBase, texts: Texts) -> dict[str, tuple[int, int]]:
    """Return the tokens of each leaf's questions, clean and perturbed."""
    return {
        leaf: (_count(tokenizer, [a for a, _ in pairs]), _count(tokenizer, [b for _, b in pairs]))
        for leaf, pairs in texts.items()
    }


def write(report: Report, directory: Path) -> float:
    """Write robustness.{md,csv} and report.html, say the table, and return the mean drop."""
    files.write_text(directory / "robustness.md", robustness.markdown(report))
    files.write_text(directory / "robustness.csv", robustness.comma_separated(report.drops))
    files.write_text(directory / "report.html", robustness.page_of(report))
    summary = f"\n{robustness.terminal(report)}\n\n{say('report: {path}', path=directory / 'report.html')}"
    files.write_text(directory / "summary.txt", summary)
    log.info("%s", summary)
    shown = robustness.firsts(report.drops)
    return sum(drop.drop[0] for drop in shown) / len(shown)


def _count(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> int:
    return sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
