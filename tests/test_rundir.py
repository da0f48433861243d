"""A run's directory knows every start of the run, and that there may be no installed package."""

from dataclasses import replace

import pytest
from conftest import compose_config

from arabic_llm import files, rundir

INPUTS = {"data": "0123"}


@pytest.fixture
def config(tmp_path):
    return replace(compose_config("hw=cpu"), output_dir=str(tmp_path / "mine"))


def start(config, *, makes_something=True):
    with rundir.claim(config, INPUTS) as directory:
        if makes_something:
            (directory / "checkpoint").mkdir(exist_ok=True)
    return files.read_json(directory / rundir.MANIFEST)


def test_the_manifest_keeps_what_each_start_of_a_run_was(config, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run", "hw=cpu"])
    first = start(config)
    monkeypatch.setattr("sys.argv", ["run", "hw=cpu", "hw.micro_batch_size=1"])
    monkeypatch.setattr("arabic_llm.rundir.version", lambda _: "9.9")
    second = start(config)
    assert [one["command"].partition(".run ")[2] for one in second["starts"]] == [
        "hw=cpu",
        "hw=cpu hw.micro_batch_size=1",
    ]
    assert first["starts"] == second["starts"][:1]
    assert second["starts"][0]["versions"]["torch"] != second["starts"][1]["versions"]["torch"] == "9.9"
    assert {"started", "machine", "hw", "how"} < second["starts"][1].keys()
    assert second["command"] == second["starts"][1]["command"]


def test_a_run_that_is_done_is_not_started_again(config):
    before = start(config)
    rundir.write_result(rundir.Path(config.output_dir), 1.0)
    assert start(config) == before


def test_a_first_try_of_another_configuration_is_no_start_of_this(config):
    start(replace(config, seed=3), makes_something=False)
    assert len(start(config)["starts"]) == 1


def test_a_run_begun_before_starts_were_kept_keeps_its_first(config):
    manifest = start(config)
    del manifest["starts"]
    files.write_json(rundir.Path(config.output_dir) / rundir.MANIFEST, manifest)
    assert start(config)["starts"][0]["started"] == manifest["started"]


def test_a_checkout_that_is_not_installed_says_so(config, monkeypatch):
    monkeypatch.setattr(rundir, "_LIBRARIES", ("torch", "arabic-llm-of-a-checkout"))
    assert rundir.manifest(config)["versions"]["arabic-llm-of-a-checkout"] == "not installed"
