"""Weights on the disk one tensor at a time: read where they lie, written into files of a size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arabic_llm import files
from arabic_llm.errors import CheckpointError
from arabic_llm.models import opening

_TYPES = {  # as safetensors names them
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_LENGTH_BYTES, _ALIGNED = 8, 8  # of a header: its length before it, and what follows it begins at
_LARGEST_HEADER = 10**8
_BIN = "pytorch_model.bin"


@dataclass(frozen=True)
class Kind:
    """What a tensor is, before it is read: numbers and shape."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Return the bytes that it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor lie."""

    file: Path
    offset: int


class Weights:
    """The tensors of a folder, by name, in the order of its files; none is in memory."""

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        """Read where each lies, in the files named or in those of a model.

        Raises CheckpointError for weights that cannot be read so.
        """
        self.of: dict[str, Kind] = {}
        self._places: dict[str, Place] = {}
        self._loaded: dict[str, Tensor] = {}
        for name in names or _weight_files(folder):
            self._read_header(folder / name) if name != _BIN else self._map(folder / name)

    def read(self, name: str) -> Tensor:
        """Return a tensor, as it is on the disk; the memory is the caller's to let go."""
        if name in self._loaded:
            return self._loaded[name]
        what, place = self.of[name], self._places[name]
        buffer = bytearray(what.num_bytes)
        with place.file.open("rb", buffering=0) as file:
            file.seek(place.offset)
            view, done = memoryview(buffer), 0
            while done < len(buffer) and (count := file.readinto(view[done:])):
                done += count
        if done < what.num_bytes:
            raise CheckpointError(f"{place.file}: ends in the midst of {name}; take the file again")
        return torch.frombuffer(buffer, dtype=what.dtype).reshape(what.shape) if buffer else torch.empty(0)

    def _read_header(self, path: Path) -> None:
        """Note the tensors of a file: a length, a JSON object of that length, their bytes."""
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            text = file.read(min(length, _LARGEST_HEADER))
        try:
            header: dict[str, Any] = json.loads(text)
            header.pop("__metadata__", None)
            for name, said in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                self.of[name] = Kind(_TYPES[said["dtype"]], tuple(said["shape"]))
                self._places[name] = Place(path, _LENGTH_BYTES + length + said["data_offsets"][0])
        except KeyError as error:
            known = ", ".join(_TYPES)
            raise CheckpointError(
                f"{path}: holds numbers of type {error}; those of {known} are read"
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path}: no tensors can be read ({error}); take the file again"
            ) from error

    def _map(self, path: Path) -> None:
        """Note the tensors of an older file, whose bytes stay on the disk until they are used."""
        with opening.opened(path.parent):
            self._loaded = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        self.of = {name: Kind(t.dtype, tuple(t.shape)) for name, t in self._loaded.items()}


def _weight_files(folder: Path) -> list[str]:
    """Return the names of a model's files of weights."""
    if (folder / opening.INDEX).is_file():
        return opening.shards(folder)
    for name in ("model.safetensors", _BIN):
        if (folder / name).is_file():
            return [name]
    raise CheckpointError(f"{folder} holds no weights (no model.safetensors); take its files again")


def write(folder: Path, planned: dict[str, Kind], read: Callable[[str], Tensor], shard_bytes: int) -> None:
    """Write tensors into files of at most so many bytes, each file whole or not at all.

    A tensor that is larger than that gets a file of its own. One is in memory at a time.
    """
    shards = list(_shards(planned, shard_bytes))
    names = [
        "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        for number in range(1, len(shards) + 1)
    ]
    for name, shard in zip(names, shards, strict=True):
        _write_file(folder / name, {key: planned[key] for key in shard}, read)
    if len(shards) > 1:
        where = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        total = sum(what.num_bytes for what in planned.values())
        files.write_json(folder / opening.INDEX, {"metadata": {"total_size": total}, "weight_map": where})


def _shards(planned: dict[str, Kind], shard_bytes: int) -> Iterator[Sequence[str]]:
    shard: list[str] = []
    size = 0
    for name, what in planned.items():
        if shard and size + what.num_bytes > shard_bytes:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += what.num_bytes
    yield shard


def _write_file(path: Path, planned: dict[str, Kind], read: Callable[[str], Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, what in planned.items():
        offsets = [at, at + what.num_bytes]
        header[name] = {"dtype": _NAMES[what.dtype], "shape": list(what.shape), "data_offsets": offsets}
        at += what.num_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with files.writing(path) as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for name, what in planned.items():
            tensor = read(name)
            if (tensor.dtype, tuple(tensor.shape)) != (what.dtype, what.shape):
                raise AssertionError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {what}")
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
            del tensor
