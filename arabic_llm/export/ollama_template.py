"""An Ollama Modelfile: the chat template in Go's words, every stop, the length of a conversation."""

from __future__ import annotations

from dataclasses import dataclass

from arabic_llm.data.reading.records import shown
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError
from arabic_llm.export import beside_weights, go_template
from arabic_llm.export.beside_weights import CONVERSATIONS
from arabic_llm.export.go_template import literal

_QUESTION, _ANSWER = Message("user", "question 7351"), Message("assistant", "answer 7352")
_AGAIN, _SYSTEM = Message("user", "question 7354"), Message("system", "rules 7353")


@dataclass(frozen=True)
class Parts:
    """What a chat template writes around what is said; a system message can only open a conversation."""

    without_system: str  # before the first question
    before_system: str
    after_system: str  # up to the first question
    asks: str  # behind a question, up to where an answer begins
    opens: str  # before an answer that is there already: a space
    closes: str  # behind it, up to the next question


def template_of(codec: Codec, *, opens_with_bos: bool) -> str:
    """Return the TEMPLATE that writes conversations as the model was trained on them.

    What the GGUF file puts before every text itself is left out. Raises ConfigError for a template of
    yours that is no such frame around what is said, naming the conversation that it would write otherwise.
    """
    bos = codec.tokenizer.bos_token if opens_with_bos else ""
    template = _go(_parts(codec), bos or "")
    for name, messages in CONVERSATIONS.items():
        ours = beside_weights.written(codec, messages, codec.template, True)
        turns = [{"role": m.role, "content": m.content} for m in messages]
        if ours is not None and (its := go_template.written(template, turns)) != ours.removeprefix(
            bos or ""
        ):
            raise ConfigError(
                f"model.chat_template={codec.template_name}: Ollama would write {name} as"
                f" {shown(its, 80)!r}, not as {shown(ours, 80)!r}; leave ollama out of task.formats and"
                " write its TEMPLATE yourself"
            )
    return template


def modelfile(file: str, template: str, stops: list[str], num_ctx: int) -> str:
    """Return the Modelfile of a GGUF file."""
    lines = [f"FROM ./{file}", f'TEMPLATE """{template}"""']
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    return "\n".join([*lines, f"PARAMETER num_ctx {num_ctx}", ""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parts(codec: Codec) -> Parts:
    """Return what a template writes around words that it cannot say by itself."""

    def write(*messages: Message) -> str:
        text = beside_weights.written(codec, messages, codec.template, True)
        if text is None:
            raise ConfigError(
                f"model.chat_template={codec.template_name}: it refuses a conversation of several turns,"
                " and Ollama has no way to; leave ollama out of task.formats"
            )
        return text

    before, _, asks = write(_QUESTION).partition(_QUESTION.content)
    several = write(_QUESTION, _ANSWER, _AGAIN)
    opens = several.partition(_QUESTION.content)[2].partition(_ANSWER.content)[0].removeprefix(asks)
    closes = several.partition(_ANSWER.content)[2].partition(_AGAIN.content)[0]
    with_system = beside_weights.written(codec, (_SYSTEM, _QUESTION), codec.template, True) or ""
    first, _, then = with_system.partition(_SYSTEM.content)
    return Parts(before, first, then.partition(_QUESTION.content)[0], asks, opens, closes)


def _go(parts: Parts, bos: str) -> str:
    """Return the parts as Go's template; `bos` is what opens a text anyway."""
    without, before = (part.removeprefix(bos) for part in (parts.without_system, parts.before_system))
    opens = literal(parts.opens)
    return (
        "{{- range $i, $_ := .Messages }}"
        f'{{{{- if and (eq $i 0) (ne .Role "system") }}}}{literal(without)}{{{{- end }}}}'
        f'{{{{- if eq .Role "system" }}}}{literal(before)}{{{{ .Content }}}}{literal(parts.after_system)}'
        f'{{{{- else if eq .Role "user" }}}}{{{{ .Content }}}}{literal(parts.asks)}'
        f'{{{{- else if eq .Role "assistant" }}}}{opens}{{{{ .Content }}}}{literal(parts.closes)}'
        "{{- end }}{{- end }}"
    )
