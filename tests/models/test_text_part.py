"""Of a model that also sees, the text is loaded alone and whole; its tower is neither held nor tuned."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import compose_config, model_config
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, set_seed

from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import adapter, folders, load, placement
from arabic_llm.models.bases import Base

TEXT = {
    "model_type": "gemma3_text",
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8},
    **{"vocab_size": 96, "tie_word_embeddings": True},
}
SIGHT = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a small Gemma 3 that sees, and its folder as the hub has it: heads are left to its class."""
    set_seed(1)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("gemma3", text_config=TEXT, vision_config=SIGHT)
    )
    folder = tmp_path_factory.mktemp("gemma3")
    model.eval().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] = TEXT
    (folder / "config.json").write_text(json.dumps(config))
    return model, folder


def ours(folder, **fields):
    own = model_config("gemma3_4b")
    small = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "head_dim": 8,
        "vocab_size": 96,
    }
    shape = replace(own.architecture, **small | fields, other={})
    return replace(own, architecture=shape, path=str(folder))


def loaded(folder, *overrides, **fields):
    config = compose_config("adapter=lora", "adapter.rank=4", "hw=cpu", *overrides)
    model, base = ours(folder, **fields), Base(folder, "")
    return config, base, load.base_model(model, base, config.adapter, placement.resolve(config.hw))


@pytest.mark.parametrize("names", ["older", "newer"])
def test_the_text_says_what_the_whole_says_and_has_the_adapter(whole, names, tmp_path):
    model, folder = whole
    if names == "newer":
        old = load_file(folder / "model.safetensors")
        text = "language_model.model."
        weights = {
            n.replace(text, "model.language_model.") if n.startswith(text) else f"model.{n}": w
            for n, w in old.items()
        }
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
        (tmp_path / "config.json").write_text((folder / "config.json").read_text())
        folder = tmp_path
    config, base, text = loaded(folder)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(text(input_ids=ids).logits, model(input_ids=ids).logits)
    assert type(text).__name__ == "Gemma3ForCausalLM"
    assert not any("vision" in name for name, _ in text.named_parameters())
    tuned = adapter.attach(text, config.adapter, base, 1)
    assert sum("lora_A" in name for name, _ in tuned.named_parameters()) == 2 * 7


def test_a_weight_that_the_text_lacks_or_has_no_place_for_is_refused(whole, tmp_path):
    _, folder = whole
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    name = "language_model.model.layers.1.mlp.up_proj.weight"
    more = weights | {name.replace("layers.1", "layers.2"): weights[name].clone()}
    for changed, what in (
        ({n: w for n, w in weights.items() if n != name}, "is not there"),
        (more, "no place"),
    ):
        save_file(changed, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(CheckpointError, match=rf"layers\.[12]\.mlp\.up_proj\.weight .*{what}"):
            loaded(tmp_path)


def test_the_shape_that_is_compared_is_the_texts(whole):
    folders.check_shape(ours(whole[1]), whole[1])
    with pytest.raises(
        ConfigError, match=r"config\.json: num_attention_heads is 8, but model=gemma3_4b says 4"
    ):
        folders.check_shape(ours(whole[1], num_attention_heads=4), whole[1])
