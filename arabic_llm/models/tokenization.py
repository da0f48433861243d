"""The tokenizer of a model as transformers builds it, without torch where its class is known."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from arabic_llm.config.model import ModelConfig
from arabic_llm.models import bases, families
from arabic_llm.models.bases import Base

_FILED_NAMES = {"TokenizersBackend", "PreTrainedTokenizer"}  # in tokenizer_config.json


def load(base: Base) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base model."""
    if (known := _known_class(base.folder)) is None:
        from transformers import AutoTokenizer  # imports torch

        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder)
        return found
    module, _, name = known.rpartition(".")
    own: type[PreTrainedTokenizerBase] = getattr(import_module(f"transformers.{module}"), name)
    loaded: PreTrainedTokenizerBase = own.from_pretrained(base.folder)
    return loaded


def rules(model: ModelConfig) -> str:
    """Return the tokenizer of a model as tokenizers.Tokenizer.from_str reads it.

    Raises MissingModelError, which says what is missing, where it may be put and what fetches it.
    """
    text: str = load(bases.tokenizer_base(model)).backend_tokenizer.to_str()
    return text


def _known_class(folder: Path) -> str | None:
    """Return the class that AutoTokenizer would choose for these files, or None: not known here.

    AutoTokenizer imports torch and every family's configuration only to choose it. Some classes set rules
    of their own in place of those in tokenizer.json (Qwen2Tokenizer does): the file is not the tokenizer.
    """
    settings = _json(folder / "tokenizer_config.json")
    family = families.known(str(_json(folder / "config.json").get("model_type")))
    if family is None or family.tokenizer is None or "auto_map" in settings:  # code of the folder's own
        return None
    named = str(settings.get("tokenizer_class")).removesuffix("Fast")
    if family.tokenizer == families.AS_FILED:
        is_it = named in _FILED_NAMES
    else:
        is_it = family.is_tokenizer_fixed or named == family.tokenizer.rpartition(".")[2]
    return family.tokenizer if is_it else None


def _json(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return read
