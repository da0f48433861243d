"""GGUF files, asked by llama.cpp itself: they answer, split texts and stop as in transformers."""

import json
import re
import sys
from dataclasses import replace

import pytest
import torch
from conftest import DATA, needs_data
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from tokenizers_like import codec_of
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from arabic_llm.config.paths import PACKAGE
from arabic_llm.config.task import GgufType
from arabic_llm.data.sample import corpus
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError, ModelError
from arabic_llm.export import (
    gguf_agreement,
    gguf_file,
    gguf_shape,
    gguf_vocabulary,
    llama_cpp,
    logits,
    probes,
)
from arabic_llm.export.gguf_agreement import GgufAgreement
from arabic_llm.export.llama_cpp import Inquiry
from arabic_llm.export.merging import Merged

TINY = PACKAGE / "models" / "tiny"
SHAPE = {
    **{"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "vocab_size": 4096},
    "initializer_range": 0.2,
}
OF = {
    "llama": {"tie_word_embeddings": False, "attention_bias": True},
    "qwen3": {"tie_word_embeddings": True},
    "gemma2": {"sliding_window": 16, "query_pre_attn_scalar": 32},
    "gemma3_text": {"sliding_window": 16, "query_pre_attn_scalar": 32},
}
needs_llama_cpp = pytest.mark.skipif(not llama_cpp.is_here(), reason="xllamacpp is not installed")


def random_model(folder, family, **settings):
    """Return a model of a family with random weights, saved in a folder."""
    torch.manual_seed(3)
    config = CONFIG_MAPPING[family](**SHAPE | OF.get(family, {}) | settings)
    model = AutoModelForCausalLM.from_config(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


def asked_in(folder, codec, prompts, texts=("a b",), kind=GgufType.f32):
    """Return what llama.cpp answers with a folder's model, written as GGUF."""
    merged = Merged(folder, None, is_4bit=False, dtype=None)
    file = folder / "model.gguf"
    gguf_file.write(file, gguf_file.model("a model", folder, merged, codec), kind)
    return llama_cpp.ask(file, Inquiry(texts, prompts, [codec.stop_id], []), folder)


@needs_llama_cpp
@pytest.mark.parametrize("family", OF)
def test_every_family_answers_in_llama_cpp_as_in_transformers(family, tmp_path, tiny_codec):
    model = random_model(tmp_path, family)
    draw = torch.Generator().manual_seed(5)
    sizes = (40, 40, 5, 6, 7, 3)  # some longer than a window
    prompts = [torch.randint(4096, (size,), generator=draw).tolist() for size in sizes]
    found = asked_in(tmp_path, tiny_codec, prompts)
    for prompt, answer in zip(prompts, found.answers, strict=True):
        assert len(answer) == llama_cpp.NUM_ANSWERED or answer[-1] in (tiny_codec.stop_id, 0)
        assert max(logits.gaps(model, [prompt], [answer])[0]) == 0
    assert len({token for answer in found.answers for token in answer}) > len(prompts) / 2
    assert found.stopped == [True]


def bytes_codec(splits: str) -> Codec:
    """Return a codec on merges of bytes that finds words as a tokenizer of llama.cpp's does."""
    like = codec_of("llama3_8b")
    rules = json.loads(like.tokenizer.backend_tokenizer.to_str())
    first, level = rules["pre_tokenizer"]["pretokenizers"]
    pattern, is_gpt2, ignores = next(key for key, name in gguf_vocabulary._SPLITS.items() if name == splits)
    first["pattern"] = {"Regex": pattern}
    if splits == "smollm":
        first = {"type": "Digits", "individual_digits": True}
    level["use_regex"] = is_gpt2
    rules["pre_tokenizer"]["pretokenizers"] = [first, level] if pattern else [level]
    rules["model"]["ignore_merges"] = ignores
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)),
        **{"bos_token": "<|begin_of_text|>", "pad_token": "<|end_of_text|>", "eos_token": "<|eot_id|>"},
    )
    return replace(like, tokenizer=tokenizer)


