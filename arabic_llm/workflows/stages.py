"""The stages of a study: what each is told, where it lies, what is asked of it once it is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from arabic_llm import files, machine, processes
from arabic_llm.analysis.scores import Evaluation
from arabic_llm.config import typed_places
from arabic_llm.config.adapter import Method
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.run import RunConfig
from arabic_llm.config.study_task import BASE, Stage, StudyConfig
from arabic_llm.config.task import SftConfig, TrainingConfig
from arabic_llm.data.tokens import chat_template, preference_rows, token_rows
from arabic_llm.errors import ConfigError, UserError
from arabic_llm.evaluation import transcripts
from arabic_llm.models import adapter, bases, placement, tokenization
from arabic_llm.profiling import evaluation_fit, training_fit
from arabic_llm.workflows import evaluate, training_rows
from arabic_llm.workflows import settings as training_settings

log = logging.getLogger(__name__)
_TRANSCRIPTS = "transcripts.json"


@dataclass(frozen=True)
class Step:
    """One stage of a study: its name, what it starts from, and the run that it is."""

    stage: Stage
    start: str
    config: RunConfig  # with the adapter, or the weights, that it starts from, once these are there
    told: RunConfig  # as its manifest says it: what it starts from lies beside it, wherever the study does

    @property
    def directory(self) -> Path:
        """Return where the run lies."""
        return Path(self.config.output_dir)

    @property
    def trained(self) -> Path:
        """Return the folder of what it trains."""
        return self.directory / self.config.adapter.method.folder


@dataclass(frozen=True)
class Judged:
    """What was found of the base, or of what a stage has trained."""

    name: str
    evaluation: Evaluation
    answers: list[str]  # to the study's prompts
    step: Step | None = None  # none: the base


def settings(config: RunConfig) -> StudyConfig:
    """Return the settings of a study. Raises ConfigError for another task."""
    if not isinstance(config.task, StudyConfig):
        raise ConfigError("task=study is needed here")
    return config.task


def steps(config: RunConfig, *, planned: bool = False) -> list[Step]:
    """Return the stages in their order; `planned`, before anything that they start from is there.

    Raises ConfigError for settings that a stage's own task would refuse.
    """
    return [_step(config, stage, planned=planned) for stage in settings(config).stages]


def _step(config: RunConfig, stage: Stage, *, planned: bool) -> Step:
    task, folder = settings(config), Path(config.output_dir)
    start = task.start_of(stage)
    own: TrainingConfig = getattr(task, stage.name, None) or _sft(task)
    try:
        alone = replace(
            config,
            task=own,
            data=config.data if stage is Stage.sft else task.pairs,
            output_dir=str(folder / stage.name),
        )
    except ValueError as error:
        raise ConfigError(typed_places.of_stage(str(error), stage)) from error
    if start == BASE:
        return Step(stage, start, alone, alone)
    fresh = replace(config.adapter, extend_vocabulary=0)  # an adapter that is there keeps its own
    if config.adapter.method is Method.full:
        weights = str((folder / start / config.adapter.method.folder).absolute())
        model = config.model if planned else replace(config.model, path=weights, builtin=False)
        return Step(stage, start, replace(alone, model=model), alone)
    if planned:
        planned_one = replace(alone, adapter=fresh)
        return Step(stage, start, planned_one, planned_one)
    real, said = (
        replace(alone, adapter=replace(fresh, path=str(place / start / config.adapter.method.folder)))
        for place in (folder, Path(".."))
    )
    return Step(stage, start, real, said)


def _sft(task: StudyConfig) -> SftConfig:
    own = {one.name: getattr(task, one.name) for one in fields(SftConfig)}
    return SftConfig(**own | {"name": Stage.sft.name})


@contextmanager
def named_as_typed(stage: Stage) -> Iterator[None]:
    """Let a stage's errors name its settings where a study has them: task.dpo.beta, task.pairs.path."""
    try:
        yield
    except UserError as error:
        error.args = (typed_places.of_stage(str(error), stage),)
        raise


def refuse_early(step: Step) -> None:
    """Refuse, before an earlier stage is trained, what a later one would refuse: its rows, its memory.

    Its rows are encoded as they will be, and kept for then.
    """
    config = machine.settled(step.config)
    task = training_settings.training(config)
    training_fit.refuse(config, training_fit.fit(config, task))
    cache = Path(config.cache_dir)
    with processes.main_first():
        rows = training_rows.load(config, cache_dir=cache)
    codec = chat_template.prepare(tokenization.load(bases.locate(config.model, cache)), config.model)
    with processes.main_first():
        form = preference_rows.form_of(task)
        encoded = token_rows.encode(codec, rows.train, config.data, task.max_length, cache, form=form)
    token_rows.refuse_great_loss([encoded], config.data, task.max_length)


def judge(config: RunConfig, step: Step | None) -> Judged:
    """Return what the base, or what a stage has trained, scores and says; `config` is the study's."""
    name = BASE if step is None else step.stage.name
    folder = Path(config.output_dir) / name
    trained = None if step is None else step.trained
    evaluation = evaluate.evaluate(config, trained, folder / "evaluation")
    processes.from_main(lambda: evaluate.leave(config, evaluation, folder / "evaluation"))
    said = processes.from_main(lambda: _asked(config, trained, folder, evaluation))
    return Judged(name, evaluation, said, step)


def _asked(config: RunConfig, trained: Path | None, folder: Path, evaluation: Evaluation) -> list[str]:
    """Return what is said to the study's prompts; what was said before by the same model is read."""
    prompts = settings(config).prompts
    key = fingerprint([evaluation.model, prompts, transcripts.MOST])
    path = folder / _TRANSCRIPTS
    kept: dict[str, Any] = files.kept(path, files.read_state) or {}
    if kept.get("key") == key:
        return list(kept["answers"])
    base = bases.locate(config.model, Path(config.cache_dir))
    codec = chat_template.prepare(tokenization.load(base, trained), config.model)
    place = evaluation_fit.fit(config, [], adapted=trained is not None).place
    with placement.enough_memory(f"asking {config.model.name}", "take a smaller model"):
        model = adapter.load_trained(config.model, base, config.adapter, place, trained)
        said = transcripts.answers(model, codec, prompts)
    del model
    placement.release()
    files.write_state(path, {"key": key, "prompts": prompts, "answers": said})
    return said
