"""Killed anywhere and typed again, a run ends with the losses and the bytes of one never killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import FEW_ROWS
from warm import Nursery, curve

MIN_KILLS = 6  # of the campaign's 200 (make faults)
SFT = (
    *("hw=cpu", "tracking=none", "task.max_steps=24", "task.effective_batch_size=4", "data.max_rows=60"),
    *("task.save_steps=1", "task.eval_steps=7", "hydra.run.dir=mine"),
    *FEW_ROWS,
    "task.held_out.num_bytes=0",  # measured at every checkpoint; test_kill_study has some
    "adapter.dropout=0.1",  # its masks come from a generator that must carry on too
)


@pytest.fixture(scope="module")
def whole(nursery, tmp_path_factory):
    """Return the folder of a run that was never killed."""
    folder = tmp_path_factory.mktemp("whole")
    nursery.finish(folder, SFT)
    return folder


def adapter_bytes(directory: Path) -> dict[str, bytes]:
    folder = directory / "mine" / "adapter"
    return {
        name: (folder / name).read_bytes()
        for name in ("adapter_model.safetensors", "adapter_config.json", "README.md")
    }


def kill_at_random(
    nursery: Nursery, cwd: Path, arguments: tuple[str, ...], draw: random.Random, number: int
) -> int:
    """Start the run and kill it: before its first step, inside one, or inside a save. Return its status."""
    pid = nursery.start(cwd, arguments)
    metrics = cwd / "mine" / "training" / "metrics.jsonl"
    before = metrics.stat().st_size if metrics.exists() else 0
    deadline = time.monotonic() + draw.choice(
        (0.5, 20, 20, 20, 20)
    )  # now and then: while it is still loading
    while time.monotonic() < deadline and _is_running(pid):
        if metrics.exists() and metrics.stat().st_size > before:
            break
        time.sleep(0.005)
    time.sleep(draw.random() * 0.4)
    with contextlib.suppress(ProcessLookupError):  # it was done first
        os.kill(pid, number)
    return nursery.wait()


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_training_survives_kills_without_a_different_bit(nursery, whole, tmp_path):
    draw = random.Random(17)
    kills = 0
    while kills < MIN_KILLS:
        status = kill_at_random(nursery, tmp_path, SFT, draw, signal.SIGKILL)
        kills += status == -signal.SIGKILL
        if status == 0:  # it got through first: what it made is right, and it begins another life
            assert curve(tmp_path) == curve(whole)
            assert adapter_bytes(tmp_path) == adapter_bytes(whole)
            (tmp_path / "mine").rename(tmp_path / f"done-{kills}")
    nursery.finish(tmp_path, SFT)
    assert curve(tmp_path) == curve(whole)
    assert adapter_bytes(tmp_path) == adapter_bytes(whole)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_calm_stop_carries_on_to_the_same_bits(nursery, whole, tmp_path, number):
    statuses = [kill_at_random(nursery, tmp_path, SFT, random.Random(seed), number) for seed in (1, 2)]
    assert set(statuses) <= {130, 0, -signal.SIGTERM}, (tmp_path / "log.txt").read_text()[-2000:]
    assert 130 in statuses
    nursery.finish(tmp_path, SFT)
    assert curve(tmp_path) == curve(whole)
    assert adapter_bytes(tmp_path) == adapter_bytes(whole)


def test_the_program_itself_killed_in_a_fresh_process_carries_on(nursery, tmp_path):
    command = [sys.executable, "-m", "arabic_llm.run", *SFT, "task.max_steps=10"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    first = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    metrics = tmp_path / "mine" / "training" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size > 1500) and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    nursery.finish(tmp_path, (*SFT, "task.max_steps=10"))
    assert [line["step"] for line in curve(tmp_path) if "loss" in line] == list(range(1, 11))
