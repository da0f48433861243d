"""A prediction never ends a run, and what is trained and answered is the same without it."""

import json
import subprocess
import sys

import pytest
from conftest import run_in
from lab import Lab, learned

from arabic_llm import files
from arabic_llm.profiling import evaluation_rehearsal, skeleton, training_rehearsal
from arabic_llm.profiling.timeline import Timeline
from arabic_llm.profiling.training_memory import MEMORY
from arabic_llm.training.observer import Nobody

THREE = ("task.max_steps=3", "task.effective_batch_size=4")


def broken(*_args, **_options):
    raise AttributeError("module 'torch._C' has no attribute '_engine'")


def nobody(_directory):
    return Nobody()


def trained(folder, disturbed=None):
    lab = Lab(THREE)
    lab.dev_rows = []
    if disturbed is not None:
        monkeypatch, target, name = disturbed
        monkeypatch.setattr(target, name, broken)
    model, _ = lab.train(folder)
    losses = [line["loss"] for line in files.read_json_lines(folder / "metrics.jsonl")]
    return learned(model), losses


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (training_rehearsal, "curve"),
        (skeleton, "build"),
        (Timeline, "follow"),
        (Timeline, "_note"),
        (Timeline, "_mark_gradient"),
    ],
    ids=["rehearsal", "skeleton", "optimizer", "tensors", "gradients"],
)
def test_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, caplog, undisturbed, target, name):
    with caplog.at_level("INFO", "arabic_llm"):
        assert trained(tmp_path, (monkeypatch, target, name)) == undisturbed
    assert "not predicted (AttributeError: module 'torch._C' has no attribute '_engine')" in caplog.text
    assert (tmp_path / MEMORY).exists() == (target is not Timeline)  # without a count nothing is kept
    if target is not Timeline:
        assert json.loads((tmp_path / MEMORY).read_text())["predicted"] is None


def test_a_run_that_nobody_watches_learns_the_same(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setattr("lab.watch", nobody)
    assert trained(tmp_path) == undisturbed


ASKED = ("task=evaluate", "suite.limit=6", "hw=cpu", "hydra.run.dir=mine")


def answers(folder):
    return (folder / "mine" / "evaluation" / "items.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("target", "name"),
    [(evaluation_rehearsal, "peak"), ("arabic_llm.profiling.evaluation_memory", "shape_of")],
    ids=str,
)
def test_an_evaluation_goes_on_to_the_same_answers(tmp_path, monkeypatch, target, name):
    for folder in ("plain", "disturbed"):
        (tmp_path / folder).mkdir()
    status, said = run_in(tmp_path / "plain", *ASKED)
    assert status == 0, said
    assert "not predicted" not in said
    monkeypatch.setattr(target if not isinstance(target, str) else sys.modules[target], name, broken)
    status, said = run_in(tmp_path / "disturbed", *ASKED)
    assert status == 0, said
    assert "not predicted" in said
    assert answers(tmp_path / "plain") == answers(tmp_path / "disturbed")


WITHOUT = """
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("trl.experimental"):  # torch itself needs its own private names
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Gone())
from arabic_llm import run

run.main()
"""


def test_private_names_that_are_gone_end_no_run(tmp_path):
    short = ("task.max_steps=2", "task.effective_batch_size=2", "suite.limit=3", "data.max_rows=40")
    command = [sys.executable, "-c", WITHOUT, "task=study", "hw=cpu", "tracking=none", *short]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memory of step 2: not predicted (" in done.stdout
    assert "report: " in done.stdout
