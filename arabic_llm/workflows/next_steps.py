"""What can be done after a task, as commands to copy, made of what was typed."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from arabic_llm import files, processes
from arabic_llm.config.adapter import Method
from arabic_llm.config.complaints import typed_list
from arabic_llm.config.compose import typed
from arabic_llm.config.run import RunConfig
from arabic_llm.config.study_task import StudyConfig
from arabic_llm.config.suite import SuiteConfig, SuiteTask
from arabic_llm.config.task import ExportConfig, ExportFormat, Form, InspectConfig, PlanConfig
from arabic_llm.errors import DamagedError
from arabic_llm.workflows import next_elsewhere
from arabic_llm.workflows.next_commands import (
    PROGRAM,
    Step,
    command,
    in_its_language,
    is_of_recipe,
    kept,
    key,
    of_run,
    of_training,
    place,
    short,
)

log = logging.getLogger(__name__)
FOUND = "found.json"  # of task=inspect: what its rows are good for
_SHAPE = (  # of an adapter, which one that is trained on keeps
    *("rank", "alpha", "dropout", "dtype", "target_modules", "use_dora", "use_rslora"),
    "extend_vocabulary",
)
_REPORT = "all results in one table"
_LEARNS = {Form.answers: "sft", Form.pairs: "dpo", Form.ratings: "kto"}
_WITH_AN_EXPORT = (("talk to it", "chat"), ("serve it", "serve"))
_TOKENS = "tokens"  # the ledger of training rows as tokens, which were counted as rows before
_ON_ITS_TEST = "judge it on your own rows that it has not seen"
_MORE = "train it on, with these rows or others (data.path=...)"


def say(config: RunConfig) -> None:
    """Say what can be done next, where there is anything."""
    if not processes.is_main() or next_elsewhere.is_of_a_pipe(config) or not (steps := after(config)):
        return
    log.info("\nnext:")
    for what, line in steps:
        log.info("  %s: %s", what, line)


def after_sweep(folder: Path) -> None:
    """Say how the report of a sweep is written anew."""
    written = " ".join([typed_list("task.folders", [str(short(folder))]), *in_its_language()])
    log.info("\nnext:\n  its report again, when more is done: %s task=report %s", PROGRAM, written)


def after(config: RunConfig) -> list[Step]:
    """Return what can be done after a task that has ended well."""
    if (steps := _AFTER.get(config.task.name)) is not None:
        return steps(config)
    return []


def after_plan(config: RunConfig) -> list[str]:
    """Return lines that say how to do what was planned and fits."""
    if is_of_recipe() or not isinstance(config.task, PlanConfig):
        return []
    from arabic_llm.memory import suggestions

    task, start = config.task.of.name, suggestions.start(config.hw.num_cards)
    chosen = [] if task == "sft" else [f"task={task}"]
    what = "judge it" if task == "evaluate" else "train it"
    steps = [(what, command([*chosen, *of_training(config, task)], start))]
    if task == "sft":
        words = ["task=study", *of_training(config, "study")]
        steps.append(("judge, train, judge again", command(words, start)))
    return ["next:", *(f"  {what}: {line}" for what, line in steps)]


def _after_training(config: RunConfig) -> list[Step]:
    run = short(config.output_dir)
    trained = run / config.adapter.method.folder
    steps = [("talk to it", of_run("chat", config, run)), ("judge it", _judging(config, trained))]
    if _keeps_questions(config, trained):
        own = SuiteConfig("own", {"own_rows": SuiteTask(own_rows=True)})
        steps.append((_ON_ITS_TEST, _judging(replace(config, suite=own), trained, "suite=own")))
    if config.adapter.method is Method.lora and not is_of_recipe():
        steps.append((_MORE, _further(config, trained)))
    return [*steps, _handing_on(config, run)]


def _judging(config: RunConfig, trained: Path, *chosen: str) -> str:
    """Return the command that judges what was trained, by the suite that was typed or another one."""
    words, where = kept("evaluate", config, without=("adapter.path", *map(key, chosen))), "adapter.path"
    if config.adapter.method is Method.full:  # whole weights are a model of their own
        words = [word for word in words if key(word).partition(".")[0] not in ("adapter", "model")]
        where = "model.path"
    return command(["task=evaluate", *chosen, *words, place(where, trained)])


def _keeps_questions(config: RunConfig, trained: Path) -> bool:
    """Return whether rows of yours were set aside for the test, and are questions with their answers."""
    lint = files.kept(trained / "lint.json", files.read_json)
    ledgers = files.kept(trained / "ledger.json", files.read_json)
    if config.data.builtin or config.suite.name == "own" or not lint or not ledgers:
        return False
    num_rows = sum(one["kept"] for one in ledgers if one["stage"] != _TOKENS)
    has_test = bool(config.data.test_files) or num_rows * config.data.test_share >= 1
    return has_test and bool(lint["supervised_share"] < 1)  # of raw text every token is learned


def _handing_on(config: RunConfig, run: Path) -> Step:
    """Return how a run is exported: of whole weights there is no adapter."""
    typed_so = of_run("export", config, run)
    is_whole = config.adapter.method is Method.full
    return "hand it on", f"{typed_so} 'task.formats=[merged]'" if is_whole else typed_so


def _after_study(config: RunConfig) -> list[Step]:
    run = short(config.output_dir)
    stages = config.task.stages if isinstance(config.task, StudyConfig) else []
    if stages:
        run /= stages[-1].name
    steps = [("talk to it", of_run("chat", config, run))]
    if config.adapter.method is Method.lora and not stages and not is_of_recipe():
        steps.append((_MORE, _further(config, run / "adapter")))
    return [*steps, _handing_on(config, run), *_to_the_table(config)]


def _further(config: RunConfig, trained: Path) -> str:
    """Return the command that goes on from what was trained."""
    task = "sft" if isinstance(config.task, StudyConfig) else config.task.name
    replaced = [f"adapter.{name}" for name in (*_SHAPE, "path")]
    words = [word for word in of_training(config, task) if key(word) not in replaced]
    return command([*([] if task == "sft" else [f"task={task}"]), *words, place("adapter.path", trained)])


def _after_evaluation(config: RunConfig) -> list[Step]:
    folder, steps = Path(config.output_dir), list[Step]()
    is_base = config.adapter.path is None
    if (other := beside(folder)) is not None:
        base, tuned = (folder, other) if is_base else (other, folder)
        words = ["task=compare", place("task.base", base), place("task.tuned", tuned)]
        steps.append(
            (
                "compare it with its base" if not is_base else "compare it with what was trained",
                command(words),
            )
        )
    elif not is_base:
        words = kept("evaluate", config, without=("adapter.path",))
        steps.append(("judge its base in the same way", command(["task=evaluate", *words])))
    return [*steps, *_to_the_table(config)]


def beside(folder: Path) -> Path | None:
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
    words = [word for word in kept("sft", config) if not key(word).startswith("data")]
    return [("train on them", command([*words, "data=local", place("data.path", config.output_dir)]))]


def _after_inspection(config: RunConfig) -> list[Step]:
    """Return the next commands, which pass over bad rows; none where no row can be trained on."""
    found = files.kept(Path(config.output_dir) / FOUND, files.read_state)
    if found is not None and not found["trains"]:
        return []
    past = ["data.on_bad_row=drop"] if found is not None and found["bad_rows"] else []
    past = [word for word in past if key(word) not in map(key, typed())]
    task = _LEARNS[config.task.form] if isinstance(config.task, InspectConfig) else "sft"
    of = [] if task == "sft" else [f"task.of={task}"]
    chosen = [] if task == "sft" else [f"task={task}"]
    return [
        ("will it fit", command(["task=plan", *of, *kept("plan", config), *past])),
        ("train on these rows", command([*chosen, *kept(task, config), *past])),
    ]


def _after_export(config: RunConfig) -> list[Step]:
    if not isinstance(config.task, ExportConfig):
        return []
    here = [
        (what, command([f"task={task}", place("task.run", config.task.run)]))
        for what, task in _WITH_AN_EXPORT
    ]
    if ExportFormat.ollama not in config.task.formats:
        return here
    modelfile = short(config.output_dir) / "gguf" / "Modelfile"
    made = f"ollama create mine -f {shlex.quote(str(modelfile))} && ollama run mine"
    return [*here, ("talk to it in Ollama", made)]


def _to_the_table(_config: RunConfig) -> list[Step]:
    return [(_REPORT, command(["task=report", *in_its_language()]))]


_AFTER: dict[str, Callable[[RunConfig], list[Step]]] = {
    **dict.fromkeys(("sft", "dpo", "orpo", "kto"), _after_training),
    "study": _after_study,
    "evaluate": _after_evaluation,
    **dict.fromkeys(("robustness", "compare", "classify"), _to_the_table),
    **dict.fromkeys(("prepare", "synthesize"), _after_preparing),
    "inspect": _after_inspection,
    "export": _after_export,
    "chat": next_elsewhere.after_talk,
    "serve": next_elsewhere.after_serving,
    "download": next_elsewhere.after_download,
    "pretrain": next_elsewhere.after_pretraining,
    "report": next_elsewhere.after_report,
}
