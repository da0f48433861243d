"""A run that is longer than a finished one begins anew, and says what would go on instead."""

import logging

import pytest
from conftest import compose_config

from arabic_llm import files
from arabic_llm.config.compose import identity
from arabic_llm.workflows import shorter_runs


@pytest.fixture
def finished(tmp_path):
    """Make a folder of runs with one that has ended after two epochs."""
    run = tmp_path / "short"
    (run / "adapter").mkdir(parents=True)
    files.write_text(run / "adapter" / "adapter_config.json", "{}")
    files.seal(run / "adapter")
    files.write_text(run / "result.json", "{}")
    files.write_state(run / "manifest.json", {"identity": identity(compose_config("task.epochs=2"))})
    return run


def said(caplog, directory, *overrides):
    caplog.clear()
    with caplog.at_level(logging.INFO):
        shorter_runs.say(compose_config(*overrides), directory)
    return caplog.text


def test_more_epochs_than_those_of_a_finished_run_begin_anew_and_say_so(finished, caplog):
    line = said(caplog, finished.with_name("long"), "task.epochs=4")
    assert f"begins anew: adapter.path={finished / 'adapter'} goes on from what was trained with" in line
    assert "task.epochs=2" in line


def test_a_run_that_is_carried_on_does_not_begin_anew(finished, caplog):
    (finished.with_name("long") / "training").mkdir(parents=True)
    assert said(caplog, finished.with_name("long"), "task.epochs=4") == ""


@pytest.mark.parametrize("overrides", [("task.epochs=4", "adapter.rank=8"), ("task.epochs=4", "seed=1")])
def test_a_run_that_learns_otherwise_is_no_longer_one(finished, caplog, overrides):
    assert said(caplog, finished.with_name("long"), *overrides) == ""


def test_what_is_damaged_or_of_nobody_is_passed_over(finished, caplog):
    (finished / "adapter" / "adapter_config.json").write_text("{ }")
    assert said(caplog, finished.with_name("long"), "task.epochs=4") == ""
    (finished / "manifest.json").write_text("[]")
    assert said(caplog, finished.with_name("long"), "task.epochs=4") == ""
    (finished / "manifest.json").unlink()
    assert said(caplog, finished.with_name("long"), "task.epochs=4") == ""
