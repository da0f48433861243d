"""Who answers in a talk: a model with its adapter on or off, streamed token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, LogitsProcessorList, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import chat, chat_template
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import generating, rotary, scoring
from arabic_llm.evaluation.generating import StopAtNotFinite
from arabic_llm.models import placement

_HALF_A_CHARACTER = "\ufffd"  # what bytes of one decode to, until all are said
_CURE = "lower task.max_new_tokens, begin anew (/reset), or take adapter=qlora"

Hear = Callable[[str], None]  # is told each piece of an answer as it comes


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen; temperature 0: the likeliest."""

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int  # 0: all
    repetition_penalty: float
    seed: int


@dataclass(frozen=True)
class Answer:
    """What was said, of how many tokens; whether it came to its end; questions that were left out."""

    text: str
    num_tokens: int
    has_ended: bool
    num_dropped: int  # of the earliest questions, with their answers: they did not fit


@dataclass
class Voice:
    """One who answers. Its model may be that of another voice: the adapter tells them apart."""

    name: str
    model: PreTrainedModel
    codec: Codec
    ends: tuple[int, ...]  # tokens
    max_length: int  # tokens that the model sees
    is_adapter_off: bool = False
    unknown: tuple[int, ...] = ()  # tokens of the adapter alone: never said
    num_answers: int = 0
    _ids: list[int] = field(default_factory=list)  # whose keys and values are kept
    _cache: DynamicCache | None = None

    def answer(self, messages: Sequence[Message], sampling: Sampling, hear: Hear) -> Answer:
        """Return the next answer of a conversation; `hear` is told each piece as it comes.

        Raises ConfigError where the question does not fit beside its answer, ModelError where the model
        has none, HardwareError where memory runs out.
        """
        ids, num_dropped = _fitting(self.codec, messages, self.max_length, sampling.max_new_tokens)
        listener = _Listener(self.codec, self.ends, hear)
        torch.manual_seed(int(fingerprint([sampling.seed, self.num_answers]), 16) % 2**63)
        self.num_answers += 1
        rotary.forget_lengths(self.model)
        adapter = self.model.disable_adapter() if self.is_adapter_off else nullcontext()
        with adapter, generating.neutral(self.model), placement.enough_memory("answering", _CURE):
            self._generate(ids, sampling, listener)
        return Answer(listener.text, len(listener.said), listener.has_ended, num_dropped)

    def _generate(self, ids: list[int], sampling: Sampling, listener: _Listener) -> None:
        cache = self._beginning(ids, len(ids) + sampling.max_new_tokens)
        given = torch.tensor([ids], device=self.model.device)
        self.model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            generation_config=self._how(sampling),
            logits_processor=LogitsProcessorList([StopAtNotFinite([self.name])]),
            streamer=listener,
            **({} if cache is None else {"past_key_values": cache}),
        )
        if cache is not None:  # else it was interrupted, and its layers may be of several lengths
            self._cache, self._ids = cache, [*ids, *listener.all_said]

    def _beginning(self, ids: list[int], longest: int) -> DynamicCache | None:
        """Return keys and values of what is known already of a prompt; None for a model that has others."""
        if not scoring.can_share(self.model, longest):
            return None
        cache, self._cache = self._cache or DynamicCache(), None  # full layers: masks say what slides out
        read = cache.get_seq_length()
        most = min(read, len(ids) - 1)
        same = next((at for at in range(most) if self._ids[at] != ids[at]), most)
        if not same:
            return DynamicCache()
        if same < read:
            cache.crop(same - read)
        return cache

    def _how(self, sampling: Sampling) -> GenerationConfig:
        drawn: dict[str, Any] = {}
        if sampling.temperature:
            drawn = {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k")}
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=bool(sampling.temperature),
            repetition_penalty=sampling.repetition_penalty,
            eos_token_id=list(self.ends),
            pad_token_id=self.codec.tokenizer.pad_token_id,
            suppress_tokens=list(self.unknown) or None,
            **drawn,
        )


class _Listener(BaseStreamer):  # type: ignore[misc]
    """Hears tokens and tells of the text in them what is whole."""

    def __init__(self, codec: Codec, ends: Sequence[int], hear: Hear) -> None:
        self._tokenizer, self._ends, self._hear = codec.tokenizer, ends, hear
        self._is_begun = False
        self.all_said: list[int] = []
        self.said: list[int] = []  # without what ended it
        self.text = ""
        self.has_ended = False

    def put(self, value: torch.Tensor) -> None:
        """Hear the prompt first, then a token each time."""
        if not self._is_begun:
            self._is_begun = True
            return
        self.all_said += value.tolist()
        if self.all_said[-1] in self._ends:
            self.has_ended = True
            return
        self.said.append(self.all_said[-1])
        text = self._decoded()
        if not text.endswith(_HALF_A_CHARACTER):
            self._tell(text)

    def end(self) -> None:
        """Tell what is left: half a character too."""
        self._tell(self._decoded())

    def _decoded(self) -> str:
        # Without white space at its ends: a template may write a space there, and another may trim it.
        text: str = self._tokenizer.decode(
            self.said, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip()

    def _tell(self, text: str) -> None:
        if len(text) > len(self.text) and text.startswith(self.text):
            new, self.text = text[len(self.text) :], text
            self._hear(new)


def _fitting(
    codec: Codec, messages: Sequence[Message], max_length: int, most: int
) -> tuple[list[int], int]:
    """Return the ids of a conversation that fits with its answer, and how many questions were left out.

    The system message and the last question stay. Raises ConfigError where they alone are too long.
    """
    system = [m for m in messages if m.role == "system"]
    turns = [m for m in messages if m.role != "system"]
    starts = [at for at, turn in enumerate(turns) if turn.role == "user"]
    ids: list[int] = []
    for dropped, start in enumerate(starts):
        ids = chat.encode_prompt(codec, [*system, *turns[start:]])
        if len(ids) + most <= max_length:
            return ids, dropped
    raise ConfigError(
        f"the question has {len(ids)} tokens, and with an answer of task.max_new_tokens={most} that is more"
        f" than the {max_length} that the model sees; shorten it, or lower task.max_new_tokens"
    )


def takes_system(codec: Codec) -> bool:
    """Return whether a template has a place for a system message."""
    system = Message("system", "rules 7353")
    try:
        text = chat_template.render(codec, [system, Message("user", "?")], add_generation_prompt=True)
    except ConfigError:
        return False
    return system.content in text
