"""A new small model and its tokenizer, before training: Qwen2's shape, byte-level BPE of Arabic first."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    set_seed,
)

from arabic_llm.config.model import ModelConfig

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
    given = model.architecture.fields()
    shape = {k: v for k, v in given.items() if k not in ("model_type", "attention_bias")}
    config = Qwen2Config(
        **{"max_position_embeddings": model.max_length, **shape},
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    set_seed(seed)
    fresh: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return fresh
