"""What is exported goes to the hub byte by byte, private, with a token of the environment only."""

import pytest
from receiving_hub import receiving

from arabic_llm import files, hub
from arabic_llm.errors import ConfigError
from arabic_llm.workflows import hand_on

TOKEN = "hf_a_token_of_this_test"


@pytest.fixture
def served(monkeypatch):
    """Return a hub that takes files, reached by the library's own settings."""
    from huggingface_hub import constants

    with receiving(TOKEN) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


@pytest.fixture
def folder(tmp_path):
    """Return an exported folder: a card, settings, weights, and what is only ours."""
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Card\n")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "proof.json").write_text("{}")
    files.seal(tmp_path)
    return tmp_path


def test_a_folder_arrives_byte_by_byte_in_a_private_repository(served, folder):
    said = hub.push(folder, "school/tutor")
    assert said.startswith(f"on the hub: {served.url}/school/tutor (private until you open it there), ")
    assert served.private == {"school/tutor": True}
    names = ("README.md", "config.json", "model.safetensors")
    assert served.taken["school/tutor"] == {name: (folder / name).read_bytes() for name in names}


def test_a_token_that_may_not_write_is_one_line_without_it(served, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_another_token")
    with pytest.raises(hub.NotTakenError) as raised:
        hub.push(folder, "school/tutor")
    said = str(raised.value)
    assert said.startswith("task.push=school/tutor: the hub refuses it (403): `hf auth login` with a token")
    assert said.endswith(f"what was exported stays in {folder}")
    assert "hf_another" not in said


def test_a_hub_that_takes_no_more_is_one_line(served, folder):
    served.is_full = True
    with pytest.raises(
        hub.NotTakenError, match=r"task.push=school/tutor: the hub cannot answer now \(507\)"
    ):
        hub.push(folder, "school/tutor")
    assert served.taken == {"school/tutor": {}}


def test_without_a_token_nothing_is_asked_of_the_hub(served, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="task.push: the hub takes files only with a token: HF_TOKEN="):
        hub.push(folder, "school/tutor")
    assert not served.private


def test_several_forms_have_names_of_their_own(tmp_path):
    made = {tmp_path / name: {} for name in ("adapter", "merged", "gguf")}
    assert [name for _, name in hand_on.names_on_the_hub(made, "school/tutor")] == [
        *("school/tutor-adapter", "school/tutor", "school/tutor-GGUF"),
    ]
    assert hand_on.names_on_the_hub({tmp_path / "gguf": {}}, "a/b") == [(tmp_path / "gguf", "a/b")]
