"""An adapter merged one tensor at a time is what PEFT computes beside its base, whatever its kind."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from arabic_llm import files
from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import CheckpointError
from arabic_llm.export import streamed, tensor_files
from arabic_llm.export.merging import Merged
from arabic_llm.models import load

TINY = PACKAGE / "models" / "tiny"
SOME = ["q_proj", "down_proj"]
IDS = torch.tensor([[1, 5, 70, 300, 9, 4001, 22]])
KINDS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 3}},
    "biases": {"bias": "lora_only"},
    "bias of lora": {"target_modules": ["q_proj"], "lora_bias": True},
    "table, head of its own": {"modules_to_save": ["embed_tokens"]},
    "table, tied": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "table and head": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "lora on the table": {"target_modules": [*SOME, "embed_tokens"]},
    "lora on the table, tied": {"target_modules": [*SOME, "embed_tokens"], "ensure_weight_tying": True},
    "rows of the table": {"trainable_token_indices": {"embed_tokens": [5, 70]}},
    "new rows": {"trainable_token_indices": {"embed_tokens": [4096, 4097, 4098, 4099]}, "rows": 4100},
    "4 bits": {"is_4bit": True},
    "4 bits, dora": {"is_4bit": True, "use_dora": True},
}
TIED = set(KINDS) - {
    "table, head of its own",
    "table and head",
    "lora on the table",
    "lora on the table, tied",
}


def adapted(folder: Path, *, is_4bit=False, rows=4096, **settings):
    """Return tiny with an adapter that has learned something, saved in a folder."""
    options = {"quantization_config": load.nf4(torch.float32)} if is_4bit else {}
    base = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32, **options)
    load._never_repack(base)
    if rows > base.config.vocab_size:
        base.resize_token_embeddings(rows, mean_resizing=False)
    torch.manual_seed(0)
    given = {"target_modules": SOME, "r": 4, "lora_alpha": 7, "task_type": "CAUSAL_LM", **settings}
    model = get_peft_model(base, LoraConfig(**given)).eval()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            size = 0.003 if "magnitude" in name else 0.03
            parameter.data += size * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


def written(folder: Path, merged: Merged, shard_bytes: int = 2**20):
    """Return the merged model as transformers loads it."""
    folder.mkdir()
    tensor_files.write(folder, merged.of, merged.read, shard_bytes)
    changed = {"tie_word_embeddings": merged.is_tied, "vocab_size": merged.vocab_size}
    files.write_json(folder / "config.json", files.read_json(TINY / "config.json") | changed)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_say_what_base_and_adapter_say(kind, tmp_path):
    settings = dict(KINDS[kind])
    is_4bit = settings.get("is_4bit", False)
    with torch.no_grad():
        model = adapted(tmp_path / "adapter", **settings)
        merged = Merged(TINY, tmp_path / "adapter", is_4bit=is_4bit, dtype=torch.float32)
        again = written(tmp_path / "merged", merged)(IDS).logits
        ours = model(IDS).logits
        with model.disable_adapter():
            learned = (model(IDS).logits - ours).abs().max()
        by_blocks = streamed.model(TINY, tmp_path / "adapter", is_4bit=is_4bit)
        assert (by_blocks(IDS).logits - ours).abs().max() < 1e-6  # the same sums, but of a tied head
        assert all(parameter.is_meta for parameter in by_blocks.parameters())
    assert learned > 0.1
    # logits near 14 in float32: sums in another order
    assert (again - ours).abs().max() < 2e-5
    assert merged.is_tied == (kind in TIED)


def test_weights_are_written_into_files_of_a_size_with_an_index(tmp_path):
    merged = Merged(TINY, None, is_4bit=False, dtype=None)
    tensor_files.write(tmp_path, merged.of, merged.read, 2**20)
    parts = sorted(tmp_path.glob("model-*.safetensors"))
    table = 2 * 4096 * 192  # in float16: alone larger than a file is to be
    sizes = [path.stat().st_size for path in parts]
    assert max(sizes) < table + 2**12
    assert sum(size > 2**20 + 2**12 for size in sizes) == 1
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in parts}
    assert index["metadata"]["total_size"] == sum(kind.num_bytes for kind in merged.of.values())
    assert parts[0].name == f"model-00001-of-{len(parts):05}.safetensors"
    again = tensor_files.Weights(tmp_path)
    for name in merged.of:
        assert torch.equal(again.read(name), merged.read(name))


def test_an_adapter_of_other_layers_is_refused(tmp_path):
    adapted(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = {
        name.replace("layers.5.", "layers.6."): tensor_files.Weights(tmp_path, [file.name]).read(name)
        for name in tensor_files.Weights(tmp_path, [file.name]).of
    }
    save_file(tensors, file)
    said = r"the base has no model.layers.6.mlp.down_proj; the adapter is of another one"
    with pytest.raises(CheckpointError, match=said):
        Merged(TINY, tmp_path, is_4bit=False, dtype=None)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda data: data[:-1000],
            "ends in the midst of model.layers.5.self_attn.v_proj.weight; take the file again",
        ),
        (lambda data: data[:200], "no tensors can be read"),
        (lambda data: data.replace(b'"F16"', b'"F4X"'), "holds numbers of type 'F4X'; those of F64, F32"),
    ],
    ids=["cut", "torn", "numbers"],
)
def test_damaged_weights_are_named(damage, said, tmp_path):
    data = (TINY / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(damage(data))
    with pytest.raises(CheckpointError, match=re.escape(said)):
        weights = tensor_files.Weights(tmp_path)
        list(map(weights.read, weights.of))


def peak_bytes() -> int:
    line = next(
        one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024


def test_merging_holds_no_more_than_two_files_of_weights(tmp_path):
    """As for a base of many large files: 16 matrices in 4 files, each of them changed by an adapter."""
    shape, shards = (2048, 2048), 4
    config = files.read_json(TINY / "config.json")
    wide = {"hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 16, "vocab_size": 64}
    heads = {"num_attention_heads": 16, "num_key_value_heads": 1, "head_dim": 128, "layer_types": None}
    files.write_json(tmp_path / "config.json", config | wide | heads)
    names = [f"model.layers.{number}.mlp.down_proj" for number in range(16)]
    where = {}
    for shard in range(shards):
        own = {f"{name}.weight": torch.zeros(shape) for name in names[shard::shards]}
        if shard == 0:
            own["model.embed_tokens.weight"] = torch.zeros(64, 2048)
        save_file(own, tmp_path / f"model-{shard}.safetensors")
        where |= dict.fromkeys(own, f"model-{shard}.safetensors")
    files.write_json(tmp_path / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    low_rank = {}
    for name in names:
        low_rank[f"base_model.model.{name}.lora_A.weight"] = torch.ones(4, 2048)
        low_rank[f"base_model.model.{name}.lora_B.weight"] = torch.ones(2048, 4)
    save_file(low_rank, adapter / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 4}
    files.write_json(adapter / "adapter_config.json", settings | {"target_modules": ["down_proj"]})
    del own, low_rank
    largest = max(path.stat().st_size for path in tmp_path.glob("model-*.safetensors"))
    assert largest > 2**26
    merged = Merged(tmp_path, adapter, is_4bit=False, dtype=torch.bfloat16)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    tensor_files.write(tmp_path / "merged", merged.of, merged.read, largest // 2)
    assert peak_bytes() - before < 2 * largest
    assert float(tensor_files.Weights(tmp_path / "merged").read(f"{names[3]}.weight")[7, 7]) == 4.0
    shutil.rmtree(tmp_path / "merged")
