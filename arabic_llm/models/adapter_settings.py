"""What an adapter's own settings ask for, looked at before PEFT does it: patterns, and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arabic_llm.errors import CheckpointError
from arabic_llm.limits import TooLongError, limited

CONFIG = "adapter_config.json"
_LARGEST_RANK = 2**16
_SHOWN = 80  # characters of a pattern
_CPU_SECONDS, _MORE_BYTES = 5, 2**28  # a thousand names against ten patterns take a hundredth of it
_WHOLE, _END, _PART, _NUMBERED = (  # of a layer's name, as PEFT 0.21 matches them
    *(r"(?:{})\Z", r"(.*\.)?({})$", r"(^|.*\.){}($|\..*)", r"(?:^|.*?\.){}\.(?P<idx>\d+)\."),
)
_FORMS = {
    **dict.fromkeys(("target_modules", "exclude_modules"), _WHOLE),
    **dict.fromkeys(("rank_pattern", "alpha_pattern"), _END),
    "modules_to_save": _PART,
    "layers_pattern": _NUMBERED,
}


def check(folder: Path, settings: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse an adapter that would fill the memory, or whose patterns take for ever on a model's layers.

    Raises CheckpointError naming the setting.
    """
    path, said = folder / CONFIG, ""
    for key, rank in _ranks(settings):
        if isinstance(rank, int) and rank > _LARGEST_RANK:
            raise CheckpointError(f"{path}: {key} is {rank}, and no layer is so wide; take the file again")
    try:
        with limited(_CPU_SECONDS, _MORE_BYTES):
            for key, pattern in _patterns(settings):
                said = f"{path}: {key}: {pattern[:_SHOWN]!r}"
                found = re.compile(_FORMS[key].format(pattern))
                for name in names:
                    found.match(name)
    except (re.error, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{said} is no pattern ({error}); correct it") from error
    except (TooLongError, MemoryError) as error:
        raise CheckpointError(f"{said} takes too long to match; name the layers instead") from error


def _ranks(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "r", settings.get("r")
    given = settings.get("rank_pattern")
    for rank in given.values() if isinstance(given, dict) else ():
        yield "rank_pattern", rank


def _patterns(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (setting, pattern) for all that PEFT takes for patterns; what is no text is left to it.

    Of lists, PEFT takes names of target modules and patterns of the others.
    """
    for key, form in _FORMS.items():
        given = settings.get(key)
        if isinstance(given, str):
            yield key, given
        elif isinstance(given, dict) or (isinstance(given, list) and form != _WHOLE):
            yield from ((key, pattern) for pattern in given if isinstance(pattern, str))