def pieces_codec(*, adds_space: bool) -> Codec:
    """Return a codec on merges of pieces with bytes to fall back to, as Llama 2's and Gemma's are."""
    like = codec_of("llama2_7b")
    unknown = {"unk_token": "<unk>", "fuse_unk": True}
    backend = Tokenizer(models.BPE(byte_fallback=True, **unknown))
    steps = [normalizers.Prepend("\u2581")] if adds_space else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "\u2581")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=special, show_progress=False)
    words = (" ".join(row.words().split()) for row in corpus.documents(200, 1))
    backend.train_from_iterator((word for text in words for word in text.split()), trainer)
    rules = json.loads(backend.to_str())
    rules["added_tokens"] = rules["added_tokens"][:3]  # bytes are no tokens that stand in texts
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)),
        **{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"},
    )
    return Codec(tokenizer, like.template, 2, 2, (), "llama2")


@needs_llama_cpp
@pytest.mark.parametrize("name", ["llama-bpe", "smaug-bpe", "smollm", "gpt-2", "pieces", "pieces, space"])
def test_every_kind_of_vocabulary_splits_texts_in_llama_cpp_as_in_transformers(name, tmp_path):
    codec = pieces_codec(adds_space="space" in name) if "pieces" in name else bytes_codec(name)
    size = len(codec.tokenizer)
    random_model(tmp_path, "llama", vocab_size=size, num_hidden_layers=1, hidden_size=32, head_dim=8)
    texts = [probes.composed(text) for text in probes.texts()[::5]]
    found = asked_in(tmp_path, codec, [[5, 6, 7]], texts)
    ours = codec.tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert found.tokens == ours
    assert len(texts) == 200
    assert found.opened == codec.tokenizer(texts[0])["input_ids"]


@needs_data
@needs_llama_cpp
def test_the_vocabulary_of_qwen2_splits_composed_texts_as_in_training(tmp_path):
    codec = codec_of("qwen2_7b")
    random_model(tmp_path, "qwen2", vocab_size=151936, num_hidden_layers=1, hidden_size=16, head_dim=4)
    marked = (DATA / "tashkeela" / "val.txt").read_text(encoding="utf-8").splitlines()[:100]
    texts = [*probes.texts()[::10], *marked]
    found = asked_in(tmp_path, codec, [[5, 6]], [*map(probes.composed, texts), *texts], GgufType.q8_0)
    ours = codec.tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert found.tokens[: len(texts)] == ours
    # What clients must do themselves: as they are, most lines with marks are other tokens.
    unlike = sum(a != b for a, b in zip(found.tokens[-100:], ours[-100:], strict=True))
    assert unlike > 80


def altered(codec, change):
    """Return the codec's tokenizer with other rules."""
    rules = json.loads(codec.tokenizer.backend_tokenizer.to_str())
    change(rules)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(rules)))


def set_pattern(rules):
    rules["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\p{L}{1,4}|\s|."}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_pattern, r"words are found by the pattern '\\\\p\{L\}\{1,4\}.*llama.cpp's are those of qwen2"),
        (
            lambda r: r["pre_tokenizer"]["pretokenizers"].reverse(),
            "words are found by ByteLevel, Split, and llama.cpp",
        ),
        (lambda r: r.update(normalizer={"type": "Lowercase"}), "changes texts by Lowercase first"),
        (lambda r: r.update(normalizer={"type": "NFKC"}), "changes texts by NFKC first"),
        (
            lambda r: r.update(pre_tokenizer={"type": "Whitespace"}),
            "words are found by Whitespace, and llama.cpp's",
        ),
        (
            lambda r: r["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
            "puts a space before a text",
        ),
    ],
    ids=["pattern", "order", "lowercase", "nfkc", "words", "space"],
)
def test_a_vocabulary_that_no_gguf_file_reproduces_is_refused_by_name(change, said, tiny_codec):
    with pytest.raises(ConfigError, match=said):
        gguf_vocabulary.vocabulary(altered(tiny_codec, change), 4096)


