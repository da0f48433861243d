"""A tokenizer in the words of a GGUF file, or why llama.cpp would not split texts as it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from transformers import PreTrainedTokenizerBase

from arabic_llm.data.reading.records import shown
from arabic_llm.errors import ConfigError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # of llama.cpp's types of tokens
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"
# How a text is split into words, by (pattern, whether GPT-2's own splits what it leaves, whether whole
# words are taken before they are merged), as llama.cpp (src/llama-vocab.cpp) has them under these names.
_SPLITS = {
    (_CONTRACTIONS + _DIGIT + _REST, False, False): "qwen2",
    (_CONTRACTIONS + r"\p{N}{1,3}" + _REST, False, True): "llama-bpe",
    (_CONTRACTIONS + r"\p{N}{1,3}" + _REST, False, False): "smaug-bpe",
    (_DIGIT, True, False): "smollm",
    ("", True, False): "gpt-2",
}
_SPACE = "\u2581"  # SentencePiece's letter for one
_LAST = -1e6  # score of what no merge makes


@dataclass(frozen=True)
class GgufVocabulary:
    """The tokens of a model, and how texts become them."""

    model: str  # gpt2: merges of bytes; llama: SentencePiece's, by their scores
    splits: str  # how words are found
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    adds_space: bool = False  # before a text
    composes: bool = False  # the tokenizer composes letters and marks (NFC), which llama.cpp does not


def vocabulary(tokenizer: PreTrainedTokenizerBase, size: int) -> GgufVocabulary:
    """Return the vocabulary of a model with a table of `size` rows.

    Raises ConfigError naming what of the tokenizer no GGUF file can say.
    """
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    model = rules["model"]
    if model.get("type") != "BPE":
        _refuse(f"its model is {model.get('type')}, and GGUF files are written of BPE")
    tokens, types = _tokens(rules, size)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    if model.get("byte_fallback"):
        adds_space = _space_of_pieces(rules)
        scores = _scores(tokens, model["merges"])
        return GgufVocabulary("llama", "default", tokens, types, scores=scores, adds_space=adds_space)
    composes = _composes(rules)
    return GgufVocabulary("gpt2", _split_of_bytes(rules), tokens, types, merges, composes=composes)


def opens_with(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer puts its BOS before a text by itself."""
    ids = tokenizer("", add_special_tokens=True)["input_ids"]
    return bool(ids) and ids[0] == tokenizer.bos_token_id


def _tokens(rules: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return text and type of each row of the table; a row without a token is named and never used."""
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [UNUSED] * size
    is_pieces = bool(rules["model"].get("byte_fallback"))
    for token, number in rules["model"]["vocab"].items():
        if number >= size:
            _refuse(f"it has {number + 1:,} tokens and the model's table {size:,} rows")
        tokens[number] = token
        is_byte = is_pieces and len(token) == len("<0x00>") and token.startswith("<0x")
        types[number] = BYTE if is_byte else NORMAL
    if (unknown := rules["model"].get("unk_token")) is not None and unknown in tokens:
        types[tokens.index(unknown)] = UNKNOWN
    for added in rules["added_tokens"]:
        if added["id"] >= size:
            _refuse(f"token {added['id']:,} is outside the model's table of {size:,} rows")
        tokens[added["id"]] = added["content"]
        if types[added["id"]] != UNKNOWN:
            types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    return tokens, types


def _split_of_bytes(rules: dict[str, Any]) -> str:
    """Return llama.cpp's name of how a byte-level tokenizer finds words."""
    steps = list(_steps(rules.get("pre_tokenizer"), "pretokenizers"))
    cuts, level = steps[:-1], steps[-1:]
    text = _pattern(cuts[0]) if cuts else ""
    if [step["type"] for step in level] != ["ByteLevel"] or len(cuts) > 1 or text is None:
        _refuse(f"its words are found by {_named(steps)}, and {_known()}")
    if level[0].get("add_prefix_space"):
        _refuse("it puts a space before a text, which llama.cpp does not before bytes")
    if not cuts and not level[0]["use_regex"]:
        _refuse(f"its words are not split at all, and {_known()}")
    takes_whole = bool(rules["model"].get("ignore_merges"))
    name = _SPLITS.get((text, bool(level[0]["use_regex"]), takes_whole))
    if name is None:
        _refuse(f"its words are found by the pattern {shown(text, 120)!r}, and {_known()}")
    return name


def _pattern(step: dict[str, Any]) -> str | None:
    """Return the pattern of what a step sets apart from the rest, None where it does anything else."""
    if step["type"] == "Digits":
        return _DIGIT if step["individual_digits"] else None
    if step["type"] != "Split" or step["behavior"] != "Isolated" or step.get("invert"):
        return None
    pattern: str | None = step["pattern"].get("Regex")
    return pattern


def _composes(rules: dict[str, Any]) -> bool:
    """Return whether texts are composed (NFC) before they are split; nothing else may be done to them."""
    steps = list(_steps(rules.get("normalizer"), "normalizers"))
    if others := [step for step in steps if step["type"] != "NFC"]:
        _refuse(f"it changes texts by {_named(others)} first, which llama.cpp does not before bytes")
    return bool(steps)


def _space_of_pieces(rules: dict[str, Any]) -> bool:
    """Return whether a tokenizer of SentencePiece's kind puts a space before a text."""
    steps = list(_steps(rules.get("normalizer"), "normalizers"))
    is_replace = [s["type"] == "Replace" and s.get("content") == _SPACE for s in steps]
    is_prepend = [s["type"] == "Prepend" and s.get("prepend") == _SPACE for s in steps]
    if not any(is_replace) or sum(is_replace) + sum(is_prepend) != len(steps):
        _refuse(
            f"it changes texts by {_named(steps) or 'nothing'} first, and SentencePiece's by spaces only"
        )
    splits = list(_steps(rules.get("pre_tokenizer"), "pretokenizers"))
    if any(s["type"] != "Split" or s["pattern"] != {"String": " "} for s in splits):  # none are left
        _refuse(f"its words are found by {_named(splits)}, and SentencePiece's are not split")
    return any(is_prepend)


def _scores(tokens: list[str], merges: list[Any]) -> list[float]:
    """Return what orders merges: the sooner a token is made, the higher."""
    first: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        left, right = pair.split(" ") if isinstance(pair, str) else pair
        first.setdefault(left + right, rank)
    return [float(-first[token]) if token in first else _LAST for token in tokens]


def _steps(given: dict[str, Any] | None, inner: str) -> Iterator[dict[str, Any]]:
    if given is not None and given["type"] == "Sequence":
        for step in given[inner]:
            yield from _steps(step, inner)
    elif given is not None:
        yield given


def _named(steps: list[dict[str, Any]]) -> str:
    return ", ".join(str(step["type"]) for step in steps)


def _known() -> str:
    return f"llama.cpp's are those of {', '.join(_SPLITS.values())}"


def _refuse(why: str) -> NoReturn:
    raise ConfigError(
        f"no GGUF file can hold this tokenizer: {why}. Export merged weights and serve them with"
        " transformers or vLLM"
    )
