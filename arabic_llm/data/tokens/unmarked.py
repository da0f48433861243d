"""What is learned of a conversation whose template marks nothing: found by asking for each answer."""

from __future__ import annotations

from collections.abc import Sequence

from arabic_llm.data.rows import Message
from arabic_llm.data.tokens.rendering import RefusedChatError
from arabic_llm.data.tokens.template_checks import Render, Rendered

_LONGEST = 60  # characters of a text that are shown


def rendered(
    plain: Render, stop: str, messages: Sequence[Message], *, add_generation_prompt: bool
) -> Rendered:
    """Return what a template writes, and the (start, end) characters of each answer with its stop token.

    An answer begins where the template, asked for it, ends. The last one may lack its end: GLM-4 and
    templates without a stop token leave it to who answers. Raises RefusedChatError where the template
    writes otherwise when it asks; answers that are not supervised have an empty span.
    """
    text, _ = plain(messages, add_generation_prompt=add_generation_prompt)
    if add_generation_prompt:
        return text, []
    found = []
    for place, message in enumerate(messages):
        if message.role != "assistant":
            continue
        if not message.supervised:
            found.append((0, 0))
            continue
        start = _start(plain, messages[:place], text)
        if stop not in text[start:] and place == len(messages) - 1:
            text = _ended(text, start, message.content) + stop
        end = text.find(stop, start) + len(stop)
        if end < start or message.content.strip() not in text[start:end]:
            raise RefusedChatError(
                f"model.chat_template: it does not write answer {len(found) + 1} to its end ({stop})"
            )
        found.append((start, end))
    return text, found


def _start(plain: Render, before: Sequence[Message], text: str) -> int:
    """Return where an answer begins in the whole text: behind what is written to ask for it."""
    asked, _ = plain(before, add_generation_prompt=True)
    if text.startswith(asked):
        return len(asked)
    pairs = enumerate(zip(asked, text, strict=False))
    alike = next((at for at, (a, b) in pairs if a != b), len(text))
    more, written = asked[alike : alike + _LONGEST], text[alike : alike + _LONGEST]
    raise RefusedChatError(
        f"model.chat_template: it asks for an answer with {more!r} where it writes {written!r} before one"
        " that is there"
    )


def _ended(text: str, start: int, answer: str) -> str:
    """Return a text up to the end of its last answer, without what a template writes behind it."""
    at = text.rfind(answer, start)
    is_last = at >= 0 and not text[at + len(answer) :].strip()
    return text[: at + len(answer)] if is_last else text.rstrip()
