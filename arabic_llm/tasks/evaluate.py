"""Judge a model on a suite; what was judged before in the same way is not judged again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm import files, processes
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.schema import ModelKind, RunConfig, TaskConfig
from arabic_llm.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from arabic_llm.evaluation.mistakes import Sorted
    from arabic_llm.evaluation.perturbed import Condition
    from arabic_llm.evaluation.scores import Evaluation
    from arabic_llm.evaluation.suites import Chosen

log = logging.getLogger(__name__)
SHARES_WORK = True  # accelerate launch: each process answers its part of the items


@dataclass
class Config(TaskConfig):
    """Schema of conf/task/evaluate.yaml."""


@dataclass(frozen=True)
class Asked:
    """What is asked instead of the suite as it is, with the weights that several such judgements share."""

    chosen: list[Chosen]
    weights: Callable[[], PreTrainedModel]
    overall: str | None
    condition: Condition | None = None  # how the questions were perturbed


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads: base model, adapter, local benchmarks (None: not here yet).

    Raises ConfigError for a masked model with an adapter: nothing trains one that fits it.
    """
    from arabic_llm.evaluation import local
    from arabic_llm.models import adapter

    if config.model.kind is ModelKind.masked and config.adapter.path is not None:
        raise ConfigError(
            f"adapter.path has no meaning here: model={config.model.name} is a masked language model and is"
            " judged as it is; task=classify trains it and judges what it has trained"
        )
    return {
        **adapter.known_hashes(config.model, config.adapter, Path(config.cache_dir)),
        "suite": local.copies_hash(config.suite, Path(config.data_root)),
    }


