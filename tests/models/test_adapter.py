"""What is trained is what was asked for, and an adapter goes only onto its own base model."""

import pytest
from conftest import compose_config

from arabic_llm import files
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import adapter, adapter_files, bases, families, load, placement, tokenization
from arabic_llm.models.bases import Base


def parts(*overrides):
    config = compose_config("hw=cpu", *overrides)
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    return config, base, model


def trainable(model):
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["lora", "qlora", "dora", "rslora"])
def test_each_adapter_trains_all_linear_layers_and_nothing_else(name):
    config, base, model = parts(f"adapter={name}", "adapter.rank=4")
    tuned = adapter.attach(model, config.adapter, base, seed=1)
    names = trainable(tuned)
    assert names
    assert all("lora_" in n for n in names)
    assert {n.split(".lora_")[0].rpartition(".")[2] for n in names} == set(families.TABLE["qwen2"].modules)
    peft = tuned.peft_config["default"]
    assert (peft.r, peft.use_dora, peft.use_rslora) == (4, name == "dora", name == "rslora")


def test_full_trains_every_weight():
    config, base, model = parts("adapter=full")
    assert len(trainable(adapter.attach(model, config.adapter, base, 1))) == len(list(model.parameters()))


def test_the_first_matrix_is_drawn_from_the_seed():
    def first(seed):
        config, base, model = parts()
        weights = trainable(adapter.attach(model, config.adapter, base, seed))
        return next(iter(weights.values())).detach().clone()

    assert first(1).equal(first(1))
    assert not first(1).equal(first(2))


def test_a_target_that_does_not_exist_names_those_that_do():
    config, base, model = parts("adapter.target_modules=[q_proj,c_attn]")
    with pytest.raises(ConfigError, match=r"this model has no 'c_attn'; there are: down_proj, .*q_proj"):
        adapter.attach(model, config.adapter, base, 1)


@pytest.mark.parametrize(
    ("model_type", "names"),
    [
        ("qwen", ["c_attn", "c_proj", "w1", "w2"]),
        ("chatglm", ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"]),
        ("mamba", "all-linear"),
    ],
)
def test_architectures_without_weights_here_have_their_own_names(model_type, names):
    assert families.linear_modules(model_type) == names


@pytest.fixture
def saved(tmp_path):
    config, base, model = parts("adapter.rank=4")
    tuned = adapter.attach(model, config.adapter, base, 1)
    notes = {adapter_files.ABOUT: {"base_name": "tiny", "base_revision": "sha256:aaaa"}}
    adapter.save(tuned, tokenization.load(base), tmp_path / "adapter", notes)
    return tmp_path / "adapter"


def test_a_saved_adapter_is_sealed_and_loads_on_its_base(saved):
    assert files.is_whole(saved)
    _, base, model = parts()
    loaded = adapter.with_adapter(model, saved, Base(base.folder, "sha256:aaaa"))
    assert loaded.peft_config["default"].r == 4


def test_an_adapter_of_another_base_is_refused(saved):
    _, base, model = parts()
    with pytest.raises(CheckpointError, match=r"was trained on tiny \(sha256:aaaa\), not on .*sha256:bbbb"):
        adapter.with_adapter(model, saved, Base(base.folder, "sha256:bbbb"))


def test_a_changed_adapter_is_refused(saved):
    (saved / "adapter_config.json").write_text("{}")
    _, base, model = parts()
    with pytest.raises(CheckpointError, match="missing or was changed"):
        adapter.with_adapter(model, saved, base)


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    _, base, model = parts()
    with pytest.raises(CheckpointError, match="holds no adapter"):
        adapter.with_adapter(model, tmp_path, base)


def test_a_foreign_adapter_of_other_sizes_is_refused(saved):
    (saved / adapter_files.ABOUT).unlink()  # as an adapter from elsewhere comes
    (saved / files.SEAL).unlink()
    _, base, _ = parts()
    from transformers import AutoModelForCausalLM, Qwen2Config

    other = AutoModelForCausalLM.from_config(
        Qwen2Config(
            hidden_size=64, intermediate_size=64, num_hidden_layers=6, num_attention_heads=2, vocab_size=99
        )
    )
    with pytest.raises(CheckpointError, match="belongs to another base model"):
        adapter.with_adapter(other, saved, base)
