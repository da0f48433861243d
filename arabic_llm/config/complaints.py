"""One line of ours for what Hydra and OmegaConf say in five: the thing, the place, the cure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from arabic_llm.config import other_names, paths

_SEVERAL = re.compile(r"Ambiguous value for argument '(.*)'\n")
_OF_NO_KIND = re.compile(
    r"Value '(.*)' (?:of type '\w+' could not be converted to (Integer|Float)|is not a valid (bool) .*)"
)
_UNSET = re.compile(r"Environment variable '(.*)' not found")
_KINDS = {"Integer": "no whole number", "Float": "no number", "bool": "neither true nor false"}
_MARKS = str.maketrans({"\u066b": ".", "\u066c": "", "\u060c": ".", ",": "."})  # decimal, thousands; commas
_UNIT = re.compile(r" ?gi?b$", re.IGNORECASE)
_DECIMAL = re.compile(r"\d+,\d+")
_TRAINING = ("train", "training", "finetune", "fine_tune", "finetuning", "lora")  # task=..., elsewhere
_PLAIN = re.compile(r"[A-Za-z_/.][\w/.:-]*", re.ASCII)  # what Hydra reads as it stands


def one_line(error: HydraException | OmegaConfBaseException) -> str:
    """Return what a user should read of an error raised while composing."""
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_option(error)
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        schema = cause.object_type
        known = [f.name for f in fields(schema)] if is_dataclass(schema) else []
        return f"no setting '{cause.full_key}'{did_you_mean(str(cause.full_key), known)}"
    if isinstance(cause, OmegaConfBaseException):
        return _of_a_setting(str(cause.full_key), str(cause.msg or cause).splitlines()[0])
    if several := _SEVERAL.match(str(error)):
        return _several(several[1])
    return " ".join(str(error).split())


def _of_a_setting(key: str, said: str) -> str:
    """Return what OmegaConf says of a setting; a variable that is not set, of what asked last."""
    if unset := _UNSET.search(said):
        return f"${{oc.env:{unset[1]}}}: the environment has no {unset[1]}; set it, or type its value"
    return f"{key}: {_of_its_kind(key, said)}"


def of_a_value(error: Exception) -> str:
    """Return what a user should read where Hydra fails at a value that it did not expect."""
    if isinstance(error, TypeError | AttributeError | LookupError):  # lists and null where a name should be
        return (
            f"what was typed cannot be composed ({error}); a group takes names of its options: suite=sample"
        )
    first, *others = str(error).splitlines() or [""]
    keys = [line.partition("full_key: ")[2] for line in others if "full_key: " in line]
    return f"{keys[0] if keys else 'a value that was typed cannot be'}: {first.partition(' : ')[0]}"


def typed_list(key: str, values: Iterable[str]) -> str:
    """Return what to type for a list of texts: quoted for the shell, and for Hydra where it needs that."""
    quoted = [value if _PLAIN.fullmatch(value) else _in_quotes(value) for value in values]
    return shlex.quote(f"{key}=[{','.join(quoted)}]")


def spelled(value: Any) -> str:
    """Return a value as it is typed: true, null, [a, b], and a text in quotes where it needs them."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {spelled(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(spelled, value)) + "]"
    text = str(value)
    return text if not isinstance(value, str) or not text or _PLAIN.fullmatch(text) else _in_quotes(text)


def _in_quotes(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"'


# Where a setting stands that recipes of others keep beside those of a task.
_ELSEWHERE = {"prefer_chinese_ratio": "data.prefer_chinese_ratio"}


def did_you_mean(key: str, known: list[str]) -> str:
    """Return "; did you mean 'prefix.name'?", or what names there are when none is close."""
    prefix, _, name = key.rpartition(".")
    if name in _ELSEWHERE:
        return f"; did you mean '{_ELSEWHERE[name]}'?"
    if prefix == "task" and (others := _tasks_with(name)):
        return f"; it is one of {others}"
    named = other_names.ours(name)
    if named is not None and ("." not in prefix or named.startswith(f"{prefix}.")):
        return f"; did you mean '{named}'?"
    if guess := get_close_matches(name, known, n=1):
        return f"; did you mean '{prefix}.{guess[0]}'?" if prefix else f"; did you mean '{guess[0]}'?"
    if (setting := _of_a_group(name)) not in (None, key):
        return f"; did you mean '{setting}'?"
    return f"; there are: {', '.join(sorted(known))}" if known else ""


def _tasks_with(name: str) -> str:
    """Return the tasks that have a setting."""
    from arabic_llm.config import reads, schemas  # they read the types, which complain

    names = (reads.task_of(node) for node in schemas.TASKS if name in node.__dataclass_fields__)
    return ", ".join(f"task={one}" for one in names if (paths.CONF / "task" / f"{one}.yaml").is_file())


def _of_a_group(name: str) -> str | None:
    """Return the full key of a setting that was typed without its group."""
    from arabic_llm.config import help  # it reads the schemas, which complain

    return help.setting_like(name)


def _unreadable(error: OverrideParseException) -> str:
    key, equals, value = str(error.override).partition("=")
    if not equals:
        return f"'{key}' is no setting: write key=value"
    return f"{key}: cannot read the value; quote it: '{key}=\"{value}\"'"


def _several(argument: str) -> str:
    """Return what several values can have been meant for."""
    key, _, value = argument.partition("=")
    point = f", a number with a point: {key}={value.replace(',', '.')}" if _DECIMAL.fullmatch(value) else ""
    return (
        f"{argument}: several values are a sweep, whose command begins with -m; a list is written in"
        f" brackets, '{key}=[{value}]'{point}"
    )


def _of_its_kind(key: str, said: str) -> str:
    """Return OmegaConf's word on a value of another kind in ours: "'40k' is no whole number"."""
    if said.endswith(" is not a ListConfig, list or tuple."):
        return f"a list is written in brackets, '{key}=[VALUE,VALUE]'"
    if said.startswith("Cannot convert 'list' to string"):
        files = "; of several files a folder, data.path=FOLDER" if key == "data.path" else ""
        return f"one value, no list{files}"
    if (found := _OF_NO_KIND.fullmatch(said)) is None:
        return said
    value, number, flag = found.groups()
    meant = _UNIT.sub("", value.translate(_MARKS))
    try:
        cure = f"; write {float(meant):g}" if meant != value and number == "Float" else ""
    except ValueError:
        cure = ""
    return f"'{value}' is {_KINDS[number or flag]}{cure}"


def _no_option(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file).partition("/")
    options = sorted(o for o in error.options or [] if not o.endswith("_schema"))
    said = f"no {group} '{name}'; there are: {', '.join(options)}"
    if cure := _own(group, name):
        return f"no {group} '{name}'; {cure}; there are: {', '.join(options)}"
    others = _TRAINING if group == "task" else ()
    if not (close := get_close_matches(name.lower(), [*options, *others], n=1)):
        return said
    return f"{said}; did you mean '{group}={'sft' if close[0] in others else close[0]}'?"


def _own(group: str, name: str) -> str:
    """Return how something of the user's is named, where that was typed as an option."""
    is_place = "/" in name or "\\" in name or Path(name).suffix != "" or Path(name).exists()
    if not is_place or group not in _PLACES:
        return ""
    on_the_hub = f", a repository of the hub {group}.hub_id={name}" if name.count("/") == 1 else ""
    return f"{_PLACES[group]} of yours is {group}.path={name}{on_the_hub}"


_PLACES = {"model": "a folder", "data": "a file", "adapter": "a folder"}
