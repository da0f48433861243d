"""What people think of answers, kept as rows: pairs for DPO and ORPO, single thumbs for KTO."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from arabic_llm.data.rows import Message
from arabic_llm.errors import DataError
from arabic_llm.serving.talk import as_turns

PAIRS, THUMBS = "pairs.jsonl", "thumbs.jsonl"  # two files: a file has rows of one format
_ROLES = ("system", "user", "assistant")


def keep(given: dict[str, Any], folder: Path) -> Path:
    """Add a row to the folder's pairs or thumbs, and return the file. Raises DataError for what is none.

    A pair has `chosen` and `rejected`, a thumb `completion` and `label`; both have the turns of `prompt`.
    """
    prompt = turns_of(given.get("prompt"))
    row: dict[str, Any] = {"prompt": as_turns(prompt)}
    if "label" in given:
        if not isinstance(given["label"], bool):
            raise DataError("label: true or false is wanted")
        row |= {"completion": _answer(given, "completion"), "label": given["label"]}
        return _add(folder / THUMBS, row)
    row |= {side: _answer(given, side) for side in ("chosen", "rejected")}
    if row["chosen"] == row["rejected"]:
        raise DataError("both answers are the same: nothing is learned from them")
    return _add(folder / PAIRS, row)


def turns_of(given: Any) -> list[Message]:
    """Return the turns of a conversation that ends with a question. Raises DataError for anything else."""
    if not isinstance(given, list) or not given:
        raise DataError("a conversation is wanted: a list of turns")
    turns = []
    for turn in given:
        role, content = (turn.get(key) if isinstance(turn, dict) else None for key in ("role", "content"))
        if role not in _ROLES or not isinstance(content, str) or not _is_text(content):
            raise DataError("a turn is wanted: role (system, user, assistant) and content, a text")
        turns.append(Message(role, content))
    spoken = [turn.role for turn in turns[turns[0].role == "system" :]]
    if len(spoken) % 2 == 0 or spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"]:
        raise DataError("turns are wanted of user and assistant, one after the other; the last asks")
    return turns


def _answer(given: dict[str, Any], name: str) -> list[dict[str, str]]:
    text = given.get(name)
    if not isinstance(text, str) or not text.strip() or not _is_text(text):
        raise DataError(f"{name}: an answer is wanted, a text that is not empty")
    return as_turns([Message("assistant", text)])


def _is_text(text: str) -> bool:
    """Return whether it can be written: half a character cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _add(path: Path, row: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    line = f"{json.dumps(row, ensure_ascii=False)}\n".encode()
    with path.open("a+b") as file:  # one write: two pages add whole lines
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n":
            line = b"\n" + line  # a kill cut the line before it, or a person has written it
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    return path