def test_a_table_with_more_rows_than_tokens_has_rows_that_are_never_used(tiny_codec):
    found = gguf_vocabulary.vocabulary(tiny_codec.tokenizer, 4100)
    assert found.tokens[4096:] == [f"[PAD{number}]" for number in range(4096, 4100)]
    assert set(found.types[4096:]) == {gguf_vocabulary.UNUSED}
    assert found.types[:3] == [gguf_vocabulary.CONTROL] * 3
    with pytest.raises(ConfigError, match=r"it has 4,096 tokens and the model's table 4,095 rows"):
        gguf_vocabulary.vocabulary(tiny_codec.tokenizer, 4095)


@pytest.mark.parametrize(
    ("family", "settings", "said"),
    [
        ("mistral", {}, "model_type=mistral is none of llama, qwen2, .*convert_hf_to_gguf.py MERGED"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            r"positions are scaled \(rope_type=linear\)",
        ),
        ("gemma2", {"query_pre_attn_scalar": 64}, "query_pre_attn_scalar=64 is not its head_dim=32"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2},
            "its layers see windows of a text otherwise than llama.cpp",
        ),
    ],
)
def test_a_model_that_llama_cpp_would_compute_otherwise_is_refused(family, settings, said):
    with pytest.raises(ConfigError, match=said):
        gguf_shape.settings(CONFIG_MAPPING[family](**SHAPE | OF.get(family, {}) | settings))


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    said = re.escape("a GGUF file needs the library gguf: pip install 'arabic-llm[export]'")
    with pytest.raises(ConfigError, match=said):
        gguf_file.library()


def test_a_file_that_says_other_things_is_refused_with_the_numbers():
    found = GgufAgreement(1000, 0, 64, 60, largest_gap=0.5, common_gap=0.5, spread=2.0)
    gguf_agreement.refuse(found, GgufType.q8_0)
    with pytest.raises(ModelError, match="more than one token of 100 0.7 of a logit below the model's own"):
        gguf_agreement.refuse(replace(found, common_gap=0.7), GgufType.q8_0)
    with pytest.raises(
        ModelError, match="a token 0.5 of a logit below the model's own, and 0.004 is rounding"
    ):
        gguf_agreement.refuse(found, GgufType.f32)


@needs_llama_cpp
def test_a_file_of_another_vocabulary_is_refused_by_its_first_text(tmp_path, tiny_codec):
    merged = Merged(TINY, None, is_4bit=False, dtype=None)
    of = gguf_file.model("tiny", TINY, merged, tiny_codec)
    tokens = list(of.vocabulary.tokens)
    tokens[300], tokens[301] = tokens[301], tokens[300]
    wrong = replace(of, vocabulary=replace(of.vocabulary, tokens=tokens))
    gguf_file.write(tmp_path / "a.gguf", wrong, GgufType.q8_0)
    with pytest.raises(ModelError, match=r"a.gguf: llama.cpp makes other tokens of '"):
        gguf_agreement.between(
            tmp_path / "a.gguf", tiny_codec, [2], (lambda *_: [], 1.0), tmp_path, GgufType.q8_0
        )


@needs_llama_cpp
def test_one_token_of_a_hundred_may_be_far_off_with_8_bits_alone(tmp_path, tiny_codec):
    merged = Merged(TINY, None, is_4bit=False, dtype=None)
    gguf_file.write(tmp_path / "a.gguf", gguf_file.model("tiny", TINY, merged, tiny_codec), GgufType.q8_0)
    stops = [tiny_codec.tokenizer.convert_tokens_to_ids("<|im_end|>")]

    def found(num_far, kind):
        below = [[4.0 if number < num_far else 0.1] for number in range(200)]
        return gguf_agreement.between(
            *(tmp_path / "a.gguf", tiny_codec, stops, (lambda *_: below, 1.0), tmp_path, kind)
        )

    assert (found(2, GgufType.q8_0).largest_gap, found(2, GgufType.q8_0).common_gap) == (4.0, 0.1)
    assert found(3, GgufType.q8_0).common_gap == 4.0
    assert found(1, GgufType.f16).common_gap == 4.0


@needs_llama_cpp
def test_what_is_no_model_is_one_line(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + b"\1" * 100)
    with pytest.raises(ModelError, match=r"llama.cpp cannot load .*a.gguf: "):
        llama_cpp.ask(tmp_path / "a.gguf", Inquiry(["a"], [[1]], [], []), tmp_path)
