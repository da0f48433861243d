"""The closed form counts what the model cards state, and what the real code builds."""

import pytest
import torch
from conftest import model_config
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from arabic_llm.config import paths
from arabic_llm.config.adapter import Quantization
from arabic_llm.config.model import ModelKind
from arabic_llm.memory.weights import adapter_parameters, count, weight_bytes
from arabic_llm.models import families

PUBLISHED = {  # parameters, as the hub counts the weights of each repository
    "qwen2_0_5b": 494_032_768,
    "qwen2_1_5b": 1_543_714_304,
    "qwen2_7b": 7_615_616_512,
    "qwen2_5_7b": 7_615_616_512,
    "qwen2_5_14b": 14_770_033_664,
    "qwen2_5_32b": 32_763_876_352,
    "llama2_7b": 6_738_415_616,
    "llama3_8b": 8_030_261_248,
    "gemma2_2b": 2_614_341_888,
    "gemma2_9b": 9_241_705_984,
    "glm4_9b": 9_399_951_360,
    "qwen3_0_6b": 596_049_920,
    "qwen3_1_7b": 1_720_574_976,
    "qwen3_4b": 4_022_468_096,
    "qwen3_4b_instruct": 4_022_468_096,
    "qwen3_8b": 8_190_735_360,
    "gemma3_1b": 999_885_952,
    "gemma3_4b": 3_880_263_168,  # of 4,300,079,472, which are with the tower of vision
    "llama3_2_1b": 1_235_814_400,
    "llama3_2_3b": 3_212_749_824,
    "llama3_1_8b": 8_030_261_248,
    "allam_7b": 7_000_559_616,
    "fanar_9b": 8_783_871_488,
    "silma_9b": 9_241_705_984,
    "acegpt_v2_8b": 8_030_261_248,
    "smollm2_135m": 134_515_008,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_is_the_published_one(name):
    assert count(model_config(name).architecture).total == PUBLISHED[name]


GIB = {  # of weights in NF4, tables in 16 bits: to a tenth
    **{"qwen3_0_6b": 0.5, "qwen3_1_7b": 1.3, "qwen3_4b": 2.5, "qwen3_8b": 5.7},
    **{"gemma3_1b": 0.9, "gemma3_4b": 2.8, "llama3_2_1b": 1.0, "llama3_2_3b": 2.1, "llama3_1_8b": 5.3},
    **{"allam_7b": 4.1, "fanar_9b": 4.9, "silma_9b": 5.7, "acegpt_v2_8b": 5.3, "smollm2_135m": 0.1},
}


@pytest.mark.parametrize("name", GIB)
def test_a_model_in_nf4_takes_about_what_people_count_on(name):
    found = weight_bytes(count(model_config(name).architecture), Quantization.nf4, 2) / 2**30
    assert found == pytest.approx(GIB[name], abs=0.06)


def on_meta(name):
    model = model_config(name)
    auto = AutoModelForCausalLM if model.kind is ModelKind.causal else AutoModelForMaskedLM
    with torch.device("meta"):
        return auto.from_config(AutoConfig.for_model(**model.architecture.fields()))


NAMED = sorted({path.stem for path in paths.CONF.glob("model/*.yaml")} - {"auto", "local"})


@pytest.mark.parametrize("name", NAMED)
def test_the_real_code_builds_as_many_and_has_the_layers_we_adapt(name):
    model, shape = on_meta(name), model_config(name).architecture
    assert sum(p.numel() for p in model.parameters()) == count(shape).total
    linear = [
        (n, m)
        for n, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and not n.startswith(("lm_head", "cls.predictions.decoder"))
    ]
    assert {n.rpartition(".")[2] for n, _ in linear} == set(families.of(shape).modules)
    assert sum(m.weight.numel() for _, m in linear) == count(shape).linear
    assert sum(8 * sum(m.weight.shape) for _, m in linear) == adapter_parameters(shape, rank=8)


def test_qwen2_7b_in_nf4_takes_what_was_measured():
    # linear layers 3210 MiB, embedding and head 1039.5 MiB each in bfloat16 (the project's facts)
    shape = model_config("qwen2_7b").architecture
    gib = weight_bytes(count(shape), Quantization.nf4, 2) / 2**30
    assert gib == pytest.approx((3210 + 2 * 1039.5) / 1024, rel=0.001)
