"""Adapters from elsewhere say what PEFT has them say, or are refused in one line that names the reason."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import peft
import pytest
import torch
from conftest import compose_config
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.memory import eval_batching, inference_peak, static, training_ask
from arabic_llm.models import adapter, adapter_files, bases, load, placement
from arabic_llm.profiling import evaluation_memory

TINY = PACKAGE / "models" / "tiny"
IDS = torch.tensor([[5, 6, 7, 99, 400, 1200, 33, 8]])
QUERY = "base_model.model.model.layers.1.self_attn.q_proj"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return (configuration, base with its revision) of the built-in model."""
    config = compose_config("hw=cpu")
    return config, bases.locate(config.model, tmp_path_factory.mktemp("cache"))


def plain():
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)


def ours(here, folder, **more):
    config, base = here
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    return adapter.with_adapter(model, folder, base, **more)


def foreign(folder, **settings):
    """Leave what PEFT writes of an adapter none of whose tensors is zero; return the folder."""
    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | settings
    torch.manual_seed(3)
    model = get_peft_model(plain(), LoraConfig(**settings))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """Return the folder of an adapter as PEFT writes it."""
    return foreign(tmp_path_factory.mktemp("usual"))


def retold(folder, copy, change=None, **said):
    """Copy an adapter with other settings in adapter_config.json, or other tensors; return the copy."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | said))
    if change is not None:
        tensors = load_file(copy / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, copy / "adapter_model.safetensors", {"format": "pt"})
    return copy


KINDS = {
    "regex": {"target_modules": r".*layers\.[24]\..*(q|down)_proj"},
    "patterns": {
        "rank_pattern": {"q_proj": 8, r"layers\.1\.self_attn\.v_proj": 2},
        "alpha_pattern": {"v_proj": 5},
    },
    "one layer": {"layers_to_transform": [2], "exclude_modules": ["v_proj"]},
    "dora": {"use_dora": True, "use_rslora": True},
    "biases": {"bias": "lora_only"},
    "embeddings": {"modules_to_save": ["embed_tokens"]},
    "head": {"modules_to_save": ["lm_head"]},
    "both ends": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "both ends tied": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "low rank on embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "some tokens": {"trainable_token_indices": [5, 6, 1200]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_says_what_peft_has_it_say(here, tiny_codec, tmp_path, kind):
    folder = foreign(tmp_path / "adapter", **KINDS[kind])
    with torch.no_grad():
        before = plain()(IDS).logits
        expected = PeftModel.from_pretrained(plain(), folder)(IDS).logits
        model = ours(here, folder)
        ChatLM(model, tiny_codec, Limits(1, 64, None))  # as it is asked: lm-eval ties weights again
        assert torch.equal(model(IDS).logits, expected)
    assert not torch.allclose(before, expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(f"{QUERY}.lora_B.weight"), rf"lacks {QUERY}\.lora_B\.weight, which"),
        (
            lambda t: t.update({"base_model.model.other.lora_A.weight": torch.ones(1)}),
            r"other\.lora_A\.weight would",
        ),
        (
            lambda t: [t.update({f"module.{n}": t.pop(n)}) for n in [*t]],
            r"module\.base_model.* and 23 more would",
        ),
        (
            lambda t: [t.update({n[17:]: t.pop(n)}) for n in [*t]],
            r"model\.layers\.0.* and 23 more would not be used",
        ),
        (
            lambda t: [t.update({n.replace("_A.", "_A.default."): t.pop(n)}) for n in [*t]],
            "would not be used",
        ),
        (lambda t: t.clear(), "lacks .* and 23 more"),
        (
            lambda t: t.update({f"{QUERY}.lora_A.weight": torch.ones(4, 9)}),
            r"does not fit .*q_proj\.lora_A",
        ),
    ],
    ids=["unset", "unused", "another wrapper", "no prefix", "a name inside", "nothing", "another size"],
)
def test_tensors_that_find_no_place_and_places_without_tensors_are_named(
    here, usual, tmp_path, change, said
):
    with pytest.raises(CheckpointError, match=said):
        ours(here, retold(usual, tmp_path / "copy", change))


def test_a_module_to_save_that_the_file_lacks_is_named(here, usual, tmp_path):
    folder = retold(usual, tmp_path / "copy", modules_to_save=["lm_head"])
    with pytest.raises(CheckpointError, match=r"lacks .*lm_head\.weight"):
        ours(here, folder)


OTHERS = {
    "IA3": peft.IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj"], feedforward_modules=[]),
    "PROMPT_TUNING": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    "PREFIX_TUNING": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    "P_TUNING": peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=2, encoder_hidden_size=8
    ),
    "LOHA": peft.LoHaConfig(task_type="CAUSAL_LM", target_modules=["k_proj"]),
    "VERA": peft.VeraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_kind_of_adapter_is_refused_before_anything_is_read(here, tmp_path, kind):
    get_peft_model(plain(), OTHERS[kind]).save_pretrained(tmp_path)
    config, _ = here
    config = compose_config("task=evaluate", f"adapter.path={tmp_path}")
    with pytest.raises(CheckpointError, match=f"holds an adapter of kind {kind}; LORA is read"):
        adapter.known_hashes(config.model, config.adapter, tmp_path)


@pytest.mark.parametrize(
    "said",
    [{"alora_invocation_tokens": [3]}, {"layer_replication": [[0, 4], [2, 6]]}, {"of_a_later_peft": "x"}],
    ids=lambda said: next(iter(said)),
)
def test_what_is_not_followed_of_an_adapter_is_refused(usual, tmp_path, said):
    with pytest.raises(CheckpointError, match=f"sets {next(iter(said))}=.* which is not followed here"):
        adapter_files.read(retold(usual, tmp_path / "copy", **said))
    assert adapter_files.read(retold(usual, tmp_path / "other", of_a_later_peft=None)).shapes


def test_an_adapter_is_refused_on_another_base_by_its_name_its_place_or_its_weights(here, usual, tmp_path):
    _, base = here
    qwen = bases.Base(base.folder, base.revision, "Qwen/Qwen2-0.5B")
    named = lambda name: adapter_files.Saved(usual, {"base_model_name_or_path": name}, {}, {})  # noqa: E731
    assert adapter_files.refuse_other_base(named(str(TINY)), base) is None
    assert adapter_files.refuse_other_base(named("qwen/qwen2-0.5b"), qwen) is None
    with pytest.raises(
        CheckpointError, match=r"trained on Qwen/Qwen2-0.5B-Instruct, not on Qwen/Qwen2-0.5B;"
    ):
        adapter_files.refuse_other_base(named("Qwen/Qwen2-0.5B-Instruct"), qwen)
    other = shutil.copytree(TINY, tmp_path / "other")
    assert adapter_files.refuse_other_base(named(str(other)), base) is None
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"] += 1  # of the same shape
    save_file(tensors, other / "model.safetensors")
    with pytest.raises(CheckpointError, match="trained on .*other, not on .*tiny; choose that model"):
        adapter_files.refuse_other_base(named(str(other)), base)
    assert "does not say on which base" in adapter_files.refuse_other_base(named(None), base)
    assert "nothing here can be compared" in adapter_files.refuse_other_base(named("/elsewhere/x"), qwen)
    assert "nothing here can be compared" in adapter_files.refuse_other_base(named("x" * 5000), qwen)


def test_an_alpha_beyond_all_numbers_is_one_line(usual, tmp_path):
    folder = retold(usual, tmp_path / "copy", lora_alpha=float("inf"))
    config = compose_config("task=evaluate")
    with pytest.raises(ConfigError, match=rf"adapter.path={folder}: .*infinity"):
        adapter_files.followed(replace(config.adapter, path=str(folder)))


@pytest.mark.parametrize("kind", ["regex", "patterns", "one layer", "dora", "embeddings"])
def test_what_is_planned_for_is_the_adapter_that_is_there(here, tmp_path, kind):
    folder = foreign(tmp_path / "adapter", **KINDS[kind])
    model = ours(here, folder, is_trainable=True)
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    layers = {name: m for name, m in model.named_modules() if isinstance(m, LoraLayer)}
    config, _ = here
    for option in ("lora", "none"):
        asked = compose_config("task=evaluate", f"adapter={option}", f"adapter.path={folder}").adapter
        found = adapter_files.followed(asked)
        assert found.rank == max(layer.r["default"] for layer in layers.values())
        assert found.target_modules == sorted({name.rpartition(".")[2] for name in layers})
        assert found.use_dora is (kind == "dora")
        held = eval_batching.hold(config.model, found, config.hw, adapted=True)
        assert inference_peak.predict(held, inference_peak.ForwardPass(1, 8)).adapters == 4 * sum(trained)
    wanted = training_ask.ask(config.model, found, config.hw, config.task)
    work = training_ask.workload(wanted, 1, checkpointing=False)
    assert static.trained_tensors(work) == Counter(trained)
    measured = evaluation_memory.hold(model)  # as the line of a run that was measured says it
    assert (measured.rank, list(measured.target_modules)) == (found.rank, found.target_modules)


def test_a_kind_of_adapter_that_the_one_there_is_not_is_refused(usual):
    for option in ("dora", "rslora"):
        config = compose_config(f"adapter={option}", f"adapter.path={usual}")
        with pytest.raises(
            CheckpointError, match=f"adapter={option} says use_{option}=true, but .* does not"
        ):
            adapter_files.refuse_other_settings(adapter_files.read(usual), config.adapter)


def test_low_rank_on_the_head_is_refused_where_it_would_not_be_trained(here, tmp_path):
    config, base = here
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    on_head = compose_config("adapter.target_modules=[q_proj,lm_head]").adapter
    with pytest.raises(ConfigError, match=r"adapter\.target_modules: an adapter on the head"):
        adapter.attach(model, on_head, base, 1)


def test_an_adapter_of_ours_names_a_base_that_loads_from_any_folder(
    here, tiny_codec, tmp_path, monkeypatch
):
    config, base = here
    monkeypatch.chdir(base.folder.parent)
    for of, named in (
        (bases.Base(base.folder.relative_to(base.folder.parent), ""), (str(base.folder), None)),
        (bases.Base(base.folder, "", "Qwen/Qwen2-0.5B", "main"), ("Qwen/Qwen2-0.5B", "main")),
        (bases.Base(base.folder, "", "Qwen/Qwen2-0.5B"), (str(base.folder), None)),
    ):
        model = load.base_model(config.model, of, config.adapter, placement.resolve(config.hw))
        tuned = adapter.attach(model, config.adapter, of, 1)
        tuned.save_pretrained(tmp_path / "checkpoint")
        assert adapter_files.read(tmp_path / "checkpoint").config["base_model_name_or_path"] == str(
            base.folder
        )
        adapter.save(tuned, tiny_codec.tokenizer, tmp_path / "adapter", {}, of)
        saved = adapter_files.read(tmp_path / "adapter").config
        assert (saved["base_model_name_or_path"], saved["revision"]) == named
