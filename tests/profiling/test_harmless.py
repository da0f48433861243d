"""A prediction never ends a run: broken on purpose, it is one line, and not a digit of the rest changes."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import FEW_ROWS, compose_config, finished
from lab import Lab
from transformers import AutoConfig

from arabic_llm import files
from arabic_llm.analysis import scores
from arabic_llm.errors import HardwareError
from arabic_llm.evaluation import suites
from arabic_llm.memory import inference_peak, training_plan
from arabic_llm.profiling import evaluation_fit, timeline, training_fit
from arabic_llm.profiling.harmless import harmless

PACKAGE = Path(__file__).parents[2] / "arabic_llm"
TRAINING = (
    *("task=sft", "hw=cpu", "task.max_steps=3", "task.effective_batch_size=4", "task.eval_steps=9"),
    *("task.save_steps=9", "task.held_out.num_bytes=0", *FEW_ROWS),
)
EVALUATION = ("task=evaluate", "adapter=none", "hw=cpu", "suite=sample", "suite.limit=2")
PRIVATE = r"(torch|trl|transformers)\..*?(\b_|experimental)"
LISTED = r"fake_pg|_distributed_c10d|fake_collectives|torch\.fx\.experimental"
GONE = """
import builtins, re, sys
real, names, runs = builtins.__import__, sys.argv[1], sys.argv[2:]


def without(name, globals=None, locals=None, fromlist=(), level=0):
    wanted = [name, *(f"{name}.{item}" for item in fromlist or ())]
    if str((globals or {}).get("__name__")).startswith("arabic_llm") and level == 0:
        if gone := next((one for one in wanted if re.search(names, one + ".")), None):
            raise ModuleNotFoundError(f"No module named '{gone}'")
    return real(name, globals, locals, fromlist, level)


builtins.__import__ = without
from arabic_llm import run

for typed in runs:
    sys.argv[:] = ["arabic_llm.run", *typed.split(), "tracking=none"]
    try:
        run.main()
    except SystemExit as end:
        if end.code:
            raise
"""


def losses(directory):
    lines = files.read_json_lines(directory / "training" / "metrics.jsonl")
    return [(line["step"], line.get("loss"), line.get("dev_loss"), line.get("grad_norm")) for line in lines]


def answers(directory):
    return scores.read(directory / "evaluation").items


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the losses and the answers of runs whose predictions work."""
    folder = tmp_path_factory.mktemp("whole")
    _, trained = finished(folder / made("sft", folder), *TRAINING)
    _, evaluated = finished(folder / made("evaluate", folder), *EVALUATION)
    assert files.read_json(trained / "training" / "memory.json")["predicted"]
    assert files.read_json(evaluated / "evaluation" / "memory.json")["predicted"]
    return losses(trained), answers(evaluated)


def made(name, folder):
    (folder / name).mkdir()
    return name


def broken(*_, **__):
    raise ZeroDivisionError("broken on purpose\nin two lines")


