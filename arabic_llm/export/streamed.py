"""A model larger than the memory, run block by block: each is read when its turn comes, then let go."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import init_empty_weights
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from arabic_llm.export.merging import Merged, Skeleton, skeleton
from arabic_llm.export.tensor_files import Weights
from arabic_llm.models import adapter_files, four_bits, opening

Read = Callable[[str], Tensor]
# Of PEFT's names in a model; its files leave out the adapter's.
_PREFIX, _ADAPTER, _SAVED = "base_model.model.", ".default", ".modules_to_save"
_ROWS = "trainable_tokens_delta"
_WHOLE = (".base_layer", ".original_module", ".token_adapter")
_SHARE = 0.7  # of the memory that is free: activations and the rest of the program take some


def fits(folder: Path) -> bool:
    """Return whether the weights of a folder fit this machine's memory in float32."""
    numbers = sum(kind.num_bytes // kind.dtype.itemsize for kind in Weights(folder).of.values())
    return 4 * numbers < _SHARE * psutil.virtual_memory().available


def model(folder: Path, adapter: Path | None = None, *, is_4bit: bool = False) -> PreTrainedModel:
    """Return the model of a folder in float32, with an adapter, that holds one block at a time."""
    with opening.opened(folder), init_empty_weights(include_buffers=False):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        rows = Merged(
            folder, adapter, is_4bit=is_4bit, dtype=None
        ).vocab_size  # an adapter may have added some
        config.get_text_config().vocab_size = rows
        whole = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if adapter is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = LoraConfig.from_pretrained(adapter, trust_remote_code=False)
            whole = get_peft_model(whole, settings, low_cpu_mem_usage=True)
    added = None if adapter is None else Weights(adapter, [adapter_files.WEIGHTS])
    read = _reader(Weights(folder), added, skeleton(folder), is_4bit=is_4bit)
    for name, block in _blocks(whole):
        streaming = _Streaming(name, read)
        block.register_forward_pre_hook(streaming.load)
        block.register_forward_hook(streaming.unload)
    return whole.eval()


def _reader(base: Weights, added: Weights | None, of: Skeleton, *, is_4bit: bool) -> Read:
    """Return what reads a weight, of the base or of the adapter, by its name in the model."""
    head, table = f"{of.head}.weight", f"{of.table}.weight"

    def read(name: str) -> Tensor:
        saved = name.replace(_SAVED, "").replace(_ADAPTER, "")
        if added is not None and (_ADAPTER in name or _WHOLE[0] in name):
            if of.is_tied and saved not in added.of and _ROWS in saved:
                saved = saved.replace(f"{of.head}.", f"{of.table}.")  # the same rows
            for filed in (saved, saved.removesuffix(".weight")):
                if filed in added.of:
                    return added.read(filed).float()
        name = name.removeprefix(_PREFIX)
        for part in _WHOLE:
            name = name.replace(part, "")
        value = base.read(table if name == head and of.is_tied else name).float()
        is_rounded = is_4bit and name.rpartition(".")[0] in of.linear and name.endswith(".weight")
        return four_bits.rounded(value) if is_rounded else value

    return read


def _blocks(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules whose weights are there together: blocks of a list, and what has weights itself."""
    owns = any(True for _ in module.parameters(recurse=False))
    if owns or isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
        yield name, module
        return
    for own, child in module.named_children():
        full = f"{name}.{own}".lstrip(".")
        if isinstance(module, nn.ModuleList):
            yield full, child
        else:
            yield from _blocks(child, full)


class _Streaming:
    """The weights of a block: read before it runs, let go after it."""

    def __init__(self, name: str, read: Read) -> None:
        self._name, self._read = name, read
        self._there: list[tuple[nn.Module, str]] = []

    def load(self, block: nn.Module, _inputs: Any) -> None:
        for name, module in block.named_modules():
            for own, parameter in list(module.named_parameters(recurse=False)):
                if parameter.is_meta:
                    full = ".".join(part for part in (self._name, name, own) if part)
                    value = self._read(full)
                    value = torch.cat(
                        [value, value.new_zeros(parameter.shape[0] - value.shape[0], *value.shape[1:])]
                    )
                    module._parameters[own] = nn.Parameter(value, requires_grad=False)
                    self._there.append((module, own))

    def unload(self, _block: nn.Module, _inputs: Any, _outputs: Any) -> None:
        while self._there:
            module, own = self._there.pop()
            meta = torch.empty_like(module.get_parameter(own), device="meta")
            module._parameters[own] = nn.Parameter(meta, requires_grad=False)
