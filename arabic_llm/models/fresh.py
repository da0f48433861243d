"""A new small model of the shape in its YAML, and its tokenizer: byte-level BPE of Arabic first."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    set_seed,
)

from arabic_llm.config.model import ModelConfig
from arabic_llm.models.shape import to_transformers

# Words with their marks (a diacritised word stays one word), single digits, punctuation, spaces.
_PIECES = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
_ROLE_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """Return a byte-level BPE tokenizer learned from the texts; every byte has a token."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_ROLE_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    end_of_text, turn, stop = _ROLE_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=stop,
        pad_token=end_of_text,
        additional_special_tokens=[turn],
        clean_up_tokenization_spaces=False,
    )


def new_model(model: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Return a model of the configured shape with random float32 weights."""
    shape = model.architecture
    config = to_transformers(
        shape,
        max_position_embeddings=shape.max_position_embeddings or model.max_length,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    set_seed(seed)
    fresh: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return fresh
