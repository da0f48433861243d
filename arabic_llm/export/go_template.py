"""The little of Go's templates that an Ollama TEMPLATE of ours says, and what it writes (text/template)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from arabic_llm.errors import ConfigError

_ACTION = re.compile(r"\{\{(- )?\s*(.*?)\s*( -)?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|[^\s()]+')
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}

Messages = Sequence[dict[str, str]]  # role, content


@dataclass(frozen=True)
class _Node:
    """A text, an action, or a block with what it holds."""

    kind: str  # text, value, if, range
    said: str  # the text, or the words of the action
    inner: list[_Node] = field(default_factory=list)
    other: list[_Node] = field(default_factory=list)  # after else


def literal(text: str) -> str:
    """Return an action that writes a text to the letter; a text itself may lose its white space."""
    if not text:
        return ""
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in text)
    return f'{{{{ "{escaped}" }}}}'


def written(template: str, messages: Messages) -> str:
    """Return what Ollama makes of a conversation: `.Messages` with `.Role` and `.Content`.

    Like messages in a row are one, as Ollama joins them. Raises ConfigError for what is not known here.
    """
    nodes, rest = _parsed(list(_pieces(template)))
    if rest:
        raise ConfigError(f"Go template: {{{{ {rest[0].said} }}}} without what it ends")
    root = {"Messages": [{"Role": m["role"], "Content": m["content"]} for m in _joined(messages)]}
    return "".join(_run(nodes, root, {"$": root}))


def _joined(messages: Messages) -> list[dict[str, str]]:
    joined: list[dict[str, str]] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = {**joined[-1], "content": f"{joined[-1]['content']}\n\n{message['content']}"}
        else:
            joined.append(dict(message))
    return joined


def _pieces(template: str) -> Iterator[_Node]:
    """Yield texts and actions; {{- and -}} take white space beside them away."""
    at, strips = 0, False
    for found in _ACTION.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip() if strips else text
        yield _Node("text", text.rstrip() if found[1] else text)
        yield _Node("action", found[2])
        at, strips = found.end(), bool(found[3])
    yield _Node("text", template[at:].lstrip() if strips else template[at:])


def _parsed(pieces: list[_Node]) -> tuple[list[_Node], list[_Node]]:
    """Return the nodes up to an else or end, and what follows from there on."""
    nodes: list[_Node] = []
    while pieces:
        piece, *pieces = pieces
        word, _, rest = piece.said.partition(" ")
        if piece.kind == "text":
            nodes.append(piece)
        elif word in ("else", "end"):
            return nodes, [piece, *pieces]
        elif word in ("if", "range"):
            inner, other, pieces = _block(pieces)
            nodes.append(_Node(word, rest, inner, other))
        else:
            nodes.append(_Node("value", piece.said))
    return nodes, []


def _block(pieces: list[_Node]) -> tuple[list[_Node], list[_Node], list[_Node]]:
    """Return what a block holds, what stands behind its else, and what follows its end."""
    inner, rest = _parsed(pieces)
    if not rest:
        raise ConfigError("Go template: a block without {{ end }}")
    end, *rest = rest
    if end.said == "end":
        return inner, [], rest
    condition = end.said.removeprefix("else").strip()
    if condition:  # else if: an if of its own that shares the end
        chained, other, rest = _block(rest)
        return inner, [_Node("if", condition.removeprefix("if "), chained, other)], rest
    other, after, rest = _block(rest)
    if after:
        raise ConfigError("Go template: two else of one block")
    return inner, other, rest


def _run(nodes: list[_Node], dot: Any, names: dict[str, Any]) -> Iterator[str]:
    for node in nodes:
        if node.kind == "text":
            yield node.said
        elif node.kind == "value":
            yield str(_value(node.said, dot, names))
        elif node.kind == "if":
            yield from _run(node.inner if _value(node.said, dot, names) else node.other, dot, names)
        else:
            bound, _, given = node.said.partition(":=")
            index, element = (name.strip() for name in bound.split(","))
            for number, item in enumerate(_value(given, dot, names)):
                yield from _run(node.inner, item, {**names, index: number, element: item})


def _value(words: str, dot: Any, names: dict[str, Any]) -> Any:
    value, rest = _called(_WORD.findall(words), dot, names)
    if rest:
        raise ConfigError(f"Go template: {' '.join(rest)} is not known here")
    return value


def _called(words: list[str], dot: Any, names: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the value of a call, or of one word, and the words that follow."""
    function, *rest = words
    if function not in ("eq", "ne", "and"):
        return _operand(words, dot, names)
    values = []
    while rest and rest[0] != ")":
        value, rest = _operand(rest, dot, names)
        values.append(value)
    if function == "and":
        return all(values), rest
    return (values[0] == values[1]) == (function == "eq"), rest


def _operand(words: list[str], dot: Any, names: dict[str, Any]) -> tuple[Any, list[str]]:
    word, *rest = words
    if word == "(":
        value, rest = _called(rest, dot, names)
        return value, rest[1:]
    if word.startswith('"'):
        return re.sub(
            r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), word[1:-1]
        ), rest
    if word.isdecimal():
        return int(word), rest
    if word.startswith(("$", ".")):
        first, *fields = word.split(".")
        value = dot if not first else names[first]
        for name in fields:
            value = value[name] if name else value
        return value, rest
    raise ConfigError(f"Go template: {word} is not known here")
