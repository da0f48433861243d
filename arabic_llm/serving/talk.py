"""A talk: what is asked is asked of each voice, in a conversation of its own."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from arabic_llm.data.rows import Message
from arabic_llm.errors import ConfigError
from arabic_llm.serving import voices
from arabic_llm.serving.voices import Answer, Hear, Sampling, Voice


@dataclass
class Talk:
    """Voices and what was said to each of them."""

    voices: Sequence[Voice]
    sampling: Sampling
    system: str | None = None
    said: dict[str, list[Message]] = field(default_factory=dict)  # by voice, without the system message

    def open_with(self, system: str | None) -> None:
        """Let every conversation open with a system message, or with none.

        Raises ConfigError for a template without a place for one.
        """
        if system is not None:
            refuse_system(self.voices[0], system)
        self.system = system

    def reset(self) -> None:
        """Forget what was said; the system message stays."""
        self.said = {}

    def ask(self, voice: Voice, question: str, hear: Hear) -> Answer:
        """Return a voice's answer, and remember both; nothing is remembered of one that failed."""
        turns = [*self.said.get(voice.name, ()), asked(question)]
        answer = voice.answer([*opening(self.system), *turns], self.sampling, hear)
        self.said[voice.name] = [*turns, Message("assistant", answer.text)]
        return answer

    def rows(self) -> list[dict[str, list[dict[str, str]]]]:
        """Return each conversation as a row that data=local reads."""
        spoken = (self.said.get(voice.name) for voice in self.voices)
        return [{"messages": as_turns([*opening(self.system), *turns])} for turns in spoken if turns]


def opening(system: str | None) -> list[Message]:
    """Return the turn that a conversation opens with, if any."""
    return [] if system is None else [Message("system", system)]


def asked(question: str) -> Message:
    """Return a question as rows have theirs: composed (NFC)."""
    return Message("user", unicodedata.normalize("NFC", question.strip()))


def as_turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return turns as JSON has them."""
    return [{"role": m.role, "content": m.content} for m in messages]


def refuse_system(voice: Voice, system: str) -> None:
    """Refuse a system message that no prompt would hold. Raises ConfigError."""
    if not voices.takes_system(voice.codec):
        raise ConfigError(
            f"model.chat_template={voice.codec.template_name} has no place for a system message; say it in"
            f" the first question: {system[:40]!r}"
        )
