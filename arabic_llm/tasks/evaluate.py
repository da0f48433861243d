"""Judge a model on a suite; what was judged before in the same way is not judged again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.schema import RunConfig, TaskConfig

if TYPE_CHECKING:
    from arabic_llm.evaluation.scores import Evaluation

log = logging.getLogger(__name__)


@dataclass
class Config(TaskConfig):
    """Schema of conf/task/evaluate.yaml."""


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads: base model, adapter, local benchmarks (None: not here yet)."""
    from arabic_llm.evaluation import local
    from arabic_llm.models import adapter

    return {
        **adapter.known_hashes(config.model, config.adapter, Path(config.cache_dir)),
        "suite": local.copies_hash(config.suite, Path(config.data_root)),
    }


def plan(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    from arabic_llm.evaluation import suites

    for entry in suites.load(config.suite, Path(config.data_root)):
        sizes = [len(documents) for documents in entry.documents.values()]
        items = sum(min(size, config.suite.limit or size) for size in sizes)
        log.info("plan: %s on %s: %s items", config.model.name, entry.name, f"{items:,}")


def run(config: RunConfig, directory: Path) -> float:
    """Return the mean of the first score of each of the suite's tasks, a share of 1."""
    from arabic_llm import machine
    from arabic_llm.reports import tables

    config = machine.settled(config)
    trained = Path(config.adapter.path) if config.adapter.path else None
    evaluation = judge(config, trained, directory / "evaluation")
    log.info("\n%s", tables.scores_terminal(evaluation.scores))
    return mean_score(config, evaluation)


def judge(config: RunConfig, trained: Path | None, folder: Path) -> Evaluation:
    """Return the evaluation of the base model, or of what was trained from it, and leave it in folder."""
    from importlib.metadata import version

    from arabic_llm.data import chat
    from arabic_llm.evaluation import harness, scores, suites
    from arabic_llm.evaluation.answers import Answers
    from arabic_llm.evaluation.chat_lm import Limits
    from arabic_llm.models import adapter, load, placement
    from arabic_llm.reports import tables

    place, cache = placement.resolve(config.hw), Path(config.cache_dir)
    chosen = suites.load(config.suite, Path(config.data_root))
    base = load.locate(config.model, cache)
    codec = chat.prepare(load.tokenizer(base), config.model)
    model_identity = {
        "name": config.model.hub_id or config.model.name,
        "revision": base.revision,
        "quantization": config.adapter.quantization.name,
        "dtype": str(load.dtype_of(config.adapter, place)).removeprefix("torch."),
        "template": codec.template_hash,
        "trained": adapter.trained_hash(trained) if trained else None,
    }
    judged = {
        "tasks": {entry.name: entry.judged() for entry in chosen},
        "limit": config.suite.limit,
        "overall": suites.overall(config.suite, chosen),
        "lm_eval": version("lm_eval"),
    }
    kept = cache / "evaluations" / fingerprint({"model": model_identity, "judged": judged})
    what = "base" if trained is None else "tuned"
    if scores.exists(kept):
        evaluation = scores.read(kept)
        log.info("%s model: judged before, read from %s", what, kept)
    else:
        cure = (
            f"set hw.eval_batch_size={max(1, place.eval_batch_size // 2)}, or take a smaller model or qlora"
        )
        with placement.enough_memory(f"judging the {what} model", f"{cure}; what was answered is kept"):
            evaluation = harness.evaluate(
                adapter.load_trained(config.model, base, config.adapter, place, trained),
                codec,
                chosen,
                Limits(place.eval_batch_size, config.model.max_length, config.suite.limit),
                (model_identity, judged),
                Answers(cache / "answers" / f"{fingerprint(model_identity)}.jsonl"),
            )
        placement.release()
        scores.write(evaluation, kept)
        log.info(
            "%s model: judged on %s items in %.0f s",
            what,
            len(evaluation.items),
            evaluation.seconds,
        )
    scores.write(evaluation, folder)
    files.write_text(folder / "scores.md", tables.scores_markdown(evaluation.scores))
    files.write_text(folder / "scores.csv", tables.scores_csv(evaluation.scores))
    return evaluation


def mean_score(config: RunConfig, evaluation: Evaluation) -> float:
    """Return the unweighted mean over the suite's entries of the first metric of each."""
    firsts = {name: settings.metrics[0] for name, settings in config.suite.tasks.items()}
    own = [s.value for s in evaluation.scores if firsts.get(s.name) == s.metric]
    return sum(own) / len(own)
