"""W&B gets an offline copy beside the results; without it nothing is missed."""

import re
import time

from arabic_llm import tracking
from arabic_llm.config.run import Tracking


def test_an_offline_run_lies_beside_the_results(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = tracking.start(Tracking.wandb, tmp_path, {"adapter": {"rank": 4}})
    tracker.log({"step": 1, "loss": 2.5})
    tracker.finish({"dev_loss": 2.0})
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (copy,) = run.glob("*.wandb")
    for name, value in (("adapter", '{"rank":4}'), ("loss", "2.5"), ("dev_loss", "2.0")):
        field = rf"{name}\x82\x01.{re.escape(value)}".encode()  # protobuf: key, then its value as JSON
        assert appears(field, copy)


def appears(pattern, file):
    """Wait for what W&B's own process writes a moment after the run is finished."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if re.search(pattern, file.read_bytes(), re.DOTALL):
            return True
        time.sleep(0.1)
    return False


def test_wandb_that_does_not_start_costs_the_copy_and_not_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    caplog.set_level("INFO", "arabic_llm")
    tracker = tracking.start(Tracking.wandb, tmp_path, {})
    tracker.log({"step": 1, "loss": 2.5})
    tracker.finish({})
    assert caplog.messages[0].startswith("no W&B copy of this run: 1 validation error")


def test_wandb_that_dies_on_the_way_is_said_once(caplog):
    class Dying(tracking.NoTracker):
        def log(self, values):
            raise BrokenPipeError("service is gone")

    caplog.set_level("INFO", "arabic_llm")
    tracker = tracking.Forgiving(Dying())
    tracker.log({"step": 1})
    tracker.log({"step": 2})
    assert caplog.messages == ["no further W&B copy of this run: service is gone"]


def test_none_writes_nothing(tmp_path):
    tracker = tracking.start(Tracking.none, tmp_path, {})
    tracker.log({"step": 1, "loss": 2.5})
    tracker.finish({})
    assert not list(tmp_path.iterdir())
