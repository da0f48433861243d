"""Small tokenizers with the mechanics of the families we name: their spaces, bytes, control tokens, BOS."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from conftest import DATA, model_config
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from arabic_llm.data.rows import Message
from arabic_llm.data.sample import corpus
from arabic_llm.data.tokens import chat_template

# A conversation that every template writes, and one with spaces that some trim.
TURNS = (
    Message("user", "ما عاصمة مصر؟"),
    Message("assistant", "القاهرة"),
    Message("user", "وتونس؟"),
    Message("assistant", "تونس"),
)
SPACED = (Message("user", " ما عاصمة\n مصر؟ \n"), Message("assistant", "  القاهرة \n"))
# model -> (kind, control tokens, what opens a text by itself, BOS)
_FAMILIES = {
    "qwen2_7b": ("bytes", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], [], None),
    "qwen2_5_7b": ("bytes", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], [], None),
    "llama3_8b": (
        "bytes",
        [
            *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
            *("<|eot_id|>", "<|reserved_special_token_0|>"),
        ],
        ["<|begin_of_text|>"],
        "<|begin_of_text|>",
    ),
    "llama2_7b": ("pieces", ["<unk>", "<s>", "</s>"], ["<s>"], "<s>"),
    "gemma2_2b": (
        "pieces",
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        ["<bos>"],
        "<bos>",
    ),
    "glm4_9b": (
        "bytes",
        ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"],
        ["[gMASK]", "<sop>"],
        None,
    ),
}
# To the letter as it stands in SmolLM2-135M-Instruct.Q4_1.gguf.
OF_SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BASE = "llama2_7b, base"  # of a model that was never taught to talk, whose vocabulary has no marks of turns
# Models whose mechanics are those of a family above: its name, what they have beside it, their own BOS.
_LIKE = {
    "qwen3_4b": ("qwen2_7b", [], None),
    "llama3_2_1b": ("llama3_8b", ["<|finetune_right_pad_id|>"], "<|begin_of_text|>"),
    "acegpt_v2_8b": ("llama3_8b", [], "<|begin_of_text|>"),
    "smollm2_135m": ("qwen2_7b", [], "<|im_start|>"),
}
NAMES = (*_FAMILIES, "tiny")
EVERY = (*NAMES, *_LIKE, BASE)  # a model of each template


@cache
def codec_of(name: str) -> chat_template.Codec:
    """Return the codec of a model we name, on a tokenizer of its family."""
    if name == BASE:
        config = replace(model_config("llama2_7b"), chat_template="chatml_eos")
        return chat_template.prepare(_build(*_FAMILIES["llama2_7b"]), config)
    config = model_config(name)
    if name == "tiny":
        from arabic_llm.models import bases, tokenization

        return chat_template.prepare(tokenization.load(bases.locate(config, None)), config)
    if name == "qwen2_7b" and DATA.is_dir():
        return chat_template.prepare(AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen2"), config)
    like, more, bos = _LIKE.get(name, (name, [], _FAMILIES.get(name, (None,))[-1]))
    kind, control, opening, _ = _FAMILIES[like]
    return chat_template.prepare(_build(kind, control + more, opening, bos), config)


def _build(kind: str, control: list[str], opening: list[str], bos: str | None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(
        models.BPE(byte_fallback=kind == "pieces", unk_token="<unk>" if kind == "pieces" else None)
    )
    texts = [row.words() for row in corpus.documents(300, 1)]
    if kind == "bytes":
        pattern = Regex(
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        split = pre_tokenizers.Split(pattern, "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:  # SentencePiece: spaces are a letter, and Llama 2 puts one in front of a text
        replace = normalizers.Replace(" ", "\u2581")
        prepend = [normalizers.Prepend("\u2581")] if "<s>" in control else []
        backend.normalizer = normalizers.Sequence([*prepend, replace])
        backend.pre_tokenizer = (
            pre_tokenizers.Sequence(  # a line break joins no word, a space only the next
                [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split("\u2581", "merged_with_next")]
            )
        )
        backend.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet = []
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)] if kind == "pieces" else []
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=control + byte_tokens,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    if opening:
        ids = [(token, backend.token_to_id(token)) for token in opening]
        backend.post_processor = processors.TemplateProcessing(single=[*opening, "$A"], special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token="</s>" if "</s>" in control else None,
        unk_token="<unk>" if "<unk>" in control else None,
        additional_special_tokens=[t for t in control if t not in (bos, "</s>", "<unk>")],
    )
