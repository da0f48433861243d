"""Families of models, one row each: all that a plan, an adapter or a rehearsal must know of their code.

A family without a row is trained on all its linear layers, which PEFT finds, and planned by rehearsing its
own code. Rows follow transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import MISSING

from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.errors import ConfigError

ALL_LINEAR = "all-linear"  # as PEFT says it: every linear layer but the head
OTHER = "other"  # of a model's architecture: fields of config.json that no row speaks of


AS_FILED = "tokenization_utils_tokenizers.TokenizersBackend"  # what tokenizer.json says, and no more


@dataclass(frozen=True)
class GgufFamily:
    """A family as llama.cpp knows it."""

    architecture: str
    is_permuted: bool = False  # rows of q and k: its rotary positions pair neighbours, not halves
    is_shifted: bool = False  # weights of norms are multiplied as 1 + w
    sliding_every: int = 0  # of so many layers all but the last see a window; 0: none does


@dataclass(frozen=True)
class Family:
    """What the code of a family does, in words of its config.json; widths by the names of `widths`."""

    linear: Mapping[str, tuple[str, str]]  # of a block: name -> (inputs, outputs)
    biased: tuple[str, ...] = ()  # linear layers of a block with a bias, where attention_bias is true
    norms: tuple[str, ...] = ("hidden", "hidden")  # of a block: the width of each
    closed_form: str | None = None  # whose moments of a training step are its own; none: it is rehearsed
    is_eager: bool = False  # its scores are in no kernel of torch
    fused_gate: bool = False  # gate and up are halves of one output
    is_masked: bool = False  # it sees both sides of a token; else the next one is predicted
    is_grouped: bool | None = None  # heads share keys: always, never, or as config.json says
    head_dim: int | None = None  # where config.json says nothing; none: hidden size / heads
    has_bias: bool = False  # whatever config.json says
    is_tied: bool = False  # tie_word_embeddings, where config.json says nothing
    tokenizer: str | None = None  # class of transformers' that AutoTokenizer takes; none: left to it
    is_tokenizer_fixed: bool = False  # whatever tokenizer_config.json says
    gguf: GgufFamily | None = None  # how its GGUF files are written here; none: by llama.cpp alone

    @property
    def modules(self) -> tuple[str, ...]:
        """Return the names of its linear layers as PEFT looks for them: the last part, each once."""
        return tuple(dict.fromkeys(name.rpartition(".")[2] for name in self.linear))

    @property
    def mlp(self) -> frozenset[str]:
        """Return the linear layers of the feed-forward net."""
        return frozenset(name for name, ends in self.linear.items() if {"inner", "gate_up"} & {*ends})


_ATTENTION = {
    "q_proj": ("hidden", "query"),
    "k_proj": ("hidden", "key_value"),
    "v_proj": ("hidden", "key_value"),
    "o_proj": ("query", "hidden"),
}
_DOWN = {"down_proj": ("inner", "hidden")}
_GATED = {**_ATTENTION, "gate_proj": ("hidden", "inner"), "up_proj": ("hidden", "inner"), **_DOWN}
_FUSED = {"gate_up_proj": ("hidden", "gate_up"), **_DOWN}
_QKV = ("q_proj", "k_proj", "v_proj")
_ENCODER = {
    **dict.fromkeys(("query", "key", "value", "attention.output.dense"), ("hidden", "hidden")),
    "intermediate.dense": ("hidden", "inner"),
    "output.dense": ("inner", "hidden"),
}

# By the model_type of config.json.
TABLE: dict[str, Family] = {
    "llama": Family(
        _GATED,
        biased=(*_QKV, "o_proj"),
        closed_form="llama",
        tokenizer=AS_FILED,
        gguf=GgufFamily("llama", is_permuted=True),
    ),
    "mistral": Family(_GATED, closed_form="llama"),
    "qwen2": Family(
        _GATED,
        gguf=GgufFamily("qwen2"),
        biased=_QKV,
        has_bias=True,
        closed_form="llama",
        tokenizer="models.qwen2.tokenization_qwen2.Qwen2Tokenizer",
        is_tokenizer_fixed=True,
    ),
    "qwen3": Family(
        _GATED,
        gguf=GgufFamily("qwen3"),
        biased=(*_QKV, "o_proj"),
        norms=("hidden", "hidden", "head", "head"),
        head_dim=128,
        tokenizer="models.qwen2.tokenization_qwen2.Qwen2Tokenizer",
    ),
    "gemma2": Family(
        _GATED,
        gguf=GgufFamily("gemma2", is_shifted=True, sliding_every=2),
        biased=(*_QKV, "o_proj"),
        norms=("hidden",) * 4,
        closed_form="gemma2",
        is_eager=True,
        head_dim=256,
        is_tied=True,
        tokenizer="models.gemma.tokenization_gemma.GemmaTokenizer",
    ),
    "gemma3_text": Family(
        _GATED,
        gguf=GgufFamily("gemma3", is_shifted=True, sliding_every=6),
        biased=(*_QKV, "o_proj"),
        norms=("hidden",) * 4 + ("head",) * 2,
        head_dim=256,
        is_tied=True,
        tokenizer="models.gemma.tokenization_gemma.GemmaTokenizer",
    ),
    "smollm3": Family(_GATED, biased=(*_QKV, "o_proj"), is_tied=True),
    "glm": Family(
        {**_ATTENTION, **_FUSED},
        biased=_QKV,
        fused_gate=True,
        is_grouped=True,
        closed_form="glm",
        tokenizer=AS_FILED,
    ),
    "glm4": Family({**_ATTENTION, **_FUSED}, biased=_QKV, norms=("hidden",) * 4, fused_gate=True),
    "phi3": Family(
        {"qkv_proj": ("hidden", "qkv"), "o_proj": ("query", "hidden"), **_FUSED}, fused_gate=True
    ),
    "bert": Family(
        _ENCODER,
        biased=tuple(_ENCODER),
        closed_form="bert",
        is_masked=True,
        is_grouped=False,
        has_bias=True,
        is_tied=True,
        tokenizer="models.bert.tokenization_bert.BertTokenizer",
    ),
}

# Linear layers of code that came with its weights: transformers has none of it, and nothing is planned.
_REMOTE = {
    "chatglm": ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
    "qwen": ("c_attn", "c_proj", "w1", "w2"),  # Qwen 1
}


def known(model_type: str) -> Family | None:
    """Return the row of a family, or None."""
    return TABLE.get(model_type)


def linear_modules(model_type: str) -> list[str] | str:
    """Return the linear layers of a family as PEFT looks for them, or that it should find them itself."""
    if (family := TABLE.get(model_type)) is not None:
        return list(family.modules)
    return list(_REMOTE[model_type]) if model_type in _REMOTE else ALL_LINEAR


def of(a: ArchitectureConfig) -> Family:
    """Return the row of a model's family. Raises ConfigError where there is none."""
    if (family := TABLE.get(a.model_type)) is None:
        raise ConfigError(
            f"model.architecture.model_type={a.model_type} is not in the table of families"
            f" ({', '.join(sorted(TABLE))}): its shape cannot be counted, only rehearsed"
        )
    return family


