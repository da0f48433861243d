"""What a YAML says beside sizes reaches the real code: windows, soft caps, norms, how positions turn."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from conftest import model_config
from transformers import AutoConfig, AutoModelForCausalLM

from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.errors import ConfigError
from arabic_llm.models.shape import refuse_other, to_transformers

SMALL = {"hidden_size": 64, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
SLIDE, FULL = "sliding_attention", "full_attention"
LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"rope_theta": 500000.0, "original_max_position_embeddings": 8192}
OF_GEMMA2 = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096}
OF_GEMMA3 = {"attn_logit_softcapping": None, "final_logit_softcapping": None, "query_pre_attn_scalar": 256}
NEAR = {"rope_type": "default", "rope_theta": 10000.0}
FAR = {"rope_type": "default", "rope_theta": 1000000.0}
# name -> fields of transformers' configuration
SAID = {
    "llama3_2_1b": {"rope_parameters": LLAMA3 | {"factor": 32.0}},
    "llama3_2_3b": {"rope_parameters": LLAMA3 | {"factor": 32.0}},
    "llama3_1_8b": {"rope_parameters": LLAMA3 | {"factor": 8.0}},
    "fanar_9b": OF_GEMMA2 | {"layer_types": [SLIDE, FULL] * 21},
    "silma_9b": OF_GEMMA2 | {"layer_types": [SLIDE, FULL] * 21},
    "gemma3_1b": OF_GEMMA3
    | {"sliding_window": 512, "layer_types": ([*[SLIDE] * 5, FULL] * 5)[:26]}
    | {"rope_parameters": {SLIDE: NEAR, FULL: FAR}},
    "gemma3_4b": OF_GEMMA3
    | {"sliding_window": 1024, "layer_types": ([*[SLIDE] * 5, FULL] * 6)[:34]}
    | {"rope_parameters": {SLIDE: NEAR, FULL: FAR | {"rope_type": "linear", "factor": 8.0}}},
    "qwen3_4b": {"sliding_window": None, "layer_types": [FULL] * 36},
}


def built(shape):
    small = replace(shape, **SMALL, head_dim=16, vocab_size=96, num_hidden_layers=6)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(to_transformers(small, pad_token_id=0))


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_of_attention_and_positions_is_in_the_real_configuration(name):
    shape = model_config(name).architecture
    before = deepcopy(shape)
    config = to_transformers(shape)
    assert shape == before  # transformers writes into what is nested
    assert {field: getattr(config, field) for field in SAID[name]} == SAID[name]
    layers = built(shape).model.layers
    norms = {n.rpartition(".")[2] for n, _ in layers[0].named_modules() if n.endswith(("q_norm", "k_norm"))}
    assert norms == ({"q_norm", "k_norm"} if name.startswith(("qwen3", "gemma3")) else set())
    kinds = [getattr(layer.self_attn, "sliding_window", None) for layer in layers]
    window = SAID[name].get("sliding_window")
    slides = [kind == SLIDE for kind in SAID[name].get("layer_types", [FULL] * 6)[:6]]
    assert kinds == [window if is_near else None for is_near in slides]


def test_llama_3_2_turns_far_positions_more_slowly_than_llama_3():
    fast, slow = (
        AutoModelForCausalLM.from_config(to_transformers(replace(shape, **SMALL, vocab_size=96)))
        for shape in (
            replace(model_config(name).architecture, num_hidden_layers=1, head_dim=64)
            for name in ("llama3_8b", "llama3_2_1b")
        )
    )
    fast, slow = (m.model.rotary_emb.inv_freq for m in (fast, slow))
    plain = 1 / 500000.0 ** (torch.arange(0, 64, 2) / 64)
    assert slow[0] == fast[0] == 1
    assert slow[-1].item() == pytest.approx(plain[-1].item() / 32)


@pytest.mark.parametrize(
    ("name", "of_the_hub"),
    [
        (
            "llama3_2_1b",
            {
                "rope_theta": 500000.0,
                "rope_scaling": {name: LLAMA3[name] for name in LLAMA3 if name != "rope_theta"}
                | {"factor": 32.0},
            },
        ),
        ("gemma3_1b", {"rope_theta": 1000000, "rope_local_base_freq": 10000, "sliding_window": 512}),
        (
            "gemma3_4b",
            {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
        ),
    ],
)
def test_a_repositorys_older_spelling_is_the_same_and_another_number_is_refused(name, of_the_hub):
    shape = model_config(name).architecture
    sizes = {field: value for field, value in shape.fields().items() if field not in shape.other}
    refuse_other(shape, AutoConfig.for_model(**sizes, **deepcopy(of_the_hub)))  # it writes into them
    other = of_the_hub | ({"sliding_window": 256} if "gemma3" in name else {"rope_theta": 10000.0})
    with pytest.raises(ConfigError, match=r"^model.architecture.other.(sliding_window|rope_parameters)="):
        refuse_other(shape, AutoConfig.for_model(**sizes, **other))


def test_a_field_that_a_class_computes_or_once_spelled_otherwise_is_no_stumbling_block():
    falcon = ArchitectureConfig("falcon", 32, 48, 2, 4, 4, 8, 96, True)
    assert to_transformers(falcon).head_dim == 8
    gemma = replace(model_config("gemma3_1b").architecture, other={"sliding_window_pattern": 2})
    assert to_transformers(gemma).layer_types == [SLIDE, FULL] * 13
    with pytest.raises(ConfigError, match="has no field 'sliding_windw'"):
        to_transformers(replace(gemma, other={"sliding_windw": 2}))
