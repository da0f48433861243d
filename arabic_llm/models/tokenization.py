"""The tokenizer of a model as transformers builds it, without torch where its class is known."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from arabic_llm.config.model import ModelConfig
from arabic_llm.errors import CheckpointError
from arabic_llm.models import bases, families, opening, vocabulary
from arabic_llm.models.bases import Base

_PROBE = "a 1"
_FILED_NAMES = {"TokenizersBackend", "PreTrainedTokenizer"}  # in tokenizer_config.json


def load(base: Base, trained: Path | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a base model, with the new tokens of what was trained on it in a folder.

    Raises CheckpointError for a tokenizer that cannot be used, or that these do not fit.
    """
    own = _of_base(base)
    if trained is None or (new := vocabulary.of_adapter(trained)) is None:
        return own
    return vocabulary.extend(own, new, str(trained / vocabulary.FILE))


def _of_base(base: Base) -> PreTrainedTokenizerBase:
    if (known := _known_class(base.folder)) is None:
        from transformers import AutoTokenizer  # imports torch

        return _opened(AutoTokenizer, base.folder)
    module, _, name = known.rpartition(".")
    own: type[PreTrainedTokenizerBase] = getattr(import_module(f"transformers.{module}"), name)
    return _opened(own, base.folder)


def _opened(kind: Any, folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, once it has shown that it works: some settings are read late."""
    with opening.opened_tokenizer(folder):
        loaded: PreTrainedTokenizerBase = kind.from_pretrained(folder, trust_remote_code=False)
        loaded(_PROBE)
    _refuse_beyond_table(loaded, folder)
    return loaded


def _refuse_beyond_table(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Refuse a token that any text may hold and that the model has no embedding of.

    Special ones no text may hold: Gemma 3's <image_soft_token> is one without an embedding.
    """
    shape = _settings(folder / "config.json")
    text_part = shape.get("text_config")
    size = (text_part if isinstance(text_part, dict) else shape).get("vocab_size")
    for place, token in tokenizer.added_tokens_decoder.items() if isinstance(size, int) else ():
        if place >= size and not token.special:
            raise CheckpointError(
                f"{folder}: its tokenizer has '{token}' as token {place}, and config.json's vocab_size is"
                f" {size}: the model has no embedding of it; take the tokenizer of these weights"
            )


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
    settings, shape = (_settings(folder / name) for name in ("tokenizer_config.json", "config.json"))
    family = families.known(str(shape.get("model_type")))
    if family is None or family.tokenizer is None or "auto_map" in settings:  # code of the folder's own
        return None
    named = str(settings.get("tokenizer_class")).removesuffix("Fast")
    if family.tokenizer == families.AS_FILED:
        is_it = named in _FILED_NAMES
    else:
        is_it = family.is_tokenizer_fixed or named == family.tokenizer.rpartition(".")[2]
    return family.tokenizer if is_it else None


def _settings(path: Path) -> dict[str, Any]:
    return opening.read_object(path) if path.is_file() else {}
