"""Turns with the keys of OpenAI, ShareGPT, Axolotl and ms-swift: read whole, or refused by name."""

from __future__ import annotations

from collections.abc import Collection
from json import JSONDecodeError
from typing import Any

from arabic_llm.data.reading.column_names import spelling
from arabic_llm.data.reading.json_values import parse
from arabic_llm.data.reading.records import listed, shown
from arabic_llm.data.rows import Message
from arabic_llm.text.words import says_nothing

_ROLES = {
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "model", "chatgpt", "bot", "chatbot", "ai"), "assistant"),
    "developer": "system",  # what OpenAI calls it since 2024
    # Sets that a machine translated have these too (2A2I/argilla-dpo-mix-7k-arabic).
    **{
        spelling(name): role
        for role, names in {
            "user": (
                *("مستخدم", "المستخدم", "مستعمل", "المستعمل", "إنسان", "الإنسان", "بشر", "البشر", "سائل"),
                *(
                    "السائل",
                    "用户",
                    "用戶",
                    "人类",
                    "کاربر",
                    "utilisateur",
                    "usuario",
                    "nutzer",
                    "пользователь",
                    "kullanıcı",
                ),
            ),
            "assistant": (
                *("مساعد", "المساعد", "مساعدة", "المساعدة", "النموذج", "نموذج", "الروبوت", "روبوت", "助手"),
                *("助理", "机器人", "دستیار", "asistente", "assistent", "ассистент", "asistan"),
            ),
            "system": (
                "نظام",
                "النظام",
                "منظومة",
                "系统",
                "系統",
                "système",
                "sistema",
                "система",
                "sistem",
            ),
        }.items()
        for name in names
    },
}
_SPEAKER, _SAID = ("role", "from"), ("content", "value")
# Whether an answer is learned: OpenAI's key, Axolotl's, ms-swift's.
_LEARNED = ("weight", "train", "loss")
_READ = {*_SPEAKER, *_SAID, *_LEARNED}
_BESIDE = (  # columns of LLaMA-Factory, ms-swift and TRL, and what templates and OpenAI call such things
    *("images", "image", "videos", "video", "audios", "audio", "documents", "tools", "functions"),
)
_CURE = "take them out, or name them in data.columns.unread_keys"
_TEXT_PARTS = ("text", "input_text", "output_text")  # of OpenAI's two forms
_NOTHING: tuple[object, ...] = (None, "", [], {}, "[]")  # Parquet gives every turn all keys of the file


class UnusableError(Exception):
    """What is wrong with a record."""


def as_list(value: Any) -> list[Any] | None:
    """Return a list of turns, also one that is written as JSON (a table's cell), or None: it is no list.

    Raises UnusableError for what begins like JSON and is broken.
    """
    if isinstance(value, str) and value.lstrip().startswith(("[{", "[\n", "[ ")):
        try:
            value = parse(value.strip())
        except JSONDecodeError as error:
            raise UnusableError(f"broken JSON: {error.msg} at character {error.pos + 1}") from error
    return value if isinstance(value, list) else None


def role_of(turn: dict[str, Any]) -> str:
    """Return who speaks, in our words: system, user or assistant; another's name as it stands."""
    return _role(_first(turn, _SPEAKER))


def _role(said: Any) -> str:
    name = str(said or "").strip()
    return _ROLES.get(spelling(name), name.casefold())


def read(value: Any, column: str, unread: Collection[str] = ()) -> list[Message]:
    """Return the turns of a list of {role, content} or {from, value}; `unread` keys are left out.

    A system turn that is empty says nothing, and is none. Raises UnusableError for what is no turn, and
    for keys that nothing reads: tool calls and pictures are part of what was said.
    """
    turns = as_list(value)
    if not turns:
        raise UnusableError(f"'{column}' is no list of turns")
    messages = []
    for turn in turns:
        said = _said(turn, column, unread)
        _refuse_two(turn, column)
        role, content = role_of(turn), _content(said, column)
        if not role:
            raise UnusableError(f"'{column}' holds a turn without a role")
        if not says_nothing(content):
            messages.append(Message(role, content, role != "assistant" or _is_learned(turn, column)))
        elif role != "system":
            raise UnusableError(f"'{column}' holds an empty turn")
    if not messages:
        raise UnusableError(f"'{column}' is no list of turns")
    return messages


def _said(turn: Any, column: str, unread: Collection[str]) -> Any:
    """Return what stands for the words of a turn. Raises UnusableError where it has none, or more."""
    if isinstance(turn, dict):
        _refuse_unread(turn, column, unread)  # a call of a tool comes without words
        if (said := _first(turn, _SAID)) is not None:
            return said
    raise UnusableError(f"'{column}' holds a turn without role and content")


def refuse_unread_columns(values: dict[str, Any], unread: Collection[str]) -> None:
    """Raise UnusableError for a conversation that comes with pictures or tools: it is about them."""
    keys = [key for key in _BESIDE if values.get(key) not in _NOTHING and key not in unread]
    if keys:
        raise UnusableError(f"nothing reads what stands beside its turns: {listed(keys)}; {_CURE}")


def _refuse_unread(turn: dict[str, Any], column: str, unread: Collection[str]) -> None:
    keys = [key for key in turn if key not in _READ and key not in unread and turn[key] not in _NOTHING]
    if keys:
        raise UnusableError(
            f"'{column}' holds a turn with keys that nothing reads: {listed(keys)}; {_CURE}"
        )


def _refuse_two(turn: dict[str, Any], column: str) -> None:
    """Raise UnusableError for a turn that has both keys of one thing, and says two things with them."""
    for keys, meant in ((_SPEAKER, _role), (_SAID, lambda said: said)):
        one, other = (turn.get(key) for key in keys)
        if one not in _NOTHING and other not in _NOTHING and meant(one) != meant(other):
            raise UnusableError(f"'{column}' holds a turn whose {' and '.join(keys)} differ; take one out")


def _content(said: Any, column: str) -> str:
    """Return what is said: a text, or the text of OpenAI's content parts, one after the other."""
    if isinstance(said, str):
        return said
    if not isinstance(said, list):
        raise UnusableError(f"'{column}' holds a turn without role and content")
    texts = [part if isinstance(part, str) else _part(part, column) for part in said]
    return "".join(texts)


def _part(part: Any, column: str) -> str:
    held = (
        {key: value for key, value in part.items() if value not in _NOTHING}
        if isinstance(part, dict)
        else {}
    )
    is_text = held.get("type") in _TEXT_PARTS and isinstance(held.get("text", ""), str)
    if not is_text or held.keys() - {"type", "text"}:  # a picture's may hold its type alone
        raise UnusableError(f"'{column}' holds a part that is no text: {shown(held.get('type', part))}")
    return str(held.get("text", ""))


def _is_learned(turn: dict[str, Any], column: str) -> bool:
    """Return whether an answer is learned: it is, unless one of the keys says no."""
    marks = {key: turn[key] for key in _LEARNED if turn.get(key) is not None}
    for key, mark in marks.items():
        if mark not in (0, 1):
            raise UnusableError(f"'{column}' holds a turn with {key}={shown(repr(mark))}: neither 0 nor 1")
    return all(marks.values())


def _first(turn: dict[str, Any], keys: Collection[str]) -> Any:
    """Return the first value that is there; Parquet gives every turn all keys of the file."""
    return next((turn[key] for key in keys if turn.get(key) is not None), None)
