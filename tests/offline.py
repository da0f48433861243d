"""What an offline W&B run has written, read as W&B itself reads it: records of a log in blocks."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_OPENING = 7  # bytes of the file before its first record
_BLOCK = 2**15  # bytes; what is left of one that is too short for a header is filled with zeros
_HEADER = struct.Struct("<IHB")  # checksum, length, which part of a record: whole, first, middle, last
_WHOLE, _FIRST, _LAST = 1, 2, 4


def records(folder: Path) -> list[Record]:
    """Return the records of the one run of a folder, of all its starts in their order."""
    return [record for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")) for record in _of(file)]


def history(folder: Path) -> list[dict[str, Any]]:
    """Return the lines that were logged, each with its `_step`."""
    return [_values(record.history.item) for record in records(folder) if record.HasField("history")]


def summary(folder: Path) -> dict[str, Any]:
    """Return the run's summary as it was at its end."""
    found: dict[str, Any] = {}
    for record in records(folder):
        if record.HasField("summary"):
            found |= _values(record.summary.update)
    return found


def config(folder: Path) -> dict[str, Any]:
    """Return the configuration that the run was begun with."""
    (run,) = [record.run for record in records(folder) if record.HasField("run")][:1]
    return {key: value for key, value in _values(run.config.update).items() if key != "_wandb"}


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _of(file: Path) -> Iterator[Record]:
    content, at, whole = file.read_bytes(), _OPENING, b""
    while at + _HEADER.size <= len(content):
        room = _BLOCK - at % _BLOCK
        if room < _HEADER.size:
            at += room
            continue
        _, length, part = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        whole = (b"" if part in (_WHOLE, _FIRST) else whole) + content[at : at + length]
        at += length
        if part in (_WHOLE, _LAST):
            record = Record()
            record.ParseFromString(whole)
            yield record
