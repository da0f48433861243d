"""A tiny BERT with random weights and WordPiece of Arabic text: what masked models are tested on."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from arabic_llm.data.sample import corpus

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 500,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
}
# What makes `model=arabert` of it: add model.path=<folder>.
OVERRIDES = (
    "model=arabert",
    f"model.max_length={SHAPE['max_position_embeddings']}",
    *(f"model.architecture.{name}={value}" for name, value in SHAPE.items()),
    "model.architecture.num_key_value_heads=4",
    "model.architecture.head_dim=8",
)


def save(folder: Path, initializer_range: float = 0.5) -> Path:
    """Write the model and its tokenizer as the hub holds them; the same bytes each time.

    A wide initializer gives scores that differ from choice to choice; a narrow one is soon trained.
    """
    tokenizer().save_pretrained(folder)
    torch.manual_seed(17)
    BertForMaskedLM(BertConfig(**SHAPE, initializer_range=initializer_range)).eval().save_pretrained(folder)
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    """Return WordPiece of a few hundred pieces: most words are several."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 (a token of text)
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=SHAPE["vocab_size"], special_tokens=special, show_progress=False
    )
    backend.train_from_iterator((row.words() for row in corpus.documents(300, 1)), trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), special, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{name}_token": token for name, token in names.items()}
    )
