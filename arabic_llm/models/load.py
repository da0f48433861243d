"""Weights of base models on their device, with a head or without; the only door to bitsandbytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    set_seed,
)
from transformers.utils import logging

from arabic_llm import files
from arabic_llm.config.adapter import AdapterConfig, Method, Quantization
from arabic_llm.config.model import ModelConfig, ModelKind
from arabic_llm.errors import CheckpointError
from arabic_llm.models import head as heads
from arabic_llm.models import opening, processor, streaming, text_part
from arabic_llm.models.bases import Base
from arabic_llm.models.folders import check_shape
from arabic_llm.models.placement import Placement
from arabic_llm.models.shape import refuse_other, refuse_recomputing, refuse_unknown

_AUTO_CLASSES = {ModelKind.causal: AutoModelForCausalLM, ModelKind.masked: AutoModelForMaskedLM}
HEADS = ("score", "classifier")  # what transformers calls the head of a decoder, of an encoder
_LEFT_OUT = ("pooler", "seq_relationship")  # of BERT's pretraining: models of tokens have neither
_LARGE_BYTES = 2**28


@dataclass(frozen=True)
class Head:
    """A new classification head on a model: its classes in order, its padding, its seed."""

    labels: tuple[str, ...]
    pad_token_id: int
    seed: int


def base_model(
    model: ModelConfig, base: Base, adapter: AdapterConfig, placement: Placement, head: Head | None = None
) -> PreTrainedModel:
    """Return the weights on their device, quantised if the adapter asks for it; with a head to classify.

    Full fine-tuning holds them in float32, so that small updates are not rounded away.
    """
    check_shape(model, base.folder)
    refuse_unknown(model.architecture)
    # What is shared out goes to its card block by block: a card may not hold it whole.
    options: dict[str, Any] = {"device_map": {"": "cpu" if placement.is_read_on_host else placement.device}}
    auto_class = _AUTO_CLASSES[model.kind] if head is None else AutoModelForSequenceClassification
    if head is not None:
        set_seed(head.seed)
        options |= {
            "id2label": dict(enumerate(head.labels)),
            "label2id": {label: number for number, label in enumerate(head.labels)},
            "pad_token_id": head.pad_token_id,  # a decoder's head reads the last token that is not this one
        }
    if adapter.quantization is Quantization.nf4:
        drawn_anew = (
            None if head is None else [*HEADS, "pooler.dense"]
        )  # no file holds them: nothing to quantise
        options["quantization_config"] = nf4(placement.dtype, drawn_anew)
    options |= text_part.options(base.folder, model.architecture.model_type)
    processor.use_cores()
    with _bar_if_large(base.folder), opening.opened(base.folder), _packing(placement):
        loaded: PreTrainedModel
        loaded, found = auto_class.from_pretrained(
            base.folder.absolute(),  # what checkpoints of adapters name as their base
            dtype=dtype_of(adapter, placement),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            trust_remote_code=False,
            **options,
        )
    if placement.streamed_layers or placement.shares_packed:
        loaded.hf_device_map = {"": placement.device}  # where streaming.settle puts it
    found["unexpected_keys"] = text_part.unused(found["unexpected_keys"], loaded, options)
    _refuse_strays((model.name, base.folder), found, loaded, head)
    refuse_other(model.architecture, loaded.config)
    if placement.gradient_checkpointing:
        refuse_recomputing(loaded)
    if placement.device == "cpu":
        _never_repack(loaded)
    _to_host(loaded, placement)
    return loaded


def _to_host(model: PreTrainedModel, placement: Placement) -> None:
    """Hold the tables on the host that a plan keeps off the card; one that is the head too, once."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    if placement.head_on_host:
        is_tied = head is not None and table.weight is head.weight
        heads.to_host(model, placement.device)
        if is_tied:
            held = model.get_output_embeddings().weight.as_subclass(torch.Tensor)
            table.weight = nn.Parameter(held, requires_grad=False)
            model.set_input_embeddings(HostEmbedding(table))
    if placement.embedding_on_host:
        model.set_input_embeddings(HostEmbedding(table))


def _packing(placement: Placement) -> AbstractContextManager[None]:
    """Return what lets weights that do not stay on the card be put into 4 bits there."""
    is_away = placement.streamed_layers or placement.shares_packed
    return streaming.packed_one_by_one(placement.device) if is_away else nullcontext()


def _refuse_strays(
    where: tuple[str, Path], found: dict[str, Any], model: PreTrainedModel, head: Head | None
) -> None:
    """Refuse weights that leave a tensor of the model to be drawn at random, or one of their own unused.

    A new head is drawn anew, and the heads of what a model was pretrained on have no place under it.
    """
    name, folder = where
    missing, unused = found["missing_keys"], found["unexpected_keys"]
    left_out, drawn = list(_LEFT_OUT), []
    if head is not None and not _is_classifier(model.config):
        heads = [one for one in (*missing, *unused) if not one.startswith(f"{model.base_model_prefix}.")]
        left_out, drawn = [*left_out, *heads], [*_LEFT_OUT, *heads]
    strays = {
        "has another size": [one for one, *_ in found["mismatched_keys"]],
        "is not there": [one for one in missing if not _is_of(one, drawn)],
        "has no place in it": [one for one in unused if not _is_of(one, left_out)],
    }
    for what, names in strays.items():
        if names:
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(
                f"{folder}: the weights are not those of a whole {type(model).__name__}: {min(names)}"
                f" {what}{more}; give the folder of the model that model={name} is, or fetch it again"
            )


def _is_classifier(config: PretrainedConfig) -> bool:
    """Return whether a model was saved with a head of classes."""
    return any(one.endswith("ForSequenceClassification") for one in config.architectures or ())


def _is_of(name: str, parts: Iterable[str]) -> bool:
    """Return whether a tensor is one of some parts of a model, or belongs to one."""
    return any(f".{part}." in f".{name}." for part in parts)


class HostEmbedding(nn.Module):
    """A frozen table of tokens in the host's memory: only the vectors that are looked up go to the card."""

    def __init__(self, table: nn.Module) -> None:
        """Take the module that looks up, with all that it does to vectors: Gemma's scales them."""
        super().__init__()
        # Not a module of this one: Trainer and accelerate move those to the card with the model.
        self._table = [table.requires_grad_(False).to("cpu")]

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the table."""
        return next(self._table[0].parameters()).dtype

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of tokens, where the ids are."""
        vectors: torch.Tensor = self._table[0](input_ids.to("cpu"))
        return vectors.to(input_ids.device)


def dtype_of(adapter: AdapterConfig, placement: Placement) -> torch.dtype:
    """Return the type the weights are held in."""
    return torch.float32 if adapter.method is Method.full else placement.dtype


def nf4(compute_dtype: torch.dtype, kept: list[str] | None = None) -> BitsAndBytesConfig:
    """Return QLoRA's quantisation: NF4 with double quantisation (2305.14314, section 3).

    `kept` are modules that stay as they are; without any, transformers keeps the head.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=kept,  # of 4 bits too
    )


def _never_repack(model: PreTrainedModel) -> None:
    """Keep 4-bit weights as they are on a CPU with AVX512-BF16.

    bitsandbytes 0.50.2 repacks them at the first forward pass in eval mode, into a layout whose product
    has no gradient and is rounded to bfloat16, and leaves them so: training after an evaluation on dev
    would learn nothing below the last layer, without a word.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def _bar_if_large(folder: Path) -> Iterator[None]:
    """Let transformers draw its bar only while more is read than a blink takes."""
    if files.num_bytes(folder.glob("*.safetensors")) < _LARGE_BYTES:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