def test_a_rehearsal_that_fails_is_one_line_and_changes_no_loss_and_no_answer(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(AutoConfig, "for_model", broken)
    said, directory = finished(tmp_path / made("sft", tmp_path), *TRAINING)
    line = "memory of a step is not predicted (ZeroDivisionError: broken on purpose); the run goes on"
    assert said.count("broken on purpose") == said.count(line) == 1
    assert "MiB measured, not predicted" in said
    assert losses(directory) == whole[0]
    found = files.read_json(directory / "training" / "memory.json")
    assert (found["predicted"], found["predicted_curve"]) == (None, [])
    assert found["measured"] > 0
    steps = files.read_json_lines(directory / "training" / "metrics.jsonl")
    assert [line["predicted_mib"] for line in steps if "measured_mib" in line] == [None, None]

    said, directory = finished(tmp_path / made("evaluate", tmp_path), *EVALUATION)
    assert said.count("broken on purpose") == 1
    assert "MiB measured, not predicted" in said
    assert answers(directory) == whole[1]
    assert files.read_json(directory / "evaluation" / "memory.json")["predicted"] is None


def test_a_measure_that_fails_in_the_midst_of_a_pass_changes_no_loss_and_no_answer(
    tmp_path, monkeypatch, whole
):
    calls, limit = [], [400]

    def fails_late(self, num_bytes, keep=timeline.Exact.malloc):
        calls.append(num_bytes)
        return broken() if len(calls) > limit[0] else keep(self, num_bytes)

    monkeypatch.setattr(timeline.Exact, "malloc", fails_late)
    said, directory = finished(tmp_path / made("sft", tmp_path), *TRAINING)
    line = "memory of a step is not measured (ZeroDivisionError: broken on purpose); the run goes on"
    assert said.count("broken on purpose") == said.count(line) == 1
    assert losses(directory) == whole[0]
    assert not (directory / "training" / "memory.json").exists()
    calls.clear()
    limit[0] = 100  # the weights are seen, and the first operations of a pass
    said, directory = finished(tmp_path / made("evaluate", tmp_path), *EVALUATION)
    line = "memory of evaluating is not measured (ZeroDivisionError: broken on purpose); the run goes on"
    assert said.count("broken on purpose") == said.count(line) == 1
    assert answers(directory) == whole[1]


def test_a_closed_form_that_fails_changes_no_answer(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(inference_peak, "predict", broken)
    said, directory = finished(tmp_path / made("evaluate", tmp_path), *EVALUATION)
    assert "what evaluating needs is not predicted (ZeroDivisionError" in said
    assert "batches of 32, what they need is not predicted; CPU" in said
    assert answers(directory) == whole[1]


def test_a_room_whose_closed_form_fails_is_as_large_as_hw_says(monkeypatch):
    config = compose_config(*EVALUATION, "model=qwen2_1_5b", "hw=4gb", "hw.device=cpu")
    fitted = evaluation_fit.fit(config, suites.load(config.suite, Path("nowhere")), adapted=False)
    limits = evaluation_fit.limits(config, fitted)
    assert limits.at_once(30_000, generates=True) == 1
    monkeypatch.setattr(inference_peak, "predict", broken)
    assert limits.at_once(30_000, generates=True) == limits.batch_size == 4


def test_a_plan_that_fails_leaves_a_run_without_one_and_a_refusal_is_still_one(monkeypatch):
    config = compose_config("task=sft", "hw=4gb", "hw.device=cpu")
    assert training_fit.fit(config, config.task).plan is not None
    with pytest.raises(HardwareError, match="^hw=4gb leaves 3.6 GiB"):
        large = compose_config("task=sft", "model=llama3_8b", "adapter=lora", "hw=4gb", "hw.device=cpu")
        fitted = training_fit.fit(large, large.task)
        assert fitted.missing is not None
        raise HardwareError(fitted.missing)
    monkeypatch.setattr(training_plan, "best", broken)
    fitted = training_fit.fit(config, config.task)
    assert (fitted.plan, fitted.missing) == (None, None)
    assert "weights 0.01 GiB" in training_fit.line(config, config.task, 40, fitted)


@pytest.mark.parametrize("names", [PRIVATE, LISTED], ids=["all private", "those of rehearsals"])
def test_training_and_evaluation_run_without_the_private_names(tmp_path, whole, names):
    runs = (
        " ".join([*kind, f"hydra.run.dir={name}"]) for name, kind in (("a", TRAINING), ("b", EVALUATION))
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", GONE, names, *runs],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(re.findall(r"memory of a step is not \w+ \(ModuleNotFoundError: ", done.stdout)) == 1
    assert losses(tmp_path / "a") == whole[0]
    assert answers(tmp_path / "b") == whole[1]
    found = tmp_path / "a" / "training" / "memory.json"
    assert found.exists() == (names == LISTED)  # a measure needs no rehearsal
    assert not found.exists() or files.read_json(found)["predicted"] is None


@pytest.mark.parametrize("room", ["training", "evaluation", "models", "data", "analysis", "memory"])
def test_only_the_laboratory_stands_on_private_names(room):
    for file in (PACKAGE / room).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [
            f"{node.module}.{alias.name}"
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        assert not [name for name in names if re.match(PRIVATE, f"{name}.")], file


def test_memory_that_runs_out_is_told_by_a_run_whose_prediction_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(AutoConfig, "for_model", broken)
    lab = Lab(("hw.micro_batch_size=4",), is_watched=True)
    calls = []

    def absurd(module, *_):
        calls.append(module.training)
        return torch.empty(2**47) if sum(calls) > 5 and module.training else None

    lab.model.get_input_embeddings().register_forward_hook(absurd)
    with pytest.raises(HardwareError, match=r"^step 3: out of memory: .* tokens was not predicted\. With "):
        lab.train(tmp_path)


def test_what_fails_after_a_failure_is_not_heard_of():
    seen = []
    with harmless("a look", lambda: seen.append(1) or broken()):
        raise ValueError("first")
    assert seen == [1]
    with pytest.raises(KeyboardInterrupt), harmless("a look"):
        raise KeyboardInterrupt
    with pytest.raises(HardwareError), harmless("a plan", refusals=HardwareError):
        raise HardwareError("refused")


def test_a_measure_that_cannot_be_closed_lets_training_end(tmp_path, monkeypatch):
    monkeypatch.setattr(timeline.Timeline, "close", broken)
    lab = Lab(("task.max_steps=2", "task.eval_steps=100"), is_watched=True)
    _, outcome = lab.train(tmp_path)
    assert outcome.steps == 2