def plan(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    from arabic_llm.evaluation import suites

    chosen, _ = _fitting(config, suites.load(config.suite, Path(config.data_root)))
    for entry in chosen:
        sizes = [len(documents) for documents in entry.documents.values()]
        items = sum(min(size, entry.limit(config.suite.limit) or size) for size in sizes)
        log.info("plan: %s on %s: %s items", config.model.name, entry.name, f"{items:,}")


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean of the first score of each of the suite's tasks, a share of 1."""
    from arabic_llm import machine
    from arabic_llm.reports import tables

    config = machine.settled(config)
    trained = Path(config.adapter.path) if config.adapter.path else None
    evaluation = judge(config, trained)
    processes.from_main(lambda: leave(config, evaluation, directory / "evaluation"))
    log.info("\n%s", tables.scores_terminal(evaluation.scores))
    return mean_score(config, evaluation)


def judge(config: RunConfig, trained: Path | None, asked: Asked | None = None) -> Evaluation:
    """Return the evaluation of the base model, or of what was trained from it."""
    from importlib.metadata import version

    from arabic_llm.data import chat
    from arabic_llm.evaluation import harness, scores, suites
    from arabic_llm.evaluation.answers import Answers
    from arabic_llm.evaluation.chat_lm import Limits
    from arabic_llm.models import adapter, load, placement

    place, cache = placement.resolve(config.hw), Path(config.cache_dir)
    asked_for = asked.chosen if asked else suites.load(config.suite, Path(config.data_root))
    chosen, how = _fitting(config, asked_for)
    base = load.locate(config.model, cache)
    is_masked = config.model.kind is ModelKind.masked
    codec = load.tokenizer(base) if is_masked else chat.prepare(load.tokenizer(base), config.model)
    model_identity = {
        "name": config.model.hub_id or config.model.name,
        "revision": base.revision,
        "quantization": config.adapter.quantization.name,
        "dtype": str(load.dtype_of(config.adapter, place)).removeprefix("torch."),
        "template": codec.template_hash if isinstance(codec, chat.Codec) else None,
        "trained": adapter.trained_hash(trained) if trained else None,
    }
    judged = {
        "tasks": {entry.name: entry.judged() for entry in chosen},
        "limit": config.suite.limit,
        "overall": asked.overall if asked else suites.overall(config.suite, chosen),
        "lm_eval": version("lm_eval"),
        **how,
    }
    what = "base" if trained is None else "tuned"
    if asked and asked.condition:
        judged["perturbation"] = asdict(asked.condition)
        what = f"{asked.condition.name}: {what}"
    about = {"model": model_identity, "judged": judged, "items": [f.name for f in fields(scores.Item)]}
    kept = cache / "evaluations" / fingerprint(about)
    if processes.from_main(lambda: scores.exists(kept)):
        evaluation = scores.read(kept)
        log.info("%s model: judged before, read from %s", what, kept)
    else:
        cure = (
            f"set hw.eval_batch_size={max(1, place.eval_batch_size // 2)}, or take a smaller model or qlora"
        )
        with placement.enough_memory(f"judging the {what} model", f"{cure}; what was answered is kept"):
            evaluation = harness.evaluate(
                asked.weights()
                if asked
                else adapter.load_trained(config.model, base, config.adapter, place, trained),
                codec,
                chosen,
                Limits(place.eval_batch_size, config.model.max_length, config.suite.limit),
                (model_identity, judged),
                Answers(cache / "answers" / f"{fingerprint(model_identity)}.jsonl"),
            )
        if asked is None:  # else others share the weights
            placement.release()
        if processes.is_main():
            scores.write(evaluation, kept)
        log.info(
            "%s model: judged on %s items in %.0f s",
            what,
            len(evaluation.items),
            evaluation.seconds,
        )
    traits = {name: {"language": t.language, "skill": t.skill} for name, t in config.suite.tasks.items()}
    return replace(evaluation, traits=traits)  # as the suite describes its tasks now


def leave(config: RunConfig, evaluation: Evaluation, folder: Path) -> Sorted:
    """Leave an evaluation in a folder, with its scores and its mistakes as tables; return the mistakes."""
    from arabic_llm.evaluation import scores
    from arabic_llm.reports import mistakes, tables

    scores.write(evaluation, folder)
    said = tables.scores_markdown(evaluation.scores) + tables.left_out(evaluation.judged)
    files.write_text(folder / "scores.md", said)
    files.write_text(folder / "scores.csv", tables.scores_csv(evaluation.scores))
    found = sort_mistakes(config, evaluation)
    files.write_text(folder / "mistakes.md", mistakes.markdown(found, config.seed))
    files.write_text(folder / "mistakes.csv", mistakes.comma_separated(found))
    return found


def sort_mistakes(config: RunConfig, evaluation: Evaluation) -> Sorted:
    """Return the wrong items by kind; the judge, where there is one, is asked about the rest."""
    from arabic_llm.evaluation import judge as referee
    from arabic_llm.evaluation import mistakes
    from arabic_llm.evaluation.answers import Answers

    found = mistakes.sort(evaluation.items)
    if config.judge.endpoint is None:
        return found
    kept = Answers(Path(config.cache_dir) / "judge" / f"{fingerprint(config.judge.model)}.jsonl")
    return referee.ask(found, config.judge, kept)


def _fitting(config: RunConfig, chosen: list[Chosen]) -> tuple[list[Chosen], dict[str, Any]]:
    """Return the tasks that the model can be asked, and how, where that is not how a causal one is asked.

    Raises ConfigError when there are none.
    """
    if config.model.kind is ModelKind.causal:
        return chosen, {}
    from arabic_llm.evaluation import masked_lm

    chosen, others = masked_lm.applicable(chosen, config.model.name)
    for name, reason in others.items():
        log.info("%s: not applicable: %s", name, reason)
    return chosen, {"scoring": masked_lm.SCORING, "not_applicable": others}


def mean_score(config: RunConfig, evaluation: Evaluation) -> float:
    """Return the unweighted mean over the suite's entries of the first metric of each."""
    firsts = {name: settings.metrics[0] for name, settings in config.suite.tasks.items()}
    own = [s.value for s in evaluation.scores if firsts.get(s.name) == s.metric]
    return sum(own) / len(own)
