"""Evaluating a model on a suite: what was asked before in the same way is read, all else asked and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arabic_llm import files, machine, processes
from arabic_llm.analysis import scores, varieties
from arabic_llm.analysis.mistakes import SortedMistakes
from arabic_llm.analysis.robustness import Condition
from arabic_llm.analysis.scores import Evaluation
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.model import ModelConfig, ModelKind
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import JUDGE, SuiteConfig, SuiteTask
from arabic_llm.data.tokens import chat_template
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import code, harness, identity, local_copies, masked_lm, suites, variants
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.suites import SuiteEntry
from arabic_llm.models import adapter, bases, placement, tokenization
from arabic_llm.models.bases import Base
from arabic_llm.profiling import evaluation_fit, evaluation_memory
from arabic_llm.profiling.evaluation_fit import EvaluationFit
from arabic_llm.reports import mistakes, tables, variety_gaps
from arabic_llm.workflows import explain_mistakes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is asked instead of the suite as it is, with the weights that several such evaluations share."""

    chosen: list[SuiteEntry]
    weights: Callable[[], PreTrainedModel]
    overall: str | None
    condition: Condition | None = None  # how the questions were perturbed
    left_out: tuple[str, ...] = ()  # benchmarks that could not be had


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads: base model, adapter, local benchmarks (None: not here yet).

    Of the base also the files beside its weights: how it talks and where its answers end.
    Raises ConfigError for a masked model with an adapter: nothing trains one that fits it.
    """
    if config.model.kind is ModelKind.masked and config.adapter.path is not None:
        raise ConfigError(
            f"adapter.path has no meaning here: model={config.model.name} is a masked language model and is"
            " evaluated as it is; task=classify trains it and evaluates what it has trained"
        )
    base = bases.known_folder(config.model)
    return {
        **adapter.known_hashes(config.model, config.adapter, Path(config.cache_dir)),
        "base_files": identity.files_hash(base) if base else None,
        "suite": local_copies.copies_hash(config.suite, Path(config.data_root)),
        **suites.what_is_left_out(_askable(config), Path(config.data_root), _unjudged(config)),
    }


def made_with() -> dict[str, str | None]:
    """Return, as an input of a run that trains nothing, what its answers are asked and scored with.

    Where it has changed the scores of a finished run are old ones.
    """
    return {"code": fingerprint([code.of_evaluations(), identity.libraries()])}


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    config = machine.settled(config, whole=True)
    chosen, _ = _fitting(config.model, load_suite(config))
    for entry in chosen:
        items = suites.num_items([entry], config.suite.limit)
        more = num_asked(config.suite, [entry]) - items
        again = f", {more:,} questions more in other prompts" if more else ""
        log.info("plan: %s on %s: %s items%s", config.model.name, entry.name, f"{items:,}", again)
    fitted = evaluation_fit.fit(config, chosen, adapted=config.adapter.path is not None)
    log.info("%s", evaluation_fit.line(config, fitted, num_asked(config.suite, chosen)))


def num_asked(suite: SuiteConfig, chosen: list[SuiteEntry]) -> int:
    """Return how many questions are asked: the items, and each again in every other prompt of it."""
    more = variants.num_more(chosen, suite.limit) if suite.prompt_variants else 0
    return suites.num_items(chosen, suite.limit) + more


def load_suite(config: RunConfig) -> list[SuiteEntry]:
    """Return what a run asks, with what a judge scores where there is one; raises as suites.load does."""
    suite = _askable(config)
    for name in _unjudged(config):
        log.warning("left out: %s", _needs_judge(name))
    chosen = suites.load(suite, Path(config.data_root))
    if names := _of_a_judge(suite.tasks):
        from arabic_llm.evaluation import grading  # a client of HTTP: most runs have no judge

        judged = [entry for entry in chosen if entry.name in names]
        grading.settle(judged, config.judge, Path(config.cache_dir))
    return chosen


def _of_a_judge(tasks: Mapping[str, SuiteTask]) -> list[str]:
    """Return the tasks whose answers a judge scores."""
    return [name for name, settings in tasks.items() if JUDGE in settings.metrics]


def _unjudged(config: RunConfig) -> list[str]:
    """Return the tasks of a suite that nobody scores: those of a judge, where there is none."""
    if config.judge.endpoint is not None:
        return []
    return _of_a_judge(config.suite.tasks)


def _askable(config: RunConfig) -> SuiteConfig:
    """Return the suite without what nobody scores. Raises ConfigError where that may not be left out."""
    unjudged = _unjudged(config)
    kept = {name: task for name, task in config.suite.tasks.items() if name not in unjudged}
    if unjudged and not (config.suite.allow_missing and kept):
        without = "; suite.allow_missing=true goes on without it" if kept else ""
        raise ConfigError(f"{_needs_judge(unjudged[0])}{without}")
    return replace(config.suite, tasks=kept)


def _needs_judge(name: str) -> str:
    how = "judge.endpoint=http://localhost:8000/v1 judge.model=..."
    return f"suite task {name}: its answers are scored by a judge: {how}"


@dataclass(frozen=True)
class Told:
    """What is asked of which model, and all that decides its answers: (model, judged)."""

    chosen: list[SuiteEntry]
    base: Base
    codec: Codec | PreTrainedTokenizerBase
    fitted: EvaluationFit
    identity: tuple[dict[str, Any], dict[str, Any]]


def tell(config: RunConfig, trained: Path | None, asked: Asked | None = None) -> Told:
    """Return what an evaluation would be of, before any weight is read."""
    asked_for = asked.chosen if asked else load_suite(config)
    chosen, how = _fitting(config.model, asked_for)
    if names := asked.left_out if asked else suites.left_out(config.suite, asked_for):
        how["left_out"] = list(names)
    if _of_a_judge({entry.name: entry.settings for entry in chosen}):
        from arabic_llm.evaluation import grading

        how["judge"] = {"model": config.judge.model, "prompt": grading.PROMPT}
    if config.suite.prompt_variants:
        how["prompt_variants"] = True
    if asked is not None and asked.condition is not None:
        how["perturbation"] = asdict(asked.condition)
    base = bases.locate(config.model, Path(config.cache_dir))
    is_masked = config.model.kind is ModelKind.masked
    tokenizer = tokenization.load(base, trained)
    codec = tokenizer if is_masked else chat_template.prepare(tokenizer, config.model)
    overall = asked.overall if asked else suites.overall(config.suite, chosen)
    fitted = evaluation_fit.fit(config, chosen, adapted=trained is not None)
    model = identity.of_model(config.model, config.adapter, fitted.place, base, codec, trained)
    return Told(chosen, base, codec, fitted, (model, _asked(config.suite.limit, chosen, overall) | how))


def evaluate(
    config: RunConfig, trained: Path | None, folder: Path, asked: Asked | None = None
) -> Evaluation:
    """Return the evaluation of the base model, or of what was trained; folder gets what memory it took."""
    told = tell(config, trained, asked)
    chosen, fitted = told.chosen, told.fitted
    for line in in_one_prompt(chosen) if config.suite.prompt_variants and trained is None else ():
        log.info("%s", line)
    what = "base" if trained is None else "tuned"
    if isinstance(told.codec, Codec) and (trained is None or config.adapter.path):  # else said in training
        chat_template.say_notes(told.codec, config.model, config.adapter.path)
    if is_perturbed := asked is not None and asked.condition is not None:
        what = f"{asked.condition.name}: {what}"
    kept = Path(config.cache_dir) / "evaluations" / fingerprint(told.identity)
    evaluation = processes.from_main(lambda: files.kept(kept, scores.read) if scores.holds(kept) else None)
    if evaluation is not None:
        log.info("%s model: evaluated before, read from %s", what, kept)
    else:
        if not is_perturbed:  # else the weights are here, and the questions hardly longer
            log.info("%s", evaluation_fit.line(config, fitted, num_asked(config.suite, chosen)))
            evaluation_fit.refuse(config, fitted)
        weights = partial(
            adapter.load_trained, config.model, told.base, config.adapter, fitted.place, trained
        )
        model = asked.weights if asked else weights
        evaluation = _answers(config, told, model, None if is_perturbed else folder)
        if asked is None:  # else others share the weights
            placement.release()
        if processes.is_main():
            scores.write(evaluation, kept)
        said = f"{len(evaluation.items)} items in {evaluation.seconds:.0f} s"
        log.info("%s model: evaluated on %s", what, said)
    return replace(evaluation, traits=_traits(config.suite))  # as the suite describes its tasks now


def _traits(suite: SuiteConfig) -> dict[str, dict[str, str | None]]:
    """Return what a suite says of its tasks, for people."""
    traits: dict[str, dict[str, str | None]] = {}
    for name, task in suite.tasks.items():
        traits[name] = {"language": task.language, "skill": task.skill}
        if task.compared_with is not None:
            traits[name][varieties.COMPARED_WITH] = task.compared_with
    return traits


def _answers(
    config: RunConfig, told: Told, weights: Callable[[], PreTrainedModel], folder: Path | None
) -> Evaluation:
    """Return what a model answers now; what it needs of memory is measured into the folder."""
    key = fingerprint([told.identity[0], code.of_answers(), identity.libraries()])
    kept = Answers(Path(config.cache_dir) / "answers" / f"{key}.jsonl")
    limits = evaluation_fit.limits(config, told.fitted)
    with placement.enough_memory(f"evaluating {config.model.name}", evaluation_fit.cure(told.fitted)):
        model = weights()
        with evaluation_memory.watching(model, folder):
            return harness.evaluate(model, told.codec, told.chosen, limits, told.identity, kept)


def _asked(limit: int | None, chosen: list[SuiteEntry], overall: str | None) -> dict[str, Any]:
    """Return what is asked, in which versions."""
    return {
        "tasks": {entry.name: entry.identity() for entry in chosen},
        "limit": limit,
        "overall": overall,
        "code": code.of_evaluations(),
        **identity.libraries(),
    }


def in_one_prompt(chosen: list[SuiteEntry]) -> list[str]:
    """Return a line for each task that suite.prompt_variants cannot ask otherwise."""
    return [
        f"{leaf}: asked in its own prompt alone: {reason}"
        for entry in chosen
        for leaf in entry.leaves
        if (reason := variants.why_not(entry, leaf)) is not None
    ]


def leave(config: RunConfig, evaluation: Evaluation, folder: Path) -> SortedMistakes:
    """Leave an evaluation in a folder, with its scores and its mistakes as tables; return the mistakes."""
    scores.write(evaluation, folder)
    lines = [*tables.left_out(evaluation.judged), *tables.shortened(evaluation.scores)]
    said = "".join(f"\n{line}\n" for line in lines)
    gaps = varieties.gaps(evaluation)
    page = tables.scores_markdown(evaluation.scores) + said + variety_gaps.markdown(gaps)
    files.write_text(folder / "scores.md", page)
    if gaps:
        files.write_text(folder / "varieties.csv", variety_gaps.comma_separated(gaps))
    files.write_text(folder / "scores.csv", tables.scores_csv(evaluation.scores))
    found = explain_mistakes.explain(evaluation, config.judge, Path(config.cache_dir))
    files.write_text(folder / "mistakes.md", mistakes.markdown(found, config.seed))
    files.write_text(folder / "mistakes.csv", mistakes.comma_separated(found))
    return found


def _fitting(model: ModelConfig, chosen: list[SuiteEntry]) -> tuple[list[SuiteEntry], dict[str, Any]]:
    """Return the tasks that the model can be asked, and how, where that is not how a causal one is asked.

    Raises ConfigError when there are none.
    """
    if model.kind is ModelKind.causal:
        return chosen, {}
    chosen, others = masked_lm.applicable(chosen, model.name)
    for name, reason in others.items():
        log.info("%s: not applicable: %s", name, reason)
    return chosen, {"scoring": masked_lm.SCORING, "not_applicable": others}


def mean_score(suite: SuiteConfig, evaluation: Evaluation) -> float:
    """Return the unweighted mean over the suite's entries of the first metric of each."""
    firsts = {name: settings.metrics[0] for name, settings in suite.tasks.items()}
    own = [s.value for s in evaluation.scores if firsts.get(s.name) == s.metric]
    return sum(own) / len(own)
