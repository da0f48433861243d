"""What `--help` says: a page of commands and options, and by group each setting's type and meaning."""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra._internal.utils import get_args_parser

from arabic_llm.config import other_names, paths, schemas
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import TaskConfig
from arabic_llm.errors import ConfigError

_WIDTH = 110
_ALIKE = 0.8  # of names of all groups, which are many
_FLAGS = ("--help", "-h")
_WORDS = {str: "text", int: "integer", float: "number", bool: "true|false", NoneType: "null", Any: "any"}
_COMMANDS = """\
Adapt a language model to Arabic on the hardware you have.

  python -m arabic_llm.run                                        fine-tune the built-in model
  python -m arabic_llm.run task=study                             evaluate, fine-tune, evaluate, compare
  python -m arabic_llm.run model=qwen2_7b adapter=qlora hw=4gb    a real model
  python -m arabic_llm.run model.path=my/folder data.path=my.jsonl  any model, any file
  python -m arabic_llm.run -m adapter.rank=4,8 adapter.alpha=16,32  a sweep
  python -m arabic_llm.run dry_run=true ...                       say what would happen, write nothing
  python -m arabic_llm.run +experiment=real_input                 a recipe of experiments/experiment/
"""
_MORE = """\
  --help adapter      what each option of a group is for, and its settings: type and meaning
  --help task=sft     the settings of a task
  --cfg job           all settings of a command, with their values
  --hydra-help        the flags of Hydra, which reads the command line"""


def asked() -> list[str] | None:
    """Return what the command line asks help for (nothing: the page), or None where it asks for none."""
    arguments = sys.argv[1:]
    if not any(argument.partition("=")[0] in _FLAGS for argument in arguments):
        return None
    given = [a.partition("=")[2] if a.partition("=")[0] in _FLAGS else a for a in arguments]
    return [topic.lstrip("+") for topic in given if topic and not topic.startswith("-")]


def said(topics: list[str]) -> str:
    """Return the help on some groups (`adapter`, `task=sft`, `adapter.rank=8`), or the page.

    Raises ConfigError for what is no group and no setting.
    """
    found = dict.fromkeys(group for topic in topics if (group := _group(topic)))
    return "\n".join(_on_group(*group) for group in found) if found else _page()


def _group(topic: str) -> tuple[str, str] | None:
    """Return (group, option or nothing) that a topic is about; None for a setting beside the groups."""
    key, _, value = topic.partition("=")
    name = key.partition(".")[0]
    if name in _groups():
        return name, value if key == name else ""
    if name in {field.name for field in fields(RunConfig)} or key in ("experiment", "hydra"):
        return None
    raise ConfigError(f"--help: no group '{topic}'; there are: {', '.join(_groups())}")


def _page() -> str:
    groups = [
        textwrap.fill(f"{group}: {', '.join(_options(group))}", _WIDTH, subsequent_indent="    ")
        for group in _groups()
    ]
    beside = [field for field in _settings(RunConfig, "") if field[0].partition(".")[0] not in _groups()]
    return "\n".join(
        [
            _COMMANDS,
            "Groups (group=option):",
            *(textwrap.indent(group, "  ") for group in groups),
            "",
            "Settings (key=value, e.g. adapter.rank=8) beside those of the groups:",
            *_table([field for field in beside if not field[0].startswith("judge.")]),
            "",
            "More:",
            _MORE,
        ]
    )


def _on_group(group: str, option: str) -> str:
    options = _options(group)
    if option and option not in options:
        raise ConfigError(f"no {group} '{option}'; there are: {', '.join(options)}")
    schema = _task(option) if group == "task" else get_type_hints(RunConfig)[group]
    whose = f"{group}={option}" if option else group
    chosen = [option] if option else options
    return "\n".join(
        [
            f"Options of {group} ({group}=option):" if not option else f"{whose}:",
            *_table([(name, _purpose(paths.CONF / group / f"{name}.yaml"), "") for name in chosen]),
            "",
            f"Settings of {whose} (key=value):",
            *_table([row for row in _settings(schema, f"{group}.") if row[0] != f"{group}.name"]),
            *([] if option or group != "task" else ["  and those of each task: --help task=sft"]),
            "",
        ]
    )


