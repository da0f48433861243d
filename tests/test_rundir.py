"""A run's directory knows every start of the run, and that there may be no installed package."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import compose_config
from damages import DAMAGES

from arabic_llm import files, rundir
from arabic_llm.config.run import Language
from arabic_llm.errors import ConfigError

INPUTS = {"data": "0123"}


@pytest.fixture(scope="module")
def composed():
    return compose_config("hw=cpu")


@pytest.fixture
def config(composed, tmp_path):
    return replace(composed, output_dir=str(tmp_path / "mine"), cache_dir=str(tmp_path / "cache"))


def start(config, *, makes_something=True):
    with rundir.claim(config, INPUTS) as directory:
        if makes_something:
            (directory / "checkpoint").mkdir(exist_ok=True)
    return files.read_json(directory / rundir.MANIFEST)


def test_the_manifest_keeps_what_each_start_of_a_run_was(config, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run", "hw=cpu"])
    first = start(config)
    monkeypatch.setattr("sys.argv", ["run", "hw=cpu", "hw.micro_batch_size=1"])
    monkeypatch.setattr("arabic_llm.rundir.library_version", lambda _: "9.9")
    second = start(config)
    assert [one["command"].partition(".run ")[2] for one in second["starts"]] == [
        "hw=cpu",
        "hw=cpu hw.micro_batch_size=1",
    ]
    assert first["starts"] == second["starts"][:1]
    assert second["starts"][0]["versions"]["torch"] != second["starts"][1]["versions"]["torch"] == "9.9"
    assert {"started", "machine", "hw", "how"} < second["starts"][1].keys()
    assert second["command"] == second["starts"][1]["command"]


def test_a_run_killed_in_the_midst_of_its_manifest_begins_anew(config):
    """A campaign's kill fell there: the folder was then refused for ever, as a stranger's."""
    folder = Path(config.output_dir)
    folder.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), files.writing(folder / rundir.MANIFEST) as file:
        file.write(b'{"comm')
        shutil.copy(file.name, copied := folder.parent / "partial")
        raise KeyboardInterrupt
    copied.rename(folder / Path(file.name).name)  # nobody was left to remove it
    assert len(start(config)["starts"]) == 1
    assert not list(folder.glob(".*.partial"))


def test_what_a_killed_process_had_begun_to_write_is_gone_when_the_run_is_done(config):
    folder = Path(config.output_dir)
    with rundir.claim(config, {}):
        pass
    for left in (folder / ".dev.jsonl.vm.32513.partial", folder / "deep" / ".a.bin.vm.7.partial"):
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"half")
    with rundir.claim(config, {}):
        pass
    assert not list(folder.rglob(".*.partial"))


def test_what_others_have_begun_to_write_in_a_folder_is_not_ours_to_remove(config):
    folder = Path(config.output_dir)
    folder.mkdir(parents=True)
    (folder / ".film.mp4.partial").write_bytes(b"half")
    with pytest.raises(ConfigError, match="is a folder with other files in it"):
        start(config)
    assert (folder / ".film.mp4.partial").read_bytes() == b"half"


def test_a_run_that_is_done_is_not_started_again(config):
    before = start(config)
    rundir.write_result(Path(config.output_dir), 1.0)
    assert start(config) == before


def test_a_first_try_of_another_configuration_is_no_start_of_this(config):
    start(replace(config, seed=3), makes_something=False)
    assert len(start(config)["starts"]) == 1


def test_a_run_begun_before_starts_were_kept_keeps_its_first(config):
    manifest = start(config)
    for key in ("starts", files.HASH):  # nor was it hashed
        del manifest[key]
    files.write_json(Path(config.output_dir) / rundir.MANIFEST, manifest)
    assert start(config)["starts"][0]["started"] == manifest["started"]


def test_a_checkout_that_is_not_installed_says_so(config, monkeypatch):
    monkeypatch.setattr(rundir, "_LIBRARIES", ("torch", "arabic-llm-of-a-checkout"))
    assert rundir.manifest(config)["versions"]["arabic-llm-of-a-checkout"] == "not installed"


@pytest.mark.parametrize("file", [rundir.MANIFEST, rundir.RESULT, "outputs.json", ".lock", "run.log"])
def test_a_damaged_file_of_a_done_run_is_said_and_set_aside_and_the_run_is_done_once_more(
    config, file, caplog
):
    caplog.set_level("INFO")
    directory = Path(config.output_dir)
    for name in DAMAGES.keys() - {"gone", "unreadable"}:
        start(config)
        rundir.write_result(directory, 0.25)
        files.write_text(directory / "run.log", "a line")
        caplog.clear()
        DAMAGES[name](random.Random(name), directory / file)
        start(config)
        if rundir.finished(directory) is None:
            assert f"{directory / file} is damaged: " in caplog.text, name
            rundir.write_result(directory, 0.25)
        start(config)
        assert rundir.finished(directory) == 0.25
        for path in directory.parent.iterdir():
            shutil.rmtree(path)


def test_a_done_run_whose_adapter_is_gone_or_changed_is_done_again_and_says_why(config, caplog):
    caplog.set_level("INFO")
    start(config)
    directory = Path(config.output_dir)
    weights = directory / "adapter" / "adapter_model.safetensors"
    files.write_text(weights, "0.25")
    files.write_text(directory / "report.html", "a page")
    files.seal(weights.parent)
    rundir.write_result(directory, 0.25)
    files.write_text(directory / "report.html", "a page with my notes")
    start(config)
    assert rundir.finished(directory) == 0.25
    files.write_text(weights, "0.26")
    start(config)
    assert f"{weights} has changed since the run was done: it is done again" in caplog.messages
    assert rundir.finished(directory) is None
    assert not files.is_whole(weights.parent)
    assert weights.with_name(f"{weights.name}.damaged-1").read_text() == "0.26"
    files.write_text(weights, "0.25")
    rundir.write_result(directory, 0.25)
    shutil.rmtree(weights.parent)
    start(config)
    assert f"{weights} is gone" in caplog.text
    assert rundir.finished(directory) is None


def test_a_done_run_writes_its_reports_again_in_another_language_and_once(config, caplog):
    caplog.set_level("INFO")
    start(config)
    directory = Path(config.output_dir)
    rundir.write_result(directory, 0.25)
    start(config)
    assert rundir.finished(directory) == 0.25
    arabic = replace(config, lang=Language.ar)
    manifest = start(arabic)
    assert "the report is in lang=en: it is written again, in lang=ar" in caplog.messages
    assert rundir.finished(directory) is None
    assert manifest["how"]["lang"] == "ar"
    assert (directory / "checkpoint").is_dir()
    rundir.write_result(directory, 0.25)
    start(arabic)
    assert rundir.finished(directory) == 0.25


def test_the_manifest_of_another_program_is_not_ours_to_move(config):
    directory = Path(config.output_dir)
    files.write_text(directory / rundir.MANIFEST, '{"name": "a page", "icons": []}')
    files.write_text(directory / "index.html", "a page")
    with pytest.raises(ConfigError, match=r"manifest\.json is damaged.*give another hydra\.run\.dir"):
        start(config)
    assert (directory / "index.html").read_text() == "a page"


@pytest.mark.parametrize("name", ["{}", "[]", "null", '{"x": 1}', "{", '{"adapter_model.safetensors": 7}'])
def test_a_seal_that_is_damaged_or_names_nothing_seals_nothing(tmp_path, name):
    files.write_text(tmp_path / "adapter_model.safetensors", "weights")
    files.seal(tmp_path)
    assert files.is_whole(tmp_path)
    (tmp_path / files.SEAL).write_text(name)
    assert not files.is_whole(tmp_path)


def test_what_is_torn_beside_the_checkpoints_does_not_keep_a_run_from_its_end(config):
    start(config)
    directory = Path(config.output_dir)
    files.write_text(directory / "training" / "torn-checkpoint-1" / files.SEAL, "[]")
    files.write_text(directory / "adapter.damaged-1" / files.SEAL, "[]")
    rundir.write_result(directory, 0.25)
    assert rundir.finished(directory) == 0.25
