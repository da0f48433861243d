"""Tokenizers without torch: those that AutoTokenizer would give, for every family we name."""

import copy
import json
import subprocess
import sys

import pytest
from conftest import DATA, needs_data
from tokenizers_like import EVERY, codec_of
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    GlmConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import CheckpointError
from arabic_llm.models import tokenization
from arabic_llm.models.bases import Base

TEXT = "السَّلامُ عليكم، 2026 و٣ don't\n\n  <|im_end|> Hello 你好 \u200c😀"
# family -> its configuration, and what tokenizer_config.json of its hub repositories calls the class
FILES = {
    "qwen2_7b": (Qwen2Config, "Qwen2Tokenizer"),
    "qwen2_5_7b": (Qwen2Config, "Qwen2TokenizerFast"),
    "llama2_7b": (LlamaConfig, "PreTrainedTokenizerFast"),
    "llama3_8b": (LlamaConfig, "PreTrainedTokenizerFast"),
    "gemma2_2b": (Gemma2Config, "GemmaTokenizer"),
    "glm4_9b": (GlmConfig, "PreTrainedTokenizerFast"),
    "smollm2_135m": (LlamaConfig, "TokenizersBackend"),  # as it comes of a GGUF file
}
TEXT = "السَّلامُ عليكم، 2026 و٣ don't\n\n  <|im_end|> Hello 你好 \u200c😀"


def _folder(name, tmp_path):
    """Write the tokenizer of a family as its hub repository holds it."""
    config, named = FILES[name]
    tokenizer = copy.deepcopy(codec_of(name).tokenizer)
    tokenizer.backend_tokenizer.no_padding()  # which another test of this process may have asked for
    tokenizer.save_pretrained(tmp_path)
    config().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "tokenizer_class": named}), "utf-8")
    return tmp_path


def _needs_no_torch(folder):
    """Load a tokenizer in a process of its own and say whether torch came along."""
    said = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; from pathlib import Path; from arabic_llm.models import tokenization;"
            " tokenization.load(tokenization.Base(Path(sys.argv[1]), '')); print('torch' in sys.modules)",
            str(folder),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip() == "False"


def _is_the_same(folder):
    own, theirs = tokenization.load(Base(folder, "")), AutoTokenizer.from_pretrained(folder)
    assert type(own) is type(theirs)
    assert own.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert own.special_tokens_map == theirs.special_tokens_map
    assert own.init_kwargs == theirs.init_kwargs  # what is saved with an adapter
    assert own(TEXT)["input_ids"] == theirs(TEXT)["input_ids"]


@pytest.mark.parametrize("name", FILES)
def test_a_tokenizer_is_the_one_transformers_chooses(name, tmp_path):
    assert {*FILES, "tiny"} <= set(EVERY)  # the others are like one of these
    folder = _folder(name, tmp_path)
    _is_the_same(folder)
    assert tokenization._known_class(folder) is not None


@pytest.mark.parametrize(("name", "config"), [("gemma2_2b", Gemma3TextConfig), ("qwen2_7b", Qwen3Config)])
def test_the_tokenizer_of_a_later_model_of_a_family_is_the_one_transformers_chooses(name, config, tmp_path):
    folder = _folder(name, tmp_path)
    config().save_pretrained(folder)
    _is_the_same(folder)
    assert tokenization._known_class(folder) is not None


def test_the_built_in_tokenizer_is_the_one_transformers_chooses():
    _is_the_same(PACKAGE / "models" / "tiny")


def test_a_tokenizer_of_bert_is_the_one_transformers_chooses(tiny_bert_folder):
    _is_the_same(tiny_bert_folder)


@needs_data
def test_the_tokenizer_of_qwen2_is_built_of_its_merges_without_torch():
    _is_the_same(DATA / "tokenizers" / "qwen2")
    assert _needs_no_torch(DATA / "tokenizers" / "qwen2")


@pytest.mark.parametrize("name", ["gemma2_2b", "glm4_9b"])
def test_a_known_tokenizer_needs_no_torch(name, tmp_path):
    assert _needs_no_torch(_folder(name, tmp_path))


def test_a_tokenizer_of_a_family_that_is_not_known_is_left_to_transformers(tmp_path):
    MistralConfig().save_pretrained(_folder("llama2_7b", tmp_path))
    assert tokenization._known_class(tmp_path) is None
    _is_the_same(tmp_path)


def test_a_token_of_any_text_without_an_embedding_is_refused_and_a_special_one_is_not(tmp_path):
    folder = _folder("smollm2_135m", tmp_path)
    size = len(tokenization.load(Base(folder, "")))
    shape = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(shape | {"vocab_size": size}), "utf-8")
    extended = tokenization.load(Base(folder, ""))
    extended.add_tokens(["<picture>"], special_tokens=True)
    extended.save_pretrained(folder)
    assert len(tokenization.load(Base(folder, ""))) == size + 1
    extended.add_tokens(["<tool>"])
    extended.save_pretrained(folder)
    with pytest.raises(CheckpointError, match=rf"'<tool>' as token {size + 1}, .*vocab_size is {size}:"):
        tokenization.load(Base(folder, ""))
