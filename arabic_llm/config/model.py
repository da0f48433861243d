"""Types of conf/model/: which base model, its shape, and how it talks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

AUTO = "auto"  # as model_type or a token: it is read from the model's own files, where a task needs it
OWN_TEMPLATE = "tokenizer"  # as model.chat_template: the one that came with the tokenizer, as it is


class ModelKind(Enum):
    """What the model was trained to predict, which decides how it is loaded, asked and trained."""

    causal = "causal"  # the next token: it continues a text
    masked = "masked"  # tokens left out of a text it sees on both sides: it scores and classifies


@dataclass
class ArchitectureConfig:
    """Shape of a model, as its config.json spells it; of BERT also what its positions and segments take."""

    model_type: str = MISSING
    hidden_size: int = MISSING
    intermediate_size: int = MISSING
    num_hidden_layers: int = MISSING
    num_attention_heads: int = MISSING
    num_key_value_heads: int = MISSING
    head_dim: int = MISSING
    vocab_size: int = MISSING
    tie_word_embeddings: bool = MISSING
    attention_bias: bool = False  # on q, k, v
    max_position_embeddings: int | None = None  # where positions are learned
    type_vocab_size: int | None = None  # where a text has segments
    other: dict[str, Any] = field(default_factory=dict)  # more of config.json: {sliding_window: 4096}

    def fields(self) -> dict[str, Any]:
        """Return the fields of config.json that this architecture sets."""
        named = {name: value for name, value in vars(self).items() if value is not None and name != "other"}
        return named | self.other


@dataclass
class ModelConfig:
    """Which base model, and how it talks."""

    name: str = MISSING
    kind: ModelKind = ModelKind.causal
    hub_id: str | None = None  # owner/name on the hub
    revision: str = "main"  # commit, tag or branch of it
    path: str | None = None  # a local folder; default: models/<name>, if it is there
    builtin: bool = False  # ships inside the package, in models/<name>
    gguf: str | None = None  # <package>/<file>.gguf, or a path: task=download makes models/<name>/ of it
    extra_files: list[str] = field(default_factory=list)  # of the hub, beside *.json and *.safetensors
    # The next four are of causal models only.
    chat_template: str = ""  # a file of data/tokens/templates/, a .jinja of your own, or tokenizer: its own
    stop_token: str = ""  # ends an answer; always supervised
    pad_token: str = ""  # never the stop token, or the model would not learn to stop
    end_of_text: str = ""  # ends a raw text
    max_length: int = MISSING  # tokens the model can see
    learning_rate: float = 2e-4  # for adapters (QLoRA, 2305.14314, table 9); narrow models need more
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)

    def __post_init__(self) -> None:
        """Refuse what its kind lacks or never reads, and a pad token that hides the stop token."""
        if self.name == MISSING:  # when the schema is registered
            return
        for name in ("chat_template", "stop_token", "pad_token", "end_of_text"):
            if not getattr(self, name) and self.kind is ModelKind.causal:
                raise ValueError(f"no value for model.{name}; a causal model needs it")
            if getattr(self, name) and self.kind is ModelKind.masked:
                raise ValueError(f"model.{name} has no meaning with model={self.name}: it is masked")
        for name in ("max_length", "learning_rate"):
            if isinstance(value := getattr(self, name), int | float) and value <= 0:
                raise ValueError(f"model.{name} must be positive, not {value}")
        if self.pad_token not in ("", AUTO) and self.pad_token == self.stop_token:
            raise ValueError(f"model.pad_token must differ from model.stop_token ({self.stop_token})")
