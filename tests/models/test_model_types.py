"""Any causal model: an adapter is on every linear layer of its text, learns, and comes back as it was."""

import collections
from dataclasses import replace

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    set_seed,
)
from transformers.pytorch_utils import Conv1D

from arabic_llm.config.adapter import AdapterConfig
from arabic_llm.config.hw import Precision
from arabic_llm.errors import ConfigError
from arabic_llm.memory.workload import Attention
from arabic_llm.models import adapter, load
from arabic_llm.models.bases import Base
from arabic_llm.models.shape import of_settings
from arabic_llm.profiling import depth, derive, skeleton
from arabic_llm.training import answer_head
from arabic_llm.training.tiled_head import Logits

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 96,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SEEN = {"max_position_embeddings": 64}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
GATED = ATTENTION | {"gate_proj", "up_proj", "down_proj"}
FUSED = {"gate_up_proj", "down_proj"}
FOUR = {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}
MAMBA = {"in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj"}
FEW_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
# model_type -> (the layers that get an adapter, fields beside SMALL)
TYPES = {
    "llama": (GATED, {}),
    "mistral": (GATED, {"sliding_window": 4}),
    "qwen2": (GATED, {}),
    "qwen3": (GATED, {}),
    "gemma2": (GATED, {"sliding_window": 4}),
    "gemma3_text": (GATED, {"sliding_window": 4, "sliding_window_pattern": 2}),
    "smollm3": (GATED, {}),
    "glm": (ATTENTION | FUSED, {}),
    "glm4": (ATTENTION | FUSED, {}),
    "phi3": ({"qkv_proj", "o_proj"} | FUSED, {}),
    "jais2": (ATTENTION | {"up_proj", "down_proj"}, {}),
    "gpt_neox": (FOUR, {}),
    "bloom": (FOUR, {}),
    "falcon": (FOUR, {"head_dim": None}),
    "gptj": (
        {"q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"},
        {"rotary_dim": 4, **{"head_dim": None}},
    ),
    "modernbert-decoder": ({"q_proj", "k_proj", "v_proj", "Wo", "Wi", "dense"}, {}),
    "laguna": (GATED | {"g_proj"}, FEW_EXPERTS | {"shared_expert_intermediate_size": 16}),
    "gpt2": ({"c_attn", "c_proj", "c_fc"}, {"n_inner": 48}),
    "mixtral": (ATTENTION, {"num_local_experts": 4}),
    "qwen3_moe": (ATTENTION, FEW_EXPERTS),
    "qwen2_moe": (GATED, FEW_EXPERTS | {"shared_expert_intermediate_size": 16}),
    "gpt_oss": (ATTENTION, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_5_text": (
        GATED | MAMBA,
        {
            "layer_types": ["linear_attention", "full_attention"],
            **{"linear_num_key_heads": 2, "linear_num_value_heads": 4},
            **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
        },
    ),
    "gemma4_text": (
        GATED | {"per_layer_input_gate", "per_layer_projection", "per_layer_model_projection"},
        {
            "layer_types": ["sliding_attention", "full_attention"],
            **{"vocab_size_per_layer_input": 96, "hidden_size_per_layer_input": 8},
            **{"global_head_dim": 8, "num_kv_shared_layers": 0},
        },
    ),
}
LINEAR = (torch.nn.Linear, Conv1D)
# What PEFT adapts in no model of that type, or does not find again in a saved adapter; it is said.
LEFT_OUT = collections.defaultdict(tuple, laguna=("shared_experts",))
NEVER = ("decoder", "lm_head", "embed_out", "gate", "shared_expert_gate")
BASE = Base(None, "")


def built(model_type):
    fields = {**SMALL, **SEEN, **TYPES[model_type][1]}
    config = AutoConfig.for_model(model_type, **{k: v for k, v in fields.items() if v is not None})
    set_seed(1)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def lora(*target_modules, dropout=0.0):
    return AdapterConfig(
        "lora",
        **{"rank": 4, "alpha": 8, "dropout": dropout, "dtype": Precision.float32},
        target_modules=list(target_modules or ["all-linear"]),
    )


def adapted(model):
    """Return the names of the layers that have an adapter."""
    names = (name for name, p in model.named_parameters() if p.requires_grad)
    return {name.split(".lora_")[0].removeprefix("base_model.model.") for name in names}


def linear(model):
    """Return the linear layers of a model, by their class."""
    return {
        n for n, m in model.named_modules() if isinstance(m, LINEAR) and n.rpartition(".")[2] not in NEVER
    }


