"""Magpie (2406.08464): an aligned model, given the opening of a user's turn alone, invents questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from arabic_llm.data.cleaning import near_copies
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import chat_template
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError
from arabic_llm.text import normalize

_MARK = "rules7353"  # said by no template
_OPENING_WORDS = 3


def user_opening(codec: Codec) -> list[int]:
    """Return the ids up to where the first word of a user's turn stands.

    Raises ConfigError for a template that changes what a user says.
    """
    text = chat_template.render(codec, [Message("user", _MARK)], add_generation_prompt=False)
    before, found, _ = text.partition(_MARK)
    if not found:
        raise ConfigError("task.backend=magpie: the chat template does not write what a user says")
    ids: list[int] = codec.tokenizer(before, add_special_tokens=False)["input_ids"]
    return ids


def turn_ends(codec: Codec) -> tuple[int, ...]:
    """Return the tokens that end a turn: those of the protocol, for nobody says one."""
    vocabulary = codec.tokenizer.get_vocab()
    return tuple(sorted({codec.stop_id, *(vocabulary[t] for t in codec.control_tokens if t in vocabulary)}))


@dataclass(frozen=True)
class Diversity:
    """How unlike each other questions are."""

    questions: int
    openings: int  # distinct, of their first words
    copies: int  # questions that nearly repeat one before
    most_opening: str
    most_share: float  # of the questions that open so

    def line(self) -> str:
        """Return it as a person reads it."""
        return (
            f"diversity: {self.questions:,} questions, {self.openings:,} distinct openings of"
            f" {_OPENING_WORDS} words, {self.copies:,} nearly repeat another; {self.most_share:.1%} open"
            f" with '{self.most_opening}'"
        )


def diversity(questions: Sequence[str], similarity: float, seed: int) -> Diversity:
    """Return how unlike each other questions are."""
    matched = [normalize.normalize(question, "matching") for question in questions]
    opened = Counter(" ".join(text.split()[:_OPENING_WORDS]) for text in matched)
    repeats = near_copies.duplicates(near_copies.signatures(matched, seed), similarity)
    opening, count = opened.most_common(1)[0] if opened else ("", 0)
    share = count / max(1, len(matched))
    return Diversity(len(matched), len(opened), int(np.count_nonzero(repeats >= 0)), opening, share)
