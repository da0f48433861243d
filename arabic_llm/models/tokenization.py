"""The tokenizer of a model as transformers builds it, without torch where its class is known."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from arabic_llm.config.model import ModelConfig
from arabic_llm.models import bases
from arabic_llm.models.bases import Base

# AutoTokenizer imports torch and every family's configuration only to choose a class. It chooses these:
# model_type -> class, and module below transformers. Each may set rules of its own in place of those in
# tokenizer.json (Qwen2Tokenizer does), so the file alone is not the tokenizer.
_CLASSES = {
    "bert": ("BertTokenizer", "models.bert.tokenization_bert"),
    "gemma2": ("GemmaTokenizer", "models.gemma.tokenization_gemma"),
    "qwen2": ("Qwen2Tokenizer", "models.qwen2.tokenization_qwen2"),
    "qwen3": ("Qwen2Tokenizer", "models.qwen2.tokenization_qwen2"),
}
_AS_FILED = ("TokenizersBackend", "tokenization_utils_tokenizers")  # what tokenizer.json says, and no more
_FILED_NAMES = {"TokenizersBackend", "PreTrainedTokenizer"}  # in tokenizer_config.json
_FILED_TYPES = {"glm", "glm4", "llama"}  # families whose tokenizer is such a file where it says so


def load(base: Base) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base model."""
    if (known := _known_class(base.folder)) is None:
        from transformers import AutoTokenizer  # imports torch

        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base.folder)
        return found
    name, module = known
    own: type[PreTrainedTokenizerBase] = getattr(import_module(f"transformers.{module}"), name)
    loaded: PreTrainedTokenizerBase = own.from_pretrained(base.folder)
    return loaded


def rules(model: ModelConfig) -> str:
    """Return the tokenizer of a model as tokenizers.Tokenizer.from_str reads it.

    Raises MissingModelError, which says what is missing, where it may be put and what fetches it.
    """
    text: str = load(bases.tokenizer_base(model)).backend_tokenizer.to_str()
    return text


def _known_class(folder: Path) -> tuple[str, str] | None:
    """Return class and module that AutoTokenizer would choose for these files, or None: not known here."""
    settings = _json(folder / "tokenizer_config.json")
    family = _json(folder / "config.json").get("model_type")
    named = str(settings.get("tokenizer_class")).removesuffix("Fast")
    if "auto_map" in settings:  # code of the folder's own
        return None
    if family in _FILED_TYPES and named in _FILED_NAMES:
        return _AS_FILED
    own = _CLASSES.get(str(family))
    # Of Qwen2 transformers takes its own class whatever the file says; of others the file has the word.
    return own if own and (family == "qwen2" or named == own[0]) else None


def _json(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return read
