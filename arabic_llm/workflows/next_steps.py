"""What can be done after a task, as commands to copy, made of what was typed."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from arabic_llm import files, processes
from arabic_llm.config import compose, paths
from arabic_llm.config.adapter import Method
from arabic_llm.config.complaints import spelled, typed_list
from arabic_llm.config.compose import typed
from arabic_llm.config.reads import is_of, kept_for
from arabic_llm.config.run import RunConfig
from arabic_llm.config.study_task import StudyConfig
from arabic_llm.config.task import ExportConfig, Form, InspectConfig, PlanConfig
from arabic_llm.errors import DamagedError

log = logging.getLogger(__name__)
Step = tuple[str, str]  # what for, and the command
_PROGRAM = "python -m arabic_llm.run"
_SAFE = re.compile(r"[\w@%+=:,./-]+")
_SHAPE = (  # of an adapter, which one that is trained on keeps
    *("rank", "alpha", "dropout", "dtype", "target_modules", "use_dora", "use_rslora"),
    "extend_vocabulary",
)
_BESIDE_A_RUN = ("cache_dir", "hw")  # what is typed beside task.run=...
_REPORT = "all results in one table"
_LEARNS = {Form.answers: "sft", Form.pairs: "dpo", Form.ratings: "kto"}
_WITH_AN_EXPORT = (("talk to it", "chat"), ("serve it", "serve"))
_MORE = "train it on, with these rows or others (data.path=...)"


def say(config: RunConfig) -> None:
    """Say what can be done next, where there is anything."""
    if not processes.is_main() or not (steps := after(config)):
        return
    log.info("\nnext:")
    for what, command in steps:
        log.info("  %s: %s", what, command)


def after_sweep(folder: Path) -> None:
    """Say how the report of a sweep is written anew."""
    written = typed_list("task.folders", [str(_short(folder))])
    log.info("\nnext:\n  its report again, when more is done: %s task=report %s", _PROGRAM, written)


def after(config: RunConfig) -> list[Step]:
    """Return what can be done after a task that has ended well."""
    if (steps := _AFTER.get(config.task.name)) is not None:
        return steps(config)
    return []


def after_plan(config: RunConfig) -> list[str]:
    """Return lines that say how to do what was planned and fits."""
    if _recipe() or not isinstance(config.task, PlanConfig):
        return []
    from arabic_llm.memory import suggestions

    task, start = config.task.of.name, suggestions.start(config.hw.num_cards)
    chosen = [] if task == "sft" else [f"task={task}"]
    what = "judge it" if task == "evaluate" else "train it"
    steps = [(what, _command([*chosen, *_of_training(config, task)], start))]
    if task == "sft":
        words = ["task=study", *_of_training(config, "study")]
        steps.append(("judge, train, judge again", _command(words, start)))
    return ["next:", *(f"  {what}: {command}" for what, command in steps)]


def _after_training(config: RunConfig) -> list[Step]:
    run = _short(config.output_dir)
    trained = run / config.adapter.method.folder
    judge, place = _kept("evaluate", config, without=("adapter.path",)), "adapter.path"
    if config.adapter.method is Method.full:  # whole weights are a model of their own
        judge = [word for word in judge if _key(word).partition(".")[0] not in ("adapter", "model")]
        place = "model.path"
    steps = [
        ("talk to it", _of_run("chat", config, run)),
        ("judge it", _command(["task=evaluate", *judge, _place(place, trained)])),
    ]
    if config.adapter.method is Method.lora and not _recipe():
        steps.append((_MORE, _further(config, trained)))
    return [*steps, _handing_on(config, run)]


def _handing_on(config: RunConfig, run: Path) -> Step:
    """Return how a run is exported: of whole weights there is no adapter."""
    command = _of_run("export", config, run)
    is_whole = config.adapter.method is Method.full
    return "hand it on", f"{command} 'task.formats=[merged]'" if is_whole else command


def _after_study(config: RunConfig) -> list[Step]:
    run = _short(config.output_dir)
    stages = config.task.stages if isinstance(config.task, StudyConfig) else []
    if stages:
        run /= stages[-1].name
    steps = [("talk to it", _of_run("chat", config, run))]
    if config.adapter.method is Method.lora and not stages and not _recipe():
        steps.append((_MORE, _further(config, run / "adapter")))
    return [*steps, _handing_on(config, run), (_REPORT, _command(["task=report"]))]


def _further(config: RunConfig, trained: Path) -> str:
    """Return the command that goes on from what was trained."""
    task = "sft" if isinstance(config.task, StudyConfig) else config.task.name
    replaced = [f"adapter.{name}" for name in (*_SHAPE, "path")]
    words = [word for word in _of_training(config, task) if _key(word) not in replaced]
    return _command([*([] if task == "sft" else [f"task={task}"]), *words, _place("adapter.path", trained)])


def _after_evaluation(config: RunConfig) -> list[Step]:
    folder, steps = Path(config.output_dir), list[Step]()
    is_base = config.adapter.path is None
    if (other := _beside(folder)) is not None:
        base, tuned = (folder, other) if is_base else (other, folder)
        words = ["task=compare", _place("task.base", base), _place("task.tuned", tuned)]
        steps.append(
            (
                "compare it with its base" if not is_base else "compare it with what was trained",
                _command(words),
            )
        )
    elif not is_base:
        words = _kept("evaluate", config, without=("adapter.path",))
        steps.append(("judge its base in the same way", _command(["task=evaluate", *words])))
    return [*steps, *_to_the_table(config)]


def _beside(folder: Path) -> Path | None:
    """Return the newest evaluation beside this one to compare it with: of a base and of what was trained.

    They asked the same, of the same model but for what was trained.
    """
    if not (own := _result(folder)):
        return None
    found = [
        other.parents[1]
        for other in folder.parent.glob("*/evaluation/result.json")
        if (result := _result(other.parents[1]))
        and result["judged"] == own["judged"]
        and {**result["model"], "trained": None} == {**own["model"], "trained": None}
        and (result["model"]["trained"] is None) != (own["model"]["trained"] is None)
    ]
    return max(found, key=lambda run: run.stat().st_mtime, default=None)


def _result(run: Path) -> dict[str, dict[str, object]]:
    """Return what an evaluation has written; nothing where that cannot be read."""
    try:
        found = files.read_json(run / "evaluation" / "result.json")
        return {"judged": dict(found["judged"]), "model": {"trained": None} | dict(found["model"])}
    except (DamagedError, OSError, KeyError, TypeError, ValueError):
        return {}


def _after_preparing(config: RunConfig) -> list[Step]:
    words = [word for word in _kept("sft", config) if not _key(word).startswith("data")]
    return [("train on them", _command([*words, "data=local", _place("data.path", config.output_dir)]))]


def _after_inspection(config: RunConfig) -> list[Step]:
    task = _LEARNS[config.task.form] if isinstance(config.task, InspectConfig) else "sft"
    of = [] if task == "sft" else [f"task.of={task}"]
    chosen = [] if task == "sft" else [f"task={task}"]
    return [
        ("will it fit", _command(["task=plan", *of, *_kept("plan", config)])),
        ("train on these rows", _command([*chosen, *_kept(task, config)])),
    ]


def _after_export(config: RunConfig) -> list[Step]:
    run = config.task.run if isinstance(config.task, ExportConfig) else ""
    return [(what, _command([f"task={task}", _place("task.run", run)])) for what, task in _WITH_AN_EXPORT]


def _to_the_table(_config: RunConfig) -> list[Step]:
    return [(_REPORT, _command(["task=report"]))]


def _of_training(config: RunConfig, task: str) -> list[str]:
    """Return what was typed and another task reads, its own settings too."""
    own = [word for word in typed() if _key(word).startswith("task.") and is_of(task, _key(word))]
    return [*_kept(task, config), *own]


def _kept(task: str, config: RunConfig, without: tuple[str, ...] = ()) -> list[str]:
    """Return what was typed beside the task and another one reads; of a recipe what it chose."""
    words = typed()
    if _recipe():
        chosen = {group: getattr(config, group).name for group in ("model", "data", "adapter", "suite")}
        words += [
            f"{group}={name}"
            for group, name in chosen.items()
            if (paths.CONF / group / f"{name}.yaml").is_file() and group not in map(_key, words)
        ]
    return [word for word in kept_for(task, config, words) if _key(word) not in without]


def _of_run(task: str, config: RunConfig, run: Path) -> str:
    """Return a command about a run, which says itself what it was made of."""
    beside = [word for word in _kept(task, config) if _key(word).partition(".")[0] in _BESIDE_A_RUN]
    return _command([f"task={task}", _place("task.run", run), *beside])


def _recipe() -> bool:
    return any(_key(word) == "experiment" for word in typed())


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _short(path: str | Path) -> Path:
    """Return a path as it is typed from here."""
    here = Path.cwd()
    return Path(path).relative_to(here) if Path(path).is_relative_to(here) else Path(path)


def _place(key: str, path: str | Path) -> str:
    """Return a setting that names a place, quoted where Hydra needs it."""
    return f"{key}={spelled(str(_short(path)))}"


def _command(words: list[str], start: str = _PROGRAM) -> str:
    """Return a command as a shell takes it: letters of any script need no quotes there."""
    typed_so = [w if _SAFE.fullmatch(w) else shlex.quote(w) for w in compose.without_meant(words)]
    return " ".join([start, *typed_so])


_AFTER: dict[str, Callable[[RunConfig], list[Step]]] = {
    **dict.fromkeys(("sft", "dpo", "orpo", "kto"), _after_training),
    "study": _after_study,
    "evaluate": _after_evaluation,
    **dict.fromkeys(("robustness", "compare", "classify"), _to_the_table),
    **dict.fromkeys(("prepare", "synthesize"), _after_preparing),
    "inspect": _after_inspection,
    "export": _after_export,
}
