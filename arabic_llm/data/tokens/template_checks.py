"""What a chat template gets wrong: words it does not write, answers it teaches otherwise than it asks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from arabic_llm.data.rows import Message
from arabic_llm.data.tokens.rendering import RefusedChatError
from arabic_llm.errors import ConfigError

# Words that no template says by itself.
_QUESTION, _ANSWER = Message("user", "question 7351"), Message("assistant", "answer 7352")
_SYSTEM, _SPACED = Message("system", "rules 7353"), Message("user", "  question 7351  ")
_ASKED = {
    "a question": (_QUESTION,),
    "a system message": (_SYSTEM, _QUESTION),
    "several turns": (_QUESTION, _ANSWER, _QUESTION),
    "a system message and several turns": (_SYSTEM, _QUESTION, _ANSWER, _QUESTION),
    "spaces around a question": (_SPACED,),
    "spaces around an answer": (_QUESTION, Message("assistant", "  answer 7352  "), _QUESTION),
}
TEMPLATE_FILE = "chat_template.jinja"
_PIECE = re.compile(r"<[^<>\s]*>|\w+|\s|.")  # a difference is not shown as half a mark or word
_MOST_ASKED = 4  # answers of a long conversation, from each end: asking for all takes as many as squared
_LONGEST = 60  # characters of a difference that are shown

Rendered = tuple[str, list[tuple[int, int]]]  # the text; (start, end) of what the assistant says in it


class Render(Protocol):
    """A template that writes conversations."""

    def __call__(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> Rendered:
        """Return the conversation as it is written, up to where an answer begins if it is asked for."""


@dataclass(frozen=True)
class Frame:
    """What a template writes around each answer and lets the model learn: " " and " </s>" for Llama 2."""

    before: str
    after: str

    def holds(self, said: str, answer: str) -> bool:
        """Return whether what is said is the answer in this frame, but for white space around it."""
        inner = self._inner(said, answer)
        return inner is not None and inner.strip() == answer.strip()

    def changes(self, said: str, answer: str) -> bool:
        """Return whether what is said is not the answer to the letter: a template that trims."""
        return self._inner(said, answer) != answer

    def _inner(self, said: str, answer: str) -> str | None:
        """Return what stands in the frame, or None: what is said is not in it.

        An answer that opens with a thought is not given the empty one that opens all others.
        """
        opening = self.before.split()[:1]
        before = "" if opening and answer.lstrip().startswith(opening[0]) else self.before
        is_framed = said.startswith(before) and said.endswith(self.after)
        return said[len(before) : len(said) - len(self.after)] if is_framed else None


def frame(render: Render) -> Frame:
    """Return the frame of an answer. Raises ConfigError when the template does not let one be learned."""
    text, said = render((_QUESTION, _ANSWER), add_generation_prompt=False)
    learned = [text[start:end] for start, end in said]
    if len(learned) != 1 or _ANSWER.content not in learned[0]:
        raise ConfigError(
            "model.chat_template: its {% generation %} holds no answer; put it around what is learned"
        )
    before, _, after = learned[0].partition(_ANSWER.content)
    return Frame(before, after)


def fault(
    render: Render, framed: Frame, messages: Sequence[Message], whole: Rendered, *, was_asked: bool = False
) -> str | None:
    """Return what a template does wrong with a conversation, written in `whole`; None: nothing.

    `was_asked`: its answers were found by asking for them, so that they begin where it asks.
    """
    text, said = whole
    read = (message for message in messages if message.role != "assistant")
    if lost := next((m.role for m in read if m.content.strip() not in text), None):
        return f"the chat template does not write what the {lost} says as it stands"
    answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
    if len(answers) != len(said):
        return f"the chat template has {len(said)} places to learn for {len(answers)} answers"
    spoken = zip(answers, said, strict=True)
    learned = [(place, span) for place, span in spoken if messages[place].supervised]
    if not all(framed.holds(text[a:b], messages[place].content) for place, (a, b) in learned):
        return "the chat template teaches something else than the answer"
    asked = learned[:_MOST_ASKED] + learned[_MOST_ASKED:][-_MOST_ASKED:]
    asked = [] if was_asked else asked
    if any(render(messages[:i], add_generation_prompt=True)[0] != text[:a] for i, (a, _) in asked):
        return "the chat template asks for an answer otherwise than it teaches one"
    return None


def answers_apart(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """Yield a conversation for each answer that is learned: up to it, and no other one is learned."""
    before: list[Message] = []
    for message in messages:
        if message.role != "assistant":
            before.append(message)
            continue
        if message.supervised:
            yield (*before, message)
        before.append(replace(message, supervised=False))


def notes(name: str, own: Render | None, ours: Render) -> tuple[str, ...]:
    """Return a line for each thing that a user should know of a template before it is used.

    `own` is the template that came with the tokenizer, if one did.
    """
    found = []
    if own is not None and (parts := differences(own, ours)):
        found.append(
            f"model.chat_template={name} differs from the tokenizer's own: {'; '.join(parts)}. The model is"
            " asked and taught as ours says; for its own, set model.chat_template=tokenizer"
        )
    if why := _fault_by_itself(ours):
        what = "learns each of their answers by itself" if _is_cured(ours) else "leaves such rows out"
        found.append(f"model.chat_template={name}: in several turns {why}; training {what}")
    return tuple(found)


def note_of_trained(name: str, folder: str, its: Render, ours: Render) -> tuple[str, ...]:
    """Return a line where what a folder holds was trained in a template that differs from ours."""
    if not (parts := differences(its, ours)):
        return ()
    line = (
        f"model.chat_template={name} differs from the one that {folder} was trained in: {'; '.join(parts)}."
        " It is asked as ours says; to ask as it was taught, set"
        f" model.chat_template={folder}/{TEMPLATE_FILE}"
    )
    return (line,)


def saved_template(folder: Path) -> str | None:
    """Return the template that was saved beside what was trained, as transformers saves it; or None."""
    if (file := folder / TEMPLATE_FILE).is_file():
        return file.read_text(encoding="utf-8")
    return None


def _is_cured(render: Render) -> bool:
    """Return whether each answer of a conversation can be learned, if not all of them at once."""
    parts = answers_apart((_QUESTION, _ANSWER, _QUESTION, _ANSWER))
    return all(_fault_by_itself(render, part) is None for part in parts)


def _fault_by_itself(
    render: Render, messages: Sequence[Message] = (_QUESTION, _ANSWER, _QUESTION, _ANSWER)
) -> str | None:
    """Return what a template does wrong with any conversation of several turns, or None."""
    try:
        return fault(render, frame(render), messages, render(messages, add_generation_prompt=False))
    except RefusedChatError as error:
        return f"it refuses an answer ({error})"


def differences(own: Render, ours: Render) -> list[str]:
    """Return how the tokenizer's own template asks for an answer otherwise than ours does, each once."""
    found: dict[tuple[str, str], str] = {}
    for name, messages in _ASKED.items():
        its, our = _asked(own, messages), _asked(ours, messages)
        if its != our:
            parts = _parts(its, our)
            found.setdefault(parts, f"for {name} that one {parts[0]}, ours {parts[1]}")
        if its is None and messages == (_QUESTION,):
            break  # it is broken, and may take long to say so
    return list(found.values())


def _asked(render: Render, messages: Sequence[Message]) -> str | None:
    """Return what is written to ask for an answer; None where the template refuses to."""
    try:
        return render(messages, add_generation_prompt=True)[0]
    except ConfigError:
        return None


def _parts(its: str | None, our: str | None) -> tuple[str, str]:
    """Return what each of two texts has that the other has not, in words; they differ."""
    if its is None or our is None:
        return ("refuses it", "writes it") if its is None else ("writes it", "refuses it")
    ones, others = _PIECE.findall(its), _PIECE.findall(our)
    start = _num_alike(ones, others)
    ones, others = ones[start:], others[start:]
    end = _num_alike(ones[::-1], others[::-1])
    return _has(ones[: len(ones) - end]), _has(others[: len(others) - end])


def _num_alike(ones: list[str], others: list[str]) -> int:
    """Return how many pieces two texts begin with alike."""
    pairs = enumerate(zip(ones, others, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(ones), len(others)))


def _has(pieces: list[str]) -> str:
    part = "".join(pieces)
    shown = part if len(part) <= _LONGEST else f"{part[: _LONGEST - 20]} ... {part[-15:]}"
    return f"has {shown!r}" if part else "has nothing there"