def closed_form(a: ArchitectureConfig) -> str | None:
    """Return whose moments of a training step stand for a model's; None: it is rehearsed."""
    family = TABLE.get(a.model_type)
    return family.closed_form if family is not None else None


def is_eager(model_type: str) -> bool:
    """Return whether a family computes attention without a kernel, as far as the table says."""
    return model_type in TABLE and TABLE[model_type].is_eager


def is_masked(model_type: str) -> bool:
    """Return whether a family sees both sides of a token, as far as the table says."""
    return model_type in TABLE and TABLE[model_type].is_masked


def widths(a: ArchitectureConfig) -> dict[str, int]:
    """Return the widths that rows speak of."""
    query, key_value = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
    return {
        "hidden": a.hidden_size,
        "head": a.head_dim,
        "query": query,
        "key_value": key_value,
        "qkv": query + 2 * key_value,
        "inner": a.intermediate_size,
        "gate_up": 2 * a.intermediate_size,
    }


def linear_shapes(a: ArchitectureConfig) -> dict[str, tuple[int, int]]:
    """Return (inputs, outputs) of the linear layers of a block, by their names."""
    sizes = widths(a)
    return {name: (sizes[inputs], sizes[outputs]) for name, (inputs, outputs) in of(a).linear.items()}


def norm_tensors(a: ArchitectureConfig) -> list[int]:
    """Return the parameters of each tensor of the norms of a block; an encoder's have a bias each."""
    sizes, family = widths(a), of(a)
    return [sizes[name] for name in family.norms for _ in range(2 if family.is_masked else 1)]


def bias_tensors(a: ArchitectureConfig) -> list[int]:
    """Return the parameters of each bias of a block's linear layers."""
    shapes, family = linear_shapes(a), of(a)
    return [shapes[name][1] for name in family.biased] if a.attention_bias or family.has_bias else []


def architecture(config: Mapping[str, Any]) -> ArchitectureConfig:
    """Return the shape of a model from the fields of its config.json, with transformers' defaults.

    Raises ConfigError naming the first field that is missing.
    """
    config = {
        name: value for name, value in config.items() if value is not None
    }  # Mistral's head_dim is null
    family = TABLE.get(str(config.get("model_type")), Family({}))
    common = {f.name: f.default for f in fields(ArchitectureConfig) if f.name != OTHER}
    shape = {
        "num_key_value_heads": config.get("num_attention_heads"),
        "tie_word_embeddings": family.is_tied,
        "attention_bias": family.has_bias,
        **{name: config[name] for name in common if name in config},
    }
    if family.head_dim is not None:
        shape.setdefault("head_dim", family.head_dim)
    elif {"hidden_size", "num_attention_heads"} <= shape.keys():
        shape.setdefault("head_dim", shape["hidden_size"] // shape["num_attention_heads"])
    for name, default in common.items():
        if default == MISSING and shape.get(name) is None:
            raise ConfigError(f"config.json of {config.get('name', 'this model')}: no '{name}'")
    return ArchitectureConfig(**shape)
