"""A chat template is a program of others: it runs in a sandbox, within limits, and fails in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from jinja2 import TemplateError, TemplateSyntaxError
from transformers.utils.chat_template_utils import render_jinja_template

from arabic_llm.data.reading.records import shown
from arabic_llm.errors import ConfigError
from arabic_llm.limits import TooLongError, limited

_CPU_SECONDS = 5  # a conversation takes a tenth of a millisecond
_BYTES, _BYTES_A_CHARACTER = 2**29, 16  # its text, its parts, and their sum
_MORE, _TIMES = 2**20, 8  # characters of a conversation: rules of the template, a text said again
# Jinja raises its own errors for what it checks, Python's for what the template's code does: 1 + "a".
_FAILURES = (
    *(TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, SyntaxError, TooLongError, MemoryError),  # RuntimeError: RecursionError too
)

# Some templates print today's date: prompts would change by the day. Llama 3 says this one without a clock.
_TODAY = datetime(2024, 7, 26, tzinfo=UTC)
_CODES = tuple(f"%{letter}" for letter in "aAbBdmyYHIMSpj")
# Before the template's own text: transformers renders with values alone, and its clock is a function.
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f"|replace('{code}', '{_TODAY.strftime(code)}')" for code in _CODES)
    + " }}{%- endmacro %}"
)

_DRAWS = re.compile(r"\|\s*random\b|map\(\s*['\"]random|\blipsum\s*\(")

Span = tuple[int, int]  # characters: first, behind the last


class RefusedChatError(ConfigError):
    """A template that says by raise_exception that it has no place for a conversation, and why."""


def rendered(
    template: str,
    name: str,
    chat: Sequence[dict[str, str]],
    special_tokens: dict[str, str],
    *,
    add_generation_prompt: bool = False,
) -> tuple[str, list[Span]]:
    """Return the text that a template makes of turns, and the spans in it that its {% generation %} marks.

    `name` is the file, or who else brings the template. Raises ConfigError with what went wrong in it.
    """
    said = sum(len(turn["content"]) for turn in chat)
    if _DRAWS.search(template):
        raise ConfigError(
            f"model.chat_template={name}: draws at random (random, lipsum); no prompt would come twice"
        )
    try:
        with limited(_CPU_SECONDS, _BYTES + _BYTES_A_CHARACTER * said):
            (text,), marked = render_jinja_template(
                [chat],
                chat_template=_CLOCK + template if "strftime_now" in template else template,
                return_assistant_tokens_mask="endgeneration" in template,  # else transformers warns
                add_generation_prompt=add_generation_prompt,
                **special_tokens,
            )
            text.encode()  # half a character, which it can write and no tokenizer reads
    except _FAILURES as error:
        refused = RefusedChatError if type(error) is TemplateError else ConfigError  # raise_exception's
        raise refused(f"model.chat_template={name}:{_said_of(error)}") from error
    if len(text) > _MORE + _TIMES * said:
        raise ConfigError(
            f"model.chat_template={name}: makes {len(text):,} characters of a conversation of {said:,}"
        )
    return text, marked[0] if marked else []


def _said_of(error: Exception) -> str:
    if isinstance(error, TooLongError):
        return f" does not end: a conversation took more than {_CPU_SECONDS} seconds; take its loop out"
    if isinstance(error, MemoryError):
        return " a conversation took more memory than a template may have; take out what it repeats"
    if isinstance(error, RecursionError):
        return " nested too deep, or it calls itself for ever"
    line = f" line {error.lineno}:" if isinstance(error, TemplateSyntaxError) else ""
    if isinstance(error, TemplateError):
        return f"{line} {shown(error.message or type(error).__name__, 300)}"
    return f" {type(error).__name__}: {shown(error, 300)}"
