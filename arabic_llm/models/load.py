"""Base models: local folder, hub cache, then network; the only door to bitsandbytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging

from arabic_llm import files, hub
from arabic_llm.config.adapter import AdapterConfig, Method, Quantization
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.model import ModelConfig, ModelKind
from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import UserError
from arabic_llm.models.folders import check_shape, place
from arabic_llm.models.placement import Placement
from arabic_llm.models.shape import refuse_unknown

_BIN = "pytorch_model.bin"  # weights of older repositories; torch.load reads tensors only
_HASHED = ("*.safetensors", _BIN, "config.json", "tokenizer.json", "tokenizer.model", "vocab.txt")
_AUTO_CLASSES = {ModelKind.causal: AutoModelForCausalLM, ModelKind.masked: AutoModelForMaskedLM}
HEADS = ("score", "classifier")  # what transformers calls the head of a decoder, of an encoder
_LARGE_BYTES = 2**28
_TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "config.json")
_WANTED = ("*.json", "*.safetensors", "*.model", "*.jinja")


class MissingModelError(UserError):
    """The model's files are neither in a folder, nor in the hub cache, nor reachable."""


@dataclass(frozen=True)
class Head:
    """A new classification head on a model: its classes in order, its padding, its seed."""

    labels: tuple[str, ...]
    pad_token_id: int
    seed: int


@dataclass(frozen=True)
class Base:
    """A base model on this disk. `revision` is a hash of its files, wherever they came from."""

    folder: Path
    revision: str


def locate(model: ModelConfig, cache_dir: Path | None, *, network: bool = True) -> Base:
    """Return the folder of a model with its configuration, tokenizer and weights.

    Hashes of weights are kept in cache_dir; without one (a dry run) the revision stays empty.
    Raises MissingModelError, which says what is missing, where it may be put and what fetches it.
    """
    folder = _folder(model, network=network)
    return Base(folder, files_hash(folder, cache_dir) if cache_dir else "")


def repository(model: ModelConfig) -> hub.Repository:
    """Return the files of the hub that make up a model."""
    return hub.Repository(str(model.hub_id), model.revision, (*_WANTED, *model.extra_files))


def known_revision(model: ModelConfig, cache_dir: Path) -> str | None:
    """Return the revision of a model that is on this disk, or None."""
    try:
        return locate(model, cache_dir, network=False).revision
    except MissingModelError:
        return None


def tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base model."""
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder)
    return loaded


def tokenizer_rules(model: ModelConfig) -> str:
    """Return the tokenizer of a model as tokenizers.Tokenizer.from_str reads it.

    Raises MissingModelError, which says what is missing, where it may be put and what fetches it.
    """
    rules: str = tokenizer(_tokenizer_base(model)).backend_tokenizer.to_str()
    return rules


def _tokenizer_base(model: ModelConfig) -> Base:
    """Return a folder that holds the tokenizer of a model, whether its weights are there or not."""
    given = place(model)
    if not model.builtin and _has_tokenizer(given):
        return Base(given, "")
    if model.hub_id is not None and model.path is None and not given.exists():
        repository = hub.Repository(model.hub_id, model.revision, _TOKENIZER)
        with suppress(hub.UnreachableError):  # said below
            return Base(hub.snapshot(repository, _has_tokenizer, network=True), "")
    return locate(model, None)


def base_model(
    model: ModelConfig, base: Base, adapter: AdapterConfig, placement: Placement, head: Head | None = None
) -> PreTrainedModel:
    """Return the weights on their device, quantised if the adapter asks for it; with a head to classify.

    Full fine-tuning holds them in float32, so that small updates are not rounded away.
    """
    check_shape(model, base.folder)
    refuse_unknown(model.architecture)
    # What is shared out goes to its card block by block: a card may not hold it whole.
    options: dict[str, Any] = {"device_map": {"": "cpu" if placement.fsdp else placement.device}}
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
    with _bar_if_large(base.folder):
        loaded: PreTrainedModel = auto_class.from_pretrained(
            base.folder, dtype=dtype_of(adapter, placement), **options
        )
    if placement.device == "cpu":
        _never_repack(loaded)
    if placement.embedding_on_host:
        loaded.set_input_embeddings(HostEmbedding(loaded.get_input_embeddings().weight))
    return loaded


class HostEmbedding(nn.Module):
    """A frozen table of tokens in the host's memory: only the vectors that are looked up go to the card."""

    def __init__(self, table: torch.Tensor) -> None:
        """Take the table: a row for each word of the vocabulary."""
        super().__init__()
        # Not a parameter or a buffer: Trainer and accelerate move those to the card with the model.
        self._table = [table.detach().to("cpu")]

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the table."""
        return self._table[0].dtype

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of tokens, where the ids are."""
        return nn.functional.embedding(input_ids.to("cpu"), self._table[0]).to(input_ids.device)


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
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if size < _LARGE_BYTES:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def files_hash(folder: Path, cache_dir: Path) -> str:
    """Return a hash of a model's weights, configuration and tokenizer; large files are read once."""
    paths = sorted(file for pattern in _HASHED for file in folder.glob(pattern))
    return fingerprint({path.name: files.known_sha256(path, cache_dir) for path in paths})


def _folder(model: ModelConfig, *, network: bool) -> Path:
    """Return where the model lies: in the package, model.path, models/<name>, the hub's cache, the hub."""
    if model.builtin:
        return PACKAGE / "models" / model.name
    given = place(model)
    if model.path is not None or given.exists():
        if missing := _missing(given):
            raise MissingModelError(f"model={model.name}: {given} has no {missing}")
        return given
    return _from_hub(model, network=network)


def _from_hub(model: ModelConfig, *, network: bool) -> Path:
    if model.hub_id is None:
        raise MissingModelError(f"model={model.name} has neither model.path nor model.hub_id")
    wanted = repository(model)
    try:
        return hub.snapshot(wanted, lambda folder: _missing(folder) is None, network=network)
    except hub.UnreachableError as error:
        why = f" ({error})" if str(error) else ""
        raise MissingModelError(
            f"the weights of {model.hub_id} are not here and cannot be reached{why}; put them in"
            f" {place(model)}/ (or set model.path), or"
            f" {hub.cure(wanted, place(model), f'model={model.name}')}"
        ) from error


def _has_tokenizer(folder: Path) -> bool:
    """Return whether a tokenizer is there; older ones of BERT are a list of pieces and no more."""
    return any((folder / name).is_file() for name in ("tokenizer_config.json", "vocab.txt"))


def _missing(folder: Path) -> str | None:
    """Return the name of a file without which the folder is no model, or None."""
    if not (folder / "config.json").is_file():
        return "config.json"
    if not _has_tokenizer(folder):
        return "tokenizer_config.json"
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return next((name for name in shards if not (folder / name).is_file()), None)
    has_weights = any((folder / name).is_file() for name in ("model.safetensors", _BIN))
    if not has_weights and (shards := sorted(folder.glob("pytorch_model-*.bin"))):
        cure = "transformers' save_pretrained writes them as safetensors"
        return (
            f"model.safetensors; {shards[0].name} is one of several .bin shards, which are not read: {cure}"
        )
    return None if has_weights else "model.safetensors"
