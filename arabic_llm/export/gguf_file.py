"""A GGUF file, written tensor by tensor with ggml's own library: header, vocabulary, weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig

from arabic_llm import files
from arabic_llm.config.task import GgufType
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError
from arabic_llm.export import beside_weights, gguf_shape, gguf_vocabulary
from arabic_llm.export.gguf_vocabulary import GgufVocabulary
from arabic_llm.export.merging import Merged
from arabic_llm.models import opening

_AT_ONCE = 2**24  # numbers that are turned into others at a time
_FILE_TYPES = {GgufType.f32: 0, GgufType.f16: 1, GgufType.q8_0: 7, GgufType.bf16: 32}  # llama.cpp's numbers


@dataclass(frozen=True)
class GgufModel:
    """What goes into a file."""

    name: str
    config: PretrainedConfig
    merged: Merged
    codec: Codec
    vocabulary: GgufVocabulary
    base: Path


def library() -> Any:
    """Return ggml's library. Raises ConfigError where it is not installed."""
    try:
        return import_module("gguf")
    except ImportError as error:
        raise ConfigError(
            "task.formats: a GGUF file needs the library gguf: pip install 'arabic-llm[export]'"
        ) from error


def model(name: str, base: Path, merged: Merged, codec: Codec) -> GgufModel:
    """Return what goes into a file. Raises ConfigError for what no GGUF file can hold."""
    library()
    with opening.opened(base):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    gguf_shape.settings(config)
    return GgufModel(
        name, config, merged, codec, gguf_vocabulary.vocabulary(codec.tokenizer, merged.vocab_size), base
    )


def write(path: Path, of: GgufModel, kind: GgufType) -> None:
    """Write the file whole or not at all; one tensor is in memory at a time."""
    gguf = library()
    partial = path.with_name(f".{path.name}.partial")
    writer = gguf.GGUFWriter(partial, gguf_shape.family_of(of.config).architecture)
    try:
        _add_settings(writer, of, kind)
        planned = list(_planned(gguf, of, kind))
        for name, _, shape, number_type in planned:
            size = gguf.quant_shape_to_byte_shape(shape, number_type) if len(shape) else shape
            writer.add_tensor_info(
                name, shape, np.dtype(np.float32), math.prod(size), raw_dtype=number_type
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        file = writer.fout[0]  # its own way to write does not say why a disk takes no more
        for _, source, _, number_type in planned:
            writer.write_padding(file, file.tell())
            for part in _numbers(gguf, of, source, number_type):
                file.write(np.ascontiguousarray(part).data.cast("B"))
            writer.write_padding(file, file.tell())
        file.flush()
    finally:
        for opened in writer.fout or ():
            opened.close()
    files.sync(partial)
    partial.replace(path)


def num_bytes(of: GgufModel, kind: GgufType) -> int:
    """Return what the weights take in a file."""
    gguf = library()
    return sum(
        math.prod(gguf.quant_shape_to_byte_shape(shape, number_type))
        for _, _, shape, number_type in _planned(gguf, of, kind)
    )


def _planned(gguf: Any, of: GgufModel, kind: GgufType) -> Iterator[tuple[str, str, tuple[int, ...], Any]]:
    """Yield name, name in transformers, shape and type of numbers of each tensor."""
    architecture = gguf_shape.family_of(of.config).architecture
    which = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(which, of.config.num_hidden_layers)
    for source, filed in of.merged.of.items():
        if (name := names.get_name(source, try_suffixes=(".weight", ".bias"))) is None:
            raise ConfigError(f"no GGUF file is written of {source}, which llama.cpp does not know")
        wanted = gguf.GGMLQuantizationType[kind.name.upper()]
        if len(filed.shape) == 1:
            wanted = gguf.GGMLQuantizationType.F32
        elif filed.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0]:
            wanted = gguf.GGMLQuantizationType.F16  # whose rows are no whole number of blocks
        yield name, source, filed.shape, wanted


def _numbers(gguf: Any, of: GgufModel, source: str, number_type: Any) -> Iterator[NDArray[Any]]:
    """Yield a tensor's rows as the file holds them, some at a time."""
    tensor: Tensor = gguf_shape.turned(source, of.merged.exact(source), of.config)
    rows = max(1, _AT_ONCE // max(1, math.prod(tensor.shape[1:])))
    for start in range(0, tensor.shape[0], rows):
        part = tensor[start : start + rows].to(torch.float32).numpy()
        yield gguf.quantize(part, number_type)


def _add_settings(writer: Any, of: GgufModel, kind: GgufType) -> None:
    """Add what llama.cpp must know beside the weights: shape, vocabulary, template, where answers end."""
    writer.add_name(of.name)
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_quantization_version(2)
    architecture = gguf_shape.family_of(of.config).architecture
    for key, value in gguf_shape.settings(of.config).items():
        add = writer.add_uint32 if isinstance(value, int) else writer.add_float32
        add(f"{architecture}.{key}", value)
    vocabulary, tokenizer = of.vocabulary, of.codec.tokenizer
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.splits)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.model == "gpt2":
        writer.add_token_merges(vocabulary.merges)
    else:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.adds_space)
    writer.add_eos_token_id(of.codec.stop_id)
    if of.codec.end_of_text_id != of.codec.stop_id:
        writer.add_eot_token_id(of.codec.end_of_text_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(gguf_vocabulary.opens_with(tokenizer))
    writer.add_add_eos_token(False)
    writer.add_chat_template(beside_weights.template_of(of.codec))
