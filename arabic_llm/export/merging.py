"""What an adapter makes of its base's weights, one tensor at a time: LoRA, rsLoRA, DoRA, whole modules.

The formulas are PEFT's (tuners/lora). Of a layer `down` is (rank, inputs), `up` (outputs, rank); of a table
of tokens (rank, words) and (hidden size, rank).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from arabic_llm.errors import CheckpointError
from arabic_llm.export.tensor_files import Kind, Weights
from arabic_llm.models import adapter_files, four_bits, opening

_PREFIX = "base_model.model."  # of PEFT's names
_OF_TOKENS = ".token_adapter"
_WHOLE = ".base_layer"  # the layer itself, where it is saved beside what was added
_TOKENS = "token_adapter.trainable_tokens_delta"  # rows of a table, whole
_ADDED = (
    *("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector"),
    *("lora_embedding_A", "lora_embedding_B", _TOKENS),
)


@dataclass(frozen=True)
class Skeleton:
    """The modules of a model that a merge must tell apart, by name."""

    linear: frozenset[str]  # but the head: what a base of 4 bits holds in 4 bits
    table: str  # of tokens
    head: str
    is_tied: bool


def skeleton(folder: Path) -> Skeleton:
    """Return the modules of the model in a folder; none of its weights is read."""
    with opening.opened(folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(config)
    names = {id(module): name for name, module in model.named_modules()}
    head = names[id(model.get_output_embeddings())]
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    tied = bool(config.get_text_config().tie_word_embeddings)
    return Skeleton(frozenset(linear - {head}), names[id(model.get_input_embeddings())], head, tied)


class Merged:
    """The weights of a base with an adapter in them; `read` computes one of them."""

    def __init__(
        self, base: Path, adapter: Path | None, *, is_4bit: bool, dtype: torch.dtype | None
    ) -> None:
        """Look at what there is: a base and what was trained on it, or (no adapter) whole weights.

        `dtype` is what they are read as; none: each as the base's file holds it. Raises CheckpointError
        for a part of the adapter that has no place in the base, or that nothing here can merge.
        """
        self._weights, self._skeleton = Weights(base), skeleton(base)
        self._is_4bit, self._dtype = is_4bit, dtype
        self._adapter = None if adapter is None else Added(adapter)
        s = self._skeleton
        self.is_tied = s.is_tied and self._follows(s)
        self.of = dict(self._planned())
        if self._adapter is not None:
            self._adapter.refuse_strays({name.rpartition(".")[0] for name in self.of} | {s.head})

    @property
    def vocab_size(self) -> int:
        """Return the rows of the table of tokens: an adapter may have added some."""
        return self.of[f"{self._skeleton.table}.weight"].shape[0]

    def read(self, name: str) -> Tensor:
        """Return a tensor with what was learned in it, in the numbers that `of` says."""
        return self.exact(name).to(self.of[name].dtype)

    def exact(self, name: str) -> Tensor:
        """Return a tensor with what was learned in it, in float32; as it was where nothing was."""
        module, _, part = name.rpartition(".")
        is_rounded = self._is_4bit and module in self._skeleton.linear and part == "weight"
        added = self._adapter
        if not is_rounded and (added is None or not added.touches(module)):
            return self._weights.read(self._filed(name))
        own = None if added is None else added.whole(module, part)
        value = (self._weights.read(self._filed(name)) if own is None else own).float()
        if is_rounded and own is None:
            value = four_bits.rounded(value)
        if added is not None:
            value = added.applied(module, part, value)
        return value

    def _follows(self, s: Skeleton) -> bool:
        """Return whether a head that was the table still is: neither changed, or both alike."""
        added = self._adapter
        if added is None or not (added.touches(s.table) or added.touches(s.head)):
            return True
        if not added.touches(s.head):
            return added.has_rows_only(s.table)  # PEFT ties them to the head
        table, head = added.whole(s.table, "weight"), added.whole(s.head, "weight")
        is_plain = not (added.is_low_rank(s.table) or added.is_low_rank(s.head))
        return is_plain and table is not None and head is not None and torch.equal(table, head)

    def _planned(self) -> Iterator[tuple[str, Kind]]:
        """Yield each tensor that is written, in the order of the base's files."""
        head, table = (f"{name}.weight" for name in (self._skeleton.head, self._skeleton.table))
        for name, filed in self._weights.of.items():
            if self._skeleton.is_tied and name == head:
                continue  # a copy of the table, which some files hold
            shape = filed.shape
            if self._adapter is not None:
                shape = self._adapter.shape(name.rpartition(".")[0], name.rpartition(".")[2], shape)
            dtype = (
                self._dtype if self._dtype is not None and filed.dtype.is_floating_point else filed.dtype
            )
            yield name, Kind(dtype, shape)
            if name == table and self._skeleton.is_tied and not self.is_tied:
                yield head, Kind(dtype, shape)

    def _filed(self, name: str) -> str:
        """Return the name of what a base's file holds: of a tied head, the table."""
        is_head = name == f"{self._skeleton.head}.weight"
        return f"{self._skeleton.table}.weight" if is_head and self._skeleton.is_tied else name


