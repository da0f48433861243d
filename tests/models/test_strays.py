"""Weights are all of the model that was asked for and nothing else, of the shape that was asked for."""

import json
import shutil

import pytest
import torch
from conftest import compose_config
from safetensors.torch import load_file, save_file

from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import bases, load, placement

TINY = PACKAGE / "models" / "tiny"


def damaged(tmp_path, change):
    """Return a configuration whose model.path is the tiny model, its tensors changed, and where it lies."""
    folder = shutil.copytree(TINY, tmp_path / "mine", dirs_exist_ok=True)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = compose_config("hw=cpu", "model.builtin=false", f"model.path={folder}")
    return config, bases.locate(config.model, None)


def loaded(config, base, **more):
    return load.base_model(config.model, base, config.adapter, placement.resolve(config.hw), **more)


K_BIAS = "model.layers.3.self_attn.k_proj.bias"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(K_BIAS), rf"Qwen2ForCausalLM: {K_BIAS} is not there;"),
        (lambda t: [t.pop(n) for n in [*t] if ".layers.2." in n], r"\.2\..* is not there, and "),
        (lambda t: t.update({"model.extra.weight": torch.ones(3)}), r"model\.extra\.weight has no place"),
        (lambda t: t.update({K_BIAS: torch.ones(63)}), rf"{K_BIAS} has another size"),
        (lambda t: [t.update({f"m.{n}": t.pop(n)}) for n in [*t]], "is not there, and 74 more"),
    ],
    ids=["no tensor", "no layer", "one too many", "another size", "names of another wrapper"],
)
def test_weights_that_are_not_all_of_the_model_and_nothing_else_are_refused_by_name(tmp_path, change, said):
    config, base = damaged(tmp_path, change)
    with pytest.raises(CheckpointError, match=said):
        loaded(config, base)


def test_a_new_head_is_drawn_and_a_trained_one_must_be_there(tmp_path):
    head = load.Head(("a", "b"), 0, 1)
    config, base = damaged(tmp_path, lambda t: None)
    model = loaded(config, base, head=head)
    model.save_pretrained(tmp_path / "trained")
    again = bases.Base(tmp_path / "trained", "")
    assert loaded(config, again, head=head).score.weight.equal(model.score.weight)
    tensors = load_file(tmp_path / "trained" / "model.safetensors")
    tensors.pop("score.weight")
    save_file(tensors, tmp_path / "trained" / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"score\.weight is not there"):
        loaded(config, again, head=head)
    config, base = damaged(tmp_path / "torn", lambda t: t.pop(K_BIAS))
    with pytest.raises(CheckpointError, match=rf"{K_BIAS} is not there"):
        loaded(config, base, head=head)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("+model.architecture.other.sliding_window=4", "sliding_window is None, but model=tiny says 4"),
        (
            "+model.architecture.other.attention_dropout=0.5",
            "attention_dropout is 0.0, but",
        ),
        ("+model.architecture.other.tie_encoder=true", "Qwen2Config has no field 'tie_encoder'"),
        ("model.architecture.type_vocab_size=2", "Qwen2Config has no field 'type_vocab_size'; leave"),
        ("+model.architecture.other.bos_token_id=7", "bos_token_id is None, but model=tiny says 7"),
    ],
)
def test_a_shape_that_the_weights_do_not_have_is_refused(setting, said):
    config = compose_config("hw=cpu", setting)
    with pytest.raises(ConfigError, match=said):
        loaded(config, bases.locate(config.model, None))


def test_a_shape_that_config_json_leaves_to_its_class_is_refused_too(tmp_path):
    config, base = damaged(tmp_path, lambda t: None)
    said = json.loads((base.folder / "config.json").read_text())
    said.pop("attention_dropout")
    (base.folder / "config.json").write_text(json.dumps(said))
    config.model.architecture.other["attention_dropout"] = 0.5
    with pytest.raises(ConfigError, match="attention_dropout=0.5: the model that is there has 0.0"):
        loaded(config, base)