def step(model, ids, optimizer):
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def the_loss_of_labels_alone_is_the_models_own(model):
    ids = torch.arange(20)[None] % 5 + 3
    with torch.no_grad():
        own = model.eval()(input_ids=ids, labels=ids).loss.item()
        answer_head.install(model)
        assert model(input_ids=ids, labels=ids, fused_lm_head=True).loss.item() == pytest.approx(own)


def learns_and_comes_back(tuned, again, folder, tokenizer):
    """Train an adapter a little, save it, and put it on the same base again."""
    ids = torch.arange(40).reshape(2, 20) % 5 + 3

    def says(model):
        with torch.no_grad():
            return model.eval()(input_ids=ids).logits

    optimizer = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=1e-2)
    losses = [step(tuned.train(), ids, optimizer) for _ in range(8)]
    assert losses[-1] < losses[0] - 0.1, losses
    adapter.save(tuned, tokenizer, folder, {})
    before = says(again)
    after = says(adapter.with_adapter(again, folder, BASE))
    assert torch.equal(after, says(tuned))
    assert not torch.equal(after, before)


@pytest.mark.parametrize("model_type", TYPES)
def test_an_adapter_is_on_every_linear_layer_learns_and_comes_back(model_type, tmp_path, tiny_codec):
    expected, _ = TYPES[model_type]
    base = built(model_type)
    every = {name for name in linear(base) if not any(part in name for part in LEFT_OUT[model_type])}
    tuned = adapter.attach(base, lora(), BASE, 1)
    assert adapted(tuned) == every
    assert {name.rpartition(".")[2] for name in every} == expected
    the_loss_of_labels_alone_is_the_models_own(built(model_type))
    with torch.device("meta"):  # a rehearsal scores labels alone where its run does
        rehearsed = built(model_type)
    for model in (built(model_type), rehearsed):
        is_product = answer_head._is_product(model, Logits.of(model.config))
        assert is_product == (model_type != "modernbert-decoder")  # which has one layer more
    learns_and_comes_back(tuned, built(model_type), tmp_path / "adapter", tiny_codec.tokenizer)


@pytest.mark.parametrize("model_type", ["gemma2", "recurrent_gemma", "xlstm"])
def test_a_cap_of_logits_is_found_by_each_name_that_it_goes_by(model_type):
    assert Logits.of(AutoConfig.for_model(model_type)).cap == 30


def test_the_loss_of_labels_alone_is_that_of_capped_logits():
    own = {"block_types": ["recurrent", "attention"], "attention_window_size": 16, "lru_width": 32}
    config = AutoConfig.for_model("recurrent_gemma", **SMALL, **own)
    set_seed(1)
    the_loss_of_labels_alone_is_the_models_own(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe"])
def test_routed_experts_have_an_adapter_where_they_are_asked_for(model_type, tmp_path, tiny_codec):
    asked = ("all-linear", "experts.gate_up_proj", "experts.down_proj")
    tuned = adapter.attach(built(model_type), lora(*asked), BASE, 1)
    assert {name.rpartition("layers.0.")[2] for name in adapted(tuned) if "layers.0" in name} > {
        f"self_attn.{name}" for name in ATTENTION
    }
    assert any("experts" in name for name in adapted(tuned))
    learns_and_comes_back(tuned, built(model_type), tmp_path / "adapter", tiny_codec.tokenizer)
    with pytest.raises(ConfigError, match=r"adapter.dropout=0.05: PEFT has none for routed experts"):
        adapter.attach(built(model_type), lora(*asked, dropout=0.05), BASE, 1)


def test_layers_that_peft_takes_for_experts_are_left_out_and_named(caplog):
    caplog.set_level("INFO")
    config = AutoConfig.for_model("glm4_moe", **SMALL, **SEEN, n_routed_experts=4, moe_intermediate_size=16)
    model = AutoModelForCausalLM.from_config(config)
    assert {name.rpartition(".")[2] for name in linear(model)} == GATED  # the first layer has no experts
    tuned = adapter.attach(model, lora(), BASE, 1)
    assert {name.rpartition(".")[2] for name in adapted(tuned)} == ATTENTION
    (said,) = (record.getMessage() for record in caplog.records if "experts" in record.getMessage())
    assert said == (
        "adapter: none on mlp.gate_proj, mlp.up_proj, mlp.down_proj, shared_experts.gate_proj,"
        " shared_experts.up_proj, shared_experts.down_proj: PEFT takes their names for those of routed"
        " experts"
    )


@pytest.mark.parametrize(
    ("model_type", "name", "why"),
    [
        ("mamba", "mixer.out_proj", "PEFT adapts none of them in a mamba"),
        ("deepseek_v4", "self_attn.o_a_proj", "their own code does more than a product"),
    ],
)
def test_layers_that_peft_would_break_are_left_out_and_named(model_type, name, why, caplog):
    caplog.set_level("INFO")
    few = FEW_EXPERTS | {"n_routed_experts": 4, "q_lora_rank": 8, "state_size": 8}
    known = CONFIG_MAPPING[model_type]().to_dict()
    fields = {**SMALL, **SEEN, **{key: value for key, value in few.items() if key in known}}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **fields))
    on = adapted(adapter.attach(model, lora(), BASE, 1))
    assert on
    assert not [layer for layer in on if layer.endswith(name)]
    assert f"adapter: none on {name}: {why}" in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("name", ["shared_expert_gate", "gate"])
