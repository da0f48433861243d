"""A shape read from any config.json makes the model that the config.json makes: its rehearsal is of it."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from arabic_llm.config.model import ModelKind
from arabic_llm.errors import ConfigError
from arabic_llm.models import folders, shape

SMALL = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
}
OWN = {  # what else of a family's config.json decides its tensors
    "bloom": {},
    "cohere2": {"num_key_value_heads": 2, "head_dim": 8},
    "falcon": {},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 16},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8},
    "gpt2": {"n_positions": 40},
    "gpt_neox": {},
    "mamba": {"expand": 3},
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 3},
    "olmo2": {"num_key_value_heads": 2},
    "phi3": {"num_key_value_heads": 2},
    "qwen3_moe": {"num_key_value_heads": 2, "head_dim": 16, "num_experts": 3, "moe_intermediate_size": 8},
    "smollm3": {"num_key_value_heads": 2, "tie_word_embeddings": False},
}


def tensors(config):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def written(folder, config, **more):
    said = {**config.to_dict(), **more}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


@pytest.mark.parametrize(("family", "own"), OWN.items())
def test_a_shape_that_is_read_makes_the_same_tensors(family, own, tmp_path):
    config = AutoConfig.for_model(family, **SMALL | own)
    read = folders.shape(written(tmp_path, config, pretraining_tp=1, somebodys_own="x"))
    assert tensors(shape.to_transformers(read, pad_token_id=None)) == tensors(config)
    assert (read.model_type, read.hidden_size, read.num_hidden_layers) == (family, 32, 2)


def test_of_a_model_that_sees_the_shape_is_that_of_its_text_model(tmp_path):
    text = SMALL | {"num_key_value_heads": 2, "head_dim": 16}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision)
    read = folders.shape(written(tmp_path, config))
    assert tensors(shape.to_transformers(read)) == tensors(config.get_text_config())
    assert read.model_type == "gemma3_text"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, ModelKind.causal),
        ({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]}, ModelKind.causal),
        ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"]}, ModelKind.masked),
        ({"model_type": "modernbert"}, ModelKind.masked),
        ({"model_type": "roberta", "architectures": ["RobertaForCausalLM"]}, ModelKind.causal),
    ],
)
def test_a_config_says_what_its_model_predicts(said, kind):
    assert shape.kind_of(said) is kind


@pytest.mark.parametrize("model_type", ["t5", "vit", "whisper"])
def test_a_model_of_no_tokens_in_a_row_is_refused(model_type):
    with pytest.raises(ConfigError, match=f"model_type={model_type} is of a model that neither continues"):
        shape.kind_of({"model_type": model_type, "is_encoder_decoder": model_type != "vit"})


def test_a_family_that_transformers_does_not_know_is_told_its_nearest():
    with pytest.raises(ConfigError, match=r"has no model_type 'qwen33' \(nearest: qwen3, "):
        shape.kind_of({"model_type": "qwen33"})
