"""docs/reference.md, read off the schema: every setting with its type, default and meaning; options.

Types are those of arabic_llm/config/, meanings the comments beside the fields, defaults those of conf/.
"""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from io import StringIO
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from arabic_llm.config import compose as ours
from arabic_llm.config import paths, schemas
from arabic_llm.config.data import SourceConfig
from arabic_llm.config.run import RunConfig

GROUPS = {
    "model": "which base model",
    "data": "what it learns from",
    "adapter": "what is trained",
    "hw": "what it runs on; it never changes what is learned",
    "suite": "what it is evaluated on",
    "judge": "which model is asked about mistakes that no check explains",
    "task": "what to do",
}
COMMON_TASK = "sft"  # its settings are shown first: those of every task that trains
HEAD = "| setting | type | default | meaning |\n|---|---|---|---|"


@dataclass(frozen=True)
class Setting:
    """One key of the configuration."""

    key: str
    type: str
    default: str
    meaning: str

    def __str__(self) -> str:
        """Return a row of the table."""
        default = f" `{self.default}`".replace("|", "\\|") if self.default else ""
        return f"| `{self.key}` | {self.type} |{default} | {self.meaning} |"


def page() -> str:
    """Return all settings, group by group, as Markdown."""
    composed = _composed()
    lines = ["## Settings of a run", "", HEAD]
    lines += [
        str(s) for s in _settings(RunConfig, composed, "") if "." not in s.key and s.key not in GROUPS
    ]
    for group, question in GROUPS.items():
        lines += ["", f"## {group}: {question}", ""]
        if group == "task":
            lines += list(_tasks())
            continue
        own = typing.get_type_hints(RunConfig)[group]
        lines += [HEAD, *map(str, _settings(own, composed[group], f"{group}."))]
    return "\n".join(lines) + "\n"


def options() -> dict[str, list[str]]:
    """Return group -> a line for each of its options: its name, and what its file says first."""
    groups = sorted(path for path in paths.CONF.iterdir() if path.is_dir())
    return {g.name: [f"- `{f.stem}`{_said(f)}" for f in sorted(g.glob("*.yaml"))] for g in groups}


def keys() -> set[str]:
    """Return every key that can be set; of what has names of its own the name is `<name>`."""
    found = {s.key for s in _settings(RunConfig, _composed(), "")}
    for group in GROUPS.keys() - {"task"}:
        hint = typing.get_type_hints(RunConfig)[group]
        found |= {s.key for s in _settings(hint, {}, f"{group}.")}
    for name in _task_names():
        found |= {s.key for s in _settings(_type_of_task(name), {}, "task.")}
    return found


def _said(file: Path) -> str:
    if file.parent.name == "task":
        module = paths.PACKAGE / "tasks" / file.name
        text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) if module.exists() else None
        return f": {text.splitlines()[0]}" if text else ""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.removeprefix("#").strip())
    said = " ".join(lines).replace("- NC", "-NC")  # a licence, cut at the end of a line
    sentence = re.split(r"(?<=\.)\s(?=[A-Z`])", said)[0] or _hub_id(file)
    return f": {sentence}" if sentence else ""


def _hub_id(file: Path) -> str:
    return str(OmegaConf.to_container(OmegaConf.load(file), resolve=False).get("hub_id", ""))


def _tasks() -> Iterator[str]:
    """Yield the settings of tasks: those of COMMON_TASK, then what each other one has beside them."""
    common = _of_task(COMMON_TASK)
    yield f"`task={COMMON_TASK}`; other tasks that train have those of these that they need."
    yield ""
    yield HEAD
    yield from map(str, common.values())
    for name in _task_names():
        own = _of_task(name)
        differing = [s for key, s in own.items() if s != common.get(key)]
        if name == COMMON_TASK or not differing:
            continue
        yield from ("", f"### task={name}", "", HEAD)
        yield from map(str, differing)


def _task_names() -> list[str]:
    """Return the tasks whose settings have a type of their own; one that has none has only those of all."""
    return sorted(f.stem for f in (paths.CONF / "task").glob("*.yaml") if _type_of_task(f.stem))


def _type_of_task(name: str) -> Any:
    found = "".join(map(str.capitalize, name.split("_"))) + "Config"
    return next((node for node in schemas.TASKS if node.__name__ == found), None)


def _of_task(name: str) -> dict[str, Setting]:
    found = _settings(_type_of_task(name), _composed(f"task={name}")["task"], "task.")
    return {s.key: s for s in found if s.key != "task.name"}


@cache
def _composed(*overrides: str) -> dict[str, Any]:
    ours.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        config = compose("config", ["output_dir=outputs/...", *overrides])
    return typing.cast(dict[str, Any], OmegaConf.to_container(config, resolve=False, enum_to_str=True))


def _settings(schema: Any, values: dict[str, Any], prefix: str) -> Iterator[Setting]:
    hints = typing.get_type_hints(schema)
    for field in fields(schema):
        key, hint, value = prefix + field.name, hints[field.name], values.get(field.name)
        inner = _dataclass_of(hint)
        if inner is not None and typing.get_origin(hint) is dict:
            yield Setting(f"{key}.<name>", _type(inner), "", _meaning(schema, field.name, hint))
            if inner is not SourceConfig:  # its keys are those of data
                yield from _settings(inner, {}, f"{key}.<name>.")
        elif inner is not None and hint is inner:
            yield from _settings(inner, value if isinstance(value, dict) else {}, f"{key}.")
        else:
            default = _default(value if field.name in values else _of_schema(field))
            yield Setting(key, _type(hint), default, _meaning(schema, field.name, hint))


def _dataclass_of(hint: Any) -> Any:
    """Return the dataclass that a field holds, alone or by name, or None."""
    held = typing.get_args(hint)[1] if typing.get_origin(hint) is dict else hint
    return held if is_dataclass(held) else None


def _of_schema(field: Any) -> Any:
    value = field.default_factory() if callable(field.default_factory) else field.default
    return value.value if isinstance(value, Enum) else value


def _default(value: Any) -> str:
    if value in (None, "???", ""):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_default(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_default, value)) + "]"
    return str(value)


def _type(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, UnionType):
        parts = [_type(part) for part in typing.get_args(hint) if part is not NoneType]
        return f"{' or '.join(parts)}, or null"
    if typing.get_origin(hint) is list:
        return f"list of {_type(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return f"{_type(typing.get_args(hint)[1])} by name"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.value}`" for member in hint)
    if is_dataclass(hint):
        return "settings"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "`true`, `false`"}.get(
        getattr(hint, "__name__", ""), "any"
    )


def _meaning(schema: type, name: str, hint: Any) -> str:
    """Return the comment beside the field, and those beside the values that it may have."""
    said = next((c[name] for c in map(_comments, schema.__mro__[:-1]) if name in c), "")
    kinds = [h for h in (hint, *typing.get_args(hint)) if isinstance(h, type) and issubclass(h, Enum)]
    values = [f"`{value}`: {text}" for kind in kinds for value, text in _comments(kind).items()]
    if not said and kinds:
        said = re.split(r"\.(?:\s|$)|;", inspect.getdoc(kinds[0]) or "")[0]  # what such a value says at all
        said = said[0].lower() + said[1:]
    whole = "; ".join(part for part in (said, *values) if part)
    return whole.replace("|", "\\|").replace("<", "&lt;")


@cache
def _comments(schema: type) -> dict[str, str]:
    """Return name -> comment at the end of its statement, of a class's fields or values."""
    source = inspect.getsource(schema)
    ends = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and node.end_lineno in ends:
            found[target.id] = ends[node.end_lineno]
    return found
