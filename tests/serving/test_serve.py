"""A run's commands for other servers; transformers serve is tried for real where it is installed."""

import shutil
import socket
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import run_in

from arabic_llm import files
from arabic_llm.errors import HardwareError, ModelError
from arabic_llm.serving import commands, trial
from arabic_llm.serving.commands import Served

pytest_plugins = ("talking",)
MISSING = [name for name in trial._NEEDS if find_spec(name) is None]
needs_server = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
SERVED = Served(
    name="tiny-sample-lora",
    run=Path("outputs/sft/my run"),
    base="owner/name",
    adapter=Path("out/adapter"),
    merged=Path("out/merged"),
    ollama=Path("out/gguf"),
    settings={"r": 16},
    is_4bit=False,
)


def lines(port=None, **changes):
    return "\n".join(commands.lines(replace(SERVED, **changes), port))


def test_each_server_has_its_command():
    assert lines().splitlines() == [
        "transformers (an OpenAI-compatible server; pip install 'arabic-llm[serve]'):",
        "  transformers serve out/merged --host 127.0.0.1 --port 8000",
        "vLLM:",
        "  vllm serve owner/name --enable-lora --lora-modules tiny-sample-lora=out/adapter"
        " --max-lora-rank 16 --chat-template out/adapter/chat_template.jinja --host 127.0.0.1 --port 8000",
        "Ollama:",
        "  ollama create tiny-sample-lora -f out/gguf/Modelfile",
        "  ollama run tiny-sample-lora",
    ]


def test_what_was_not_exported_is_exported_first_and_names_are_quoted():
    said = lines(port=9, merged=None, ollama=None)
    export = "  python -m arabic_llm.run task=export 'task.run=outputs/sft/my run' 'task.formats=[{}]'"
    assert said.splitlines()[1].startswith(export.format("merged"))
    assert said.splitlines()[2] == "  transformers serve OUT/merged --host 127.0.0.1 --port 9"
    assert export.format("ollama") in said
    assert "'my out/merged'" in lines(merged=Path("my out/merged"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"r": 16, "use_dora": True}}, "it serves no DoRA"),
        ({"settings": {"r": 16, "modules_to_save": ["embed_tokens"]}}, "no adapter with rows of tokens"),
        ({"settings": {"r": 16, "trainable_token_indices": {"x": [1]}}}, "no adapter with rows of tokens"),
        ({"settings": {"r": 1024}}, "no rank above 512"),
        ({"is_4bit": True}, "the adapter was trained on 4-bit weights"),
        ({"settings": None}, "all of them were trained"),
    ],
)
def test_an_adapter_that_vllm_does_not_serve_is_served_merged_and_says_why(changes, said):
    found = lines(**changes)
    assert f"vLLM (whole weights: {said}" in found or said in found.splitlines()[2]
    assert "  vllm serve out/merged --host" in found
    assert "--enable-lora" not in found


def test_a_rank_that_vllm_has_none_of_is_the_next_larger():
    assert "--max-lora-rank 64 " in lines(settings={"r": 33})


@pytest.fixture(scope="module")
def exported(trained):
    """Return the folder of the run's export, where it is looked for, and of one of another run."""
    folder = trained.parent
    given = ("task=export", "task.run=mine", "task.formats=[adapter]")
    status, said = run_in(folder, *given, "hydra.run.dir=outputs/export/a")
    assert status == 0, said
    other = Path(shutil.copytree(folder / "outputs" / "export" / "a", folder / "outputs" / "export" / "b"))
    manifest = files.read_state(other / "manifest.json")
    files.write_state(other / "manifest.json", {**manifest, "inputs": {"trained": "of another"}})
    return folder / "outputs" / "export" / "a"


def test_the_export_of_this_run_is_found_and_no_other(exported, trained):
    status, said = run_in(trained.parent, "task=serve", "task.run=mine", "task.port=9")
    assert status == 0, said
    assert "  transformers serve OUT/merged --host 127.0.0.1 --port 9\n" in said
    assert f" --lora-modules tiny-sample-lora={exported / 'adapter'} --max-lora-rank 16 " in said
    assert said.count("task=export") == 2  # merged weights, the GGUF file
    status, said = run_in(trained.parent, "task=serve", "task.run=mine", "task.exported=outputs/export/b")
    assert status == 2
    assert said == (
        "error: task.exported: outputs/export/b is no export of mine as it is now; leave it out, or export"
        " again\n"
    )


def test_a_plan_says_what_would_be_served(trained):
    status, said = run_in(trained.parent, "task=serve", "task.run=mine", "dry_run=true")
    assert (status, said) == (0, "plan: say the commands, of mine/adapter\n")


def test_a_question_that_nobody_is_asked_is_refused(trained):
    status, said = run_in(trained.parent, "task=serve", "task.run=mine", "task.prompt=a")
    assert (status, said) == (2, "error: task.prompt=a has no meaning without task.start=true\n")


def test_a_start_without_the_server_is_one_line(trained, monkeypatch):
    monkeypatch.setattr(trial, "find_spec", lambda name: None if name == "uvicorn" else name)
    status, said = run_in(trained.parent, "task=serve", "task.run=mine", "task.start=true")
    assert (status, said) == (
        2,
        "error: task.start=true: uvicorn is not installed; pip install 'arabic-llm[serve]'\n",
    )


def test_a_start_without_merged_weights_says_what_makes_them(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "find_spec", str)
    shutil.copytree(trained, tmp_path / "run")
    status, said = run_in(tmp_path, "task=serve", "task.run=run", "task.start=true")
    assert status == 2
    assert said == (
        "error: task.start=true: no merged weights of run, which transformers serve wants; first:"
        " python -m arabic_llm.run task=export task.run=run 'task.formats=[merged]'\n"
    )


def test_a_port_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HardwareError, match=f"^task.port={port}: Address already in use; end what"):
            trial.free_port(port)
    assert 0 < trial.free_port(None) < 65536


@needs_server
def test_transformers_serve_reads_the_prompt_of_training_and_answers_as_we_do(trained):
    merged = trained.parent / "outputs" / "export" / "c"
    made = run_in(
        trained.parent, "task=export", "task.run=mine", "task.formats=[merged]", f"hydra.run.dir={merged}"
    )
    assert made[0] == 0, made
    given = ("task=serve", "task.run=mine", "task.start=true", "hw=cpu")
    status, said = run_in(trained.parent, *given)
    assert status == 0, said
    assert f"started: transformers serve {merged / 'merged'} --host 127.0.0.1 --port " in said
    assert " tokens, as in training)\n" in said
    assert "our own greedy answer: the same, " in said


@needs_server
def test_a_server_that_does_not_come_up_is_one_line_with_what_it_said(tmp_path):
    with (
        pytest.raises(ModelError, match=r"^transformers serve has ended, and said: "),
        trial.served(tmp_path / "nothing", trial.free_port(None), tmp_path / "log"),
    ):
        pass