def test_a_router_is_never_adapted(name):
    with pytest.raises(ConfigError, match=r"^adapter.target_modules: "):
        adapter.attach(built("qwen2_moe"), lora("q_proj", name), BASE, 1)


def test_a_tower_of_vision_has_no_adapter():
    text = {**SMALL, **SEEN, "model_type": "gemma3_text"}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gemma3", text_config=text, vision_config={**vision, "image_size": 28, "patch_size": 14}
    )
    model = AutoModelForCausalLM.from_config(config)
    assert any("vision_tower" in name and name.endswith("q_proj") for name in linear(model))
    with pytest.raises(ConfigError, match="no 'out_proj'"):  # which the tower alone has
        adapter.attach(model, lora("q_proj", "out_proj"), BASE, 1)
    for wanted in ((), ("q_proj", "down_proj")):
        found = adapted(adapter.attach(AutoModelForCausalLM.from_config(config), lora(*wanted), BASE, 1))
        assert {name.rpartition(".")[2] for name in found} == (set(wanted) or GATED)
        assert all("language_model.layers" in name for name in found)


@pytest.mark.parametrize(
    "model_type", ["phi3", "glm4", "gpt_neox", "gpt2", "mixtral", "qwen3_5_text", "gemma4_text", "jais2"]
)
def test_layers_in_four_bits_have_an_adapter_too(model_type, tmp_path, tiny_codec):
    built(model_type).save_pretrained(tmp_path / "base")

    def in_four_bits():
        quantized = load.nf4(torch.float32)
        model = AutoModelForCausalLM.from_pretrained(
            tmp_path / "base", quantization_config=quantized, dtype=torch.float32
        )
        load._never_repack(model)  # as base_model does on a CPU
        return model

    base = in_four_bits()
    four_bits = {name for name, m in base.named_modules() if type(m).__name__ == "Linear4bit"}
    every = linear(base)
    tuned = adapter.attach(base, lora(), BASE, 1)
    assert adapted(tuned) == every
    assert four_bits == every
    learns_and_comes_back(tuned, in_four_bits(), tmp_path / "adapter", tiny_codec.tokenizer)


@pytest.mark.parametrize("model_type", ["distilbert", "roberta", "gpt2"])
def test_a_head_of_classes_is_trained_whole_and_has_no_adapter(model_type):
    fields = {**SMALL, "num_labels": 3, "num_key_value_heads": None, "head_dim": None}
    fields = {name: value for name, value in fields.items() if value is not None}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(model_type, **fields))
    names = adapted(adapter.attach(model, lora(), BASE, 1))
    of_head = {name for name in names if "classifier" in name or "score" in name}
    assert of_head
    assert all(".modules_to_save.default." in name for name in of_head)
    assert {name for name in names if "modules_to_save" in name} == of_head


@pytest.mark.parametrize("model_type", sorted(TYPES))
def test_a_model_is_planned_with_the_adapter_that_it_trains_with(model_type):
    fields = {**SMALL, **SEEN, **TYPES[model_type][1], "model_type": model_type}
    shape = of_settings({name: value for name, value in fields.items() if value is not None})
    work = replace(
        derive.regimes()["llama efficient_padded nf4 plain checkpointing tiled autocast"],
        architecture=shape,
        **{"batch_size": 2, "tokens": 16, "rank": 4, "target_modules": ("all-linear",)},
    )
    is_old = model_type in ("falcon", "gptj")  # whose classes are chosen by the name of the attention
    model = skeleton.build(replace(work, attention=Attention.eager, makes_masks=True) if is_old else work)
    assert adapted(model) == adapted(adapter.attach(built(model_type), lora(), BASE, 1))
    held = sum(p.nbytes for p in {id(p): p for p in model.parameters()}.values())
    assert depth.peak(work).allocated > held
