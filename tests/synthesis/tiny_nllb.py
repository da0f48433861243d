"""A tiny random M2M100 with NLLB's tokenizer, of characters: noise, on the real path."""

from __future__ import annotations

from pathlib import Path

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?()[]'\"-/"
_ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهويءأإآةىئؤ،؟"


def save(folder: Path) -> Path:
    """Write the model into a folder."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    known = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *_LETTERS, *_ARABIC]
    vocabulary = {token: number for number, token in enumerate(known)}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn", tgt_lang="arb_Arab")
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=256,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