class Added:
    """The tensors of an adapter, by module and part."""

    def __init__(self, folder: Path) -> None:
        """Read its settings and where its tensors lie; they are small, and read when they are used."""
        self._folder = folder
        saved = adapter_files.read(folder)
        self._config: Mapping[str, Any] = saved.config
        self._file = Weights(folder, [adapter_files.WEIGHTS])
        self._by_module: dict[str, dict[str, str]] = {}
        for name in saved.shapes:
            module, part = _split(name.removeprefix(_PREFIX))
            self._by_module.setdefault(module, {})[part] = name
        for module in [name for name in self._by_module if name.endswith(_OF_TOKENS)]:  # PEFT's own copy
            copied = self._by_module.pop(module)
            if (own := self._by_module.get(module.removesuffix(_OF_TOKENS))) is not None:
                own |= copied  # of a tied head there is nothing else: it is the table

    def touches(self, module: str) -> bool:
        """Return whether it changes a module."""
        return module in self._by_module

    def is_low_rank(self, module: str) -> bool:
        """Return whether it adds a product of two matrices to a module."""
        return any(part.startswith("lora_") for part in self._by_module.get(module, ()))

    def has_rows_only(self, module: str) -> bool:
        """Return whether it changes some rows of a module and nothing else of it."""
        return set(self._by_module.get(module, ())) - {"weight"} == {_TOKENS}

    def whole(self, module: str, part: str) -> Tensor | None:
        """Return weight or bias as it was trained itself, or None: the base's holds."""
        return self._read(module, part)

    def shape(self, module: str, part: str, base: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what becomes of a tensor: a table may have more rows."""
        own = self._by_module.get(module, {})
        if part in own:
            base = self._file.of[own[part]].shape
        if _TOKENS in own and part == "weight":
            return (max(base[0], max(self._indices(module)) + 1), *base[1:])
        return base

    def applied(self, module: str, part: str, value: Tensor) -> Tensor:
        """Return weight or bias of a module with what was added to it."""
        if part == "bias":
            bias = self._read(module, "lora_B.bias")
            return value if bias is None else value + self._scale(module) * bias.float()
        if (rows := self._read(module, _TOKENS)) is not None:
            indices = self._indices(module)
            more = max(0, max(indices) + 1 - value.shape[0])
            value = torch.cat([value, value.new_zeros((more, value.shape[1]))]) if more else value.clone()
            value[indices] = rows.float()
        if (down := self._read(module, "lora_A.weight")) is not None:
            return self._with_low_rank(module, value, down.float())
        if (down := self._read(module, "lora_embedding_A")) is not None:
            up = self._read(module, "lora_embedding_B")
            if up is None or self._read(module, "lora_magnitude_vector") is not None:
                raise CheckpointError(
                    f"{self._folder}: DoRA on the table of tokens ({module}) is not merged"
                )
            return self._added(module, value, (up.float() @ down.float()).T)
        return value

    def _with_low_rank(self, module: str, value: Tensor, down: Tensor) -> Tensor:
        up = self._read(module, "lora_B.weight")
        if up is None:
            raise CheckpointError(f"{self._folder}: lacks {module}.lora_B.weight; take the file again")
        value = self._added(module, value, up.float() @ down)
        magnitude = self._read(module, "lora_magnitude_vector")
        if magnitude is None:
            return value
        return value.mul_((magnitude.float() / torch.linalg.norm(value, dim=1)).unsqueeze(1))

    def _added(self, module: str, value: Tensor, product: Tensor) -> Tensor:
        """Return a weight and what is added to it, in the memory of what is added: one copy, not three."""
        return product.mul_(self._scale(module)).add_(value)

    def refuse_strays(self, modules: set[str]) -> None:
        """Refuse what has no place in the base. Raises CheckpointError naming the first."""
        for module, parts in sorted(self._by_module.items()):
            if module not in modules:
                raise CheckpointError(
                    f"{self._folder}: the base has no {module}; the adapter is of another one"
                )
            for part, name in sorted(parts.items()):
                if part not in (*_ADDED, "weight", "bias"):
                    raise CheckpointError(
                        f"{self._folder}: {name} is nothing that is merged here; use PEFT's"
                    )
        if self._config.get("fan_in_fan_out"):
            raise CheckpointError(f"{self._folder}: fan_in_fan_out is not merged here; use PEFT's")

    def _scale(self, module: str) -> float:
        """Return what the product of the two matrices is multiplied by."""
        own = self._by_module[module]
        rank = self._file.of[own.get("lora_A.weight") or own["lora_embedding_A"]].shape[0]
        patterns = self._config.get("alpha_pattern") or {}
        alpha = patterns.get(get_pattern_key(patterns.keys(), module), self._config["lora_alpha"])
        return float(alpha / (math.sqrt(rank) if self._config.get("use_rslora") else rank))

    def _indices(self, module: str) -> list[int]:
        """Return which rows of a table are the trained ones, in their order."""
        given = self._config.get("trainable_token_indices")
        if isinstance(given, list):
            return given
        names = [name for name in given or {} if module == name or module.endswith(f".{name}")]
        if not names or not isinstance(given, dict):
            raise CheckpointError(f"{self._folder}: trainable_token_indices does not name {module}")
        indices: list[int] = given[names[0]]
        return indices

    def _read(self, module: str, part: str) -> Tensor | None:
        name = self._by_module.get(module, {}).get(part)
        return None if name is None else self._file.read(name)


def _split(name: str) -> tuple[str, str]:
    """Return module and part of one of PEFT's names; of a layer saved whole, its own part."""
    for part in _ADDED:
        if name.endswith(f".{part}"):
            return name.removesuffix(f".{part}"), part
    module, _, part = name.rpartition(".")
    return module.removesuffix(_WHOLE), part