def refuse_dashes(arguments: list[str]) -> None:
    """Refuse what is typed as other programs want it. Raises ConfigError: `--max_steps 20`."""
    for argument in get_args_parser().parse_known_args(arguments)[1]:
        typed, equals, value = argument.lstrip("-").partition("=")
        key = setting_like(typed.replace("-", "_")) or "key"
        if not equals and "=" not in key:
            behind = arguments[arguments.index(argument) + 1 :][:1]
            value = "".join(word for word in behind if "=" not in word and not word.startswith("-"))
        if not value and get_type_hints(RunConfig).get(key) is bool:
            value = "true"
        written = key if "=" in key else f"{key}={value or 'VALUE'}"
        raise ConfigError(f"{argument} is no option: settings are written {written}; --help lists them")


def setting_like(name: str) -> str | None:
    """Return the full key of the setting whose last name, ours or of others, this is or resembles."""
    known = {key.rpartition(".")[2]: key for key in every_setting() if "<" not in key}
    if (ours := other_names.ours(name)) is not None and name not in known:
        return ours
    close = get_close_matches(name, [*known, *other_names.every()], n=1, cutoff=_ALIKE)
    return known.get(close[0]) or other_names.ours(close[0]) if close else None


def every_setting() -> Iterator[str]:
    """Yield the full key of each setting; of two with the same last name, the one that is meant is last."""
    for option in reversed(_options("task")):
        yield from (key for key, _, _ in _settings(_task(option), "task."))
    for group in ("suite", "hw", "adapter", "model", "data"):
        yield from (key for key, _, _ in _settings(get_type_hints(RunConfig)[group], f"{group}."))
    yield from (key for key, _, _ in _settings(_task("sft"), "task."))
    yield from (field.name for field in fields(RunConfig))


def _groups() -> list[str]:
    return sorted(path.name for path in paths.CONF.iterdir() if path.is_dir())


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (paths.CONF / group).glob("*.yaml"))


def _purpose(file: Path) -> str:
    """Return the first line of the comment that a file begins with."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            return line.removeprefix("#").strip()
    return ""


def _task(option: str) -> type:
    """Return the schema of a task's settings; of all of them where none is named."""
    if not option:
        return TaskConfig
    written = (paths.CONF / "task" / f"{option}.yaml").read_text(encoding="utf-8")
    found = re.findall(r"^ *- (\w+)_schema\b", written, re.MULTILINE)
    name = found[0].replace("_", "") + "config"
    return next(node for node in schemas.TASKS if node.__name__.lower() == name)


def _settings(schema: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield (full key, type, meaning) of each setting, those within settings too."""
    hints, meanings = get_type_hints(schema), _meanings(schema)
    for field in fields(schema):
        kind, key = hints[field.name], f"{prefix}{field.name}"
        inner = [kind, *(part for part in get_args(kind) if get_origin(kind) is dict)]
        if (nested := next((part for part in inner if is_dataclass(part)), None)) is not None:
            key += "." if nested is kind else ".<name>."
            yield from _settings(nested, key)  # type: ignore[arg-type]
        else:
            yield key, _words(kind), meanings.get(field.name, "")


def _words(kind: Any) -> str:
    """Return a type as people say it: the values of an enum, text, a list of numbers."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(member.name for member in kind)
    parts = [_words(part) for part in get_args(kind)]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(parts)
    if get_origin(kind) is list:
        return f"[{parts[0]}, ...]"
    if get_origin(kind) is dict:
        return "{" + f"{parts[0]}: {parts[1]}, ..." + "}"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


@cache
def _meanings(schema: type) -> dict[str, str]:
    """Return the comments beside a dataclass's fields, those it inherits among them."""
    found: dict[str, str] = {}
    for owner in reversed(schema.__mro__):
        if not is_dataclass(owner):
            continue
        source = textwrap.dedent(inspect.getsource(owner))
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
        body = ast.parse(source).body[0]
        for node in body.body if isinstance(body, ast.ClassDef) else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = comments.get(node.end_lineno or 0, "")
    return found


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    """Return rows as lines of columns, none wider than its place: the last goes on below."""
    widths = [min(max((len(row[column]) for row in rows), default=0), 36) for column in (0, 1)]
    lines = [
        f"  {key:<{widths[0]}}  {kind:<{widths[1]}}  {meaning}".rstrip() for key, kind, meaning in rows
    ]
    return [part for line in lines for part in textwrap.wrap(line, _WIDTH, subsequent_indent=" " * 6)]
