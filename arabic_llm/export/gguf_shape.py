"""The shape of a model in the words of a GGUF file, and what its weights are turned into there."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PretrainedConfig

from arabic_llm.errors import ConfigError
from arabic_llm.models import families
from arabic_llm.models.families import GgufFamily

_THETA = 10000.0
FAMILIES = {name: family.gguf for name, family in families.TABLE.items() if family.gguf is not None}


def family_of(config: PretrainedConfig) -> GgufFamily:
    """Return a model's family. Raises ConfigError where none is known, with the command that may do it."""
    if (family := FAMILIES.get(config.model_type)) is None:
        _refuse(config, f"model_type={config.model_type} is none of {', '.join(FAMILIES)}")
    return family  # type: ignore[return-value]


def settings(config: PretrainedConfig) -> dict[str, int | float]:
    """Return the numbers of an architecture, by llama.cpp's names.

    Raises ConfigError where the model does what llama.cpp would do otherwise.
    """
    family = family_of(config)
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    theta = _rope(config)
    found: dict[str, int | float] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": theta,
    }
    if family.is_permuted:
        found["rope.dimension_count"] = head_dim
    _refuse_window(config, family)
    if family.sliding_every:
        found["attention.sliding_window"] = config.sliding_window
    for name, key in (
        ("attn_logit_softcapping", "attn_logit_softcapping"),
        ("final_logit_softcapping", "final_logit_softcapping"),
    ):
        if (cap := getattr(config, name, None)) is not None:
            found[key] = cap
    scale = getattr(config, "query_pre_attn_scalar", None)
    if scale is not None and scale != head_dim:
        _refuse(config, f"query_pre_attn_scalar={scale} is not its head_dim={head_dim}")
    return found


def turned(name: str, tensor: Tensor, config: PretrainedConfig) -> Tensor:
    """Return a weight as llama.cpp takes it, by its name in transformers."""
    family = family_of(config)
    if family.is_shifted and name.endswith("norm.weight"):
        return tensor.float() + 1
    if family.is_permuted and name.endswith(("q_proj.weight", "q_proj.bias")):
        return _paired(tensor, config.num_attention_heads)
    if family.is_permuted and name.endswith(("k_proj.weight", "k_proj.bias")):
        return _paired(tensor, config.num_key_value_heads)
    return tensor


def _paired(tensor: Tensor, heads: int) -> Tensor:
    """Return rows of each head with those that are turned together side by side."""
    rows = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return rows.transpose(1, 2).reshape(tensor.shape)


def _rope(config: PretrainedConfig) -> float:
    """Return the base of the positions; a scaled or a second one is as llama.cpp has it, or refused."""
    rope: dict[str, Any] = dict(getattr(config, "rope_parameters", None) or {})
    local = rope.get("sliding_attention")
    if local is not None:  # Gemma 3: those that see a window have their own, which llama.cpp fixes
        if local.get("rope_theta") != _THETA or local.get("rope_type") != "default":
            _refuse(config, f"the positions of its window are {local}")
        rope = rope["full_attention"]
    if rope.get("rope_type", "default") != "default":
        _refuse(config, f"its positions are scaled (rope_type={rope['rope_type']})")
    return float(rope.get("rope_theta", _THETA))


def _refuse_window(config: PretrainedConfig, family: GgufFamily) -> None:
    """Refuse layers that see a window where llama.cpp lets them see all, and the other way round."""
    kinds = list(getattr(config, "layer_types", None) or [])
    every = family.sliding_every
    wanted = [
        "sliding_attention" if every and (number + 1) % every else "full_attention"
        for number in range(config.num_hidden_layers)
    ]
    if kinds and kinds != wanted:
        _refuse(config, "its layers see windows of a text otherwise than llama.cpp lets them")


def _refuse(config: PretrainedConfig, why: str) -> None:
    raise ConfigError(
        f"no GGUF file of {config.model_type} is written here: {why}. Export merged weights and try"
        " llama.cpp's own: python convert_hf_to_gguf.py MERGED --outtype q8_0"
    )
