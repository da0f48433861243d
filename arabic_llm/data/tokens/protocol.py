"""The tokens a model talks with, where nobody names them: what ends an answer or a text, and what pads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from arabic_llm.data.rows import Message
from arabic_llm.data.tokens.template_checks import Render
from arabic_llm.errors import ConfigError

_QUESTION, _ANSWER = Message("user", "question 7351"), Message("assistant", "answer 7352")
_TURNS = (_QUESTION, _ANSWER, _QUESTION, _ANSWER)
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
# As the models that we name, and their kin, spell them: what was made for it first.
_PADS = ("<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<|finetune_right_pad_id|>", "<|PAD_TOKEN|>", "[pad]")
_ENDS_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "<|EOS_TOKEN|>")
_SPARE = re.compile(r"reserved|unused|placeholder|extra_?(id|\d)|dummy|control_\d|\bpad\b|SPECIAL_\d", re.I)
_UNKNOWN = ("<unk>", "[UNK]", "<|unk|>")  # whatever is read has tokens of its own, or bytes


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer and the settings beside it say of special tokens."""

    ids: Mapping[str, int]  # of every token
    added: tuple[str, ...]  # beside the pieces of words, by their ids
    named: Mapping[str, str]  # eos_token, pad_token, bos_token
    ends: tuple[str, ...]  # of an answer or a text, as generation_config.json and config.json say
    size: int  # of the table of tokens: what lies beyond has no row in it

    def has(self, token: str | None) -> bool:
        """Return whether a token is there, with a row in the table."""
        return token is not None and self.ids.get(token, self.size) < self.size


def has_chatml(vocabulary: Vocabulary) -> bool:
    """Return whether the marks of ChatML are tokens: as words they would end nothing."""
    return all(vocabulary.has(token) for token in CHATML_TOKENS)


def stop_token(vocabulary: Vocabulary, plain: Render, name: str) -> str:
    """Return the token that a template, or else the model, ends an answer with.

    Raises ConfigError for a tokenizer without one, and what the template raises.
    """
    text, _ = plain((_QUESTION, _ANSWER), add_generation_prompt=False)
    if _ANSWER.content not in text:
        raise ConfigError(f"the chat template of {name} writes no answer; choose a model.chat_template")
    if found := _first_of(vocabulary.added, text.rpartition(_ANSWER.content)[2]):
        if not vocabulary.has(found):
            raise ConfigError(
                f"the tokenizer of {name} ends an answer with {found}, of which the model knows nothing"
                f" (vocab_size={vocabulary.size}): they are of two models; take its own tokenizer"
            )
        return found
    text, _ = plain(_TURNS[:3], add_generation_prompt=False)
    opening = _first_of(vocabulary.added, text.rpartition(_ANSWER.content)[2])
    if opening in vocabulary.ends:  # GLM-4 ends its turn by opening the next one
        return str(opening)
    return end_of_text(vocabulary, name)


def end_of_text(vocabulary: Vocabulary, name: str, stop: str | None = None) -> str:
    """Return the token that ends a raw text, another than ends an answer where there is one.

    Raises ConfigError for a tokenizer without one.
    """
    its_own = vocabulary.named.get("eos_token")
    candidates = (*vocabulary.ends, *_ENDS_OF_TEXT, its_own)
    if stop is None:
        candidates = (its_own, *vocabulary.ends, *_ENDS_OF_TEXT)
    found = next((token for token in candidates if token != stop and vocabulary.has(token)), stop)
    if found is None:
        raise ConfigError(
            f"the tokenizer of {name} has no special token that ends an answer: it would never stop; name"
            " one of its vocabulary (model.stop_token), or take another model"
        )
    return found


def pad_token(vocabulary: Vocabulary, plain: Render, name: str, stop: str) -> str:
    """Return a token that pads and is never learned: the tokenizer's, or a spare one of the vocabulary.

    No row is added to the table. Raises ConfigError where every token has another use.
    """
    used = {stop, vocabulary.named.get("bos_token")}
    text = plain(_TURNS, add_generation_prompt=True)[0]
    free = [t for t in vocabulary.added if t not in used and t not in text and vocabulary.has(t)]
    spare = sorted(token for token in free if _SPARE.search(token))
    spare.sort(key=lambda token: vocabulary.ids[token])
    own = (vocabulary.named.get("pad_token", ""), *_PADS)
    for token in (*own, *spare, *_UNKNOWN, *_ENDS_OF_TEXT):
        if vocabulary.has(token) and token not in used and token not in text:
            return token
    raise ConfigError(
        f"the tokenizer of {name} has no token for padding beside the stop token ({stop}), and no spare"
        " one; name one that no text holds (model.pad_token)"
    )


def _first_of(tokens: tuple[str, ...], text: str) -> str | None:
    """Return the token that a text begins with, but for white space; the longest of several."""
    text = text.lstrip()
    return max((token for token in tokens if token and text.startswith(token)), key=len, default=None)
