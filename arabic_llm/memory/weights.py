"""Closed form of what the weights of a model take, before any of them is read."""

from __future__ import annotations

from dataclasses import dataclass

from arabic_llm.config.schema import ArchitectureConfig, Quantization

# NF4 holds 4 bits a weight; double quantisation an 8-bit scale per 64 weights and a float32 per
# 256 scales (QLoRA, 2305.14314, section 3): 0.5 + 1/64 + 4/(64*256) = 0.5159 bytes.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
GIB = 2**30


@dataclass(frozen=True)
class Parameters:
    """Counts of a model's parameters: those of linear layers, which are quantised, and the rest."""

    linear: int
    embedding: int  # with the head, where it has weights of its own
    other: int  # norms and biases

    @property
    def total(self) -> int:
        """Return the count that model cards state."""
        return self.linear + self.embedding + self.other


def count(a: ArchitectureConfig) -> Parameters:
    """Return the parameter counts of Llama, Qwen2, Gemma-2, GLM-4 and BERT shaped models."""
    if a.model_type == "bert":
        return _count_bert(a)
    query, key_value = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
    attention = a.hidden_size * (2 * query + 2 * key_value)
    mlp = 3 * a.hidden_size * a.intermediate_size  # gate, up, down
    biases = query + 2 * key_value if a.attention_bias else 0
    norms = (4 if a.model_type == "gemma2" else 2) * a.hidden_size
    return Parameters(
        linear=a.num_hidden_layers * (attention + mlp),
        embedding=a.vocab_size * a.hidden_size * (1 if a.tie_word_embeddings else 2),
        other=a.num_hidden_layers * (biases + norms) + a.hidden_size,
    )


def weight_bytes(a: ArchitectureConfig, quantization: Quantization, bytes_per_weight: int) -> float:
    """Return the bytes of the weights: linear layers as quantised, all else as given (2: bfloat16)."""
    parameters = count(a)
    per_linear = NF4_BYTES if quantization is Quantization.nf4 else bytes_per_weight
    rest = parameters.embedding + parameters.other
    return parameters.linear * per_linear + rest * bytes_per_weight


def adapter_parameters(a: ArchitectureConfig, rank: int) -> int:
    """Return the LoRA parameters on all linear layers: rank times (in + out) of each."""
    query, key_value = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
    hidden, inner = a.hidden_size, a.intermediate_size
    shapes = [(hidden, query), (hidden, key_value), (hidden, key_value), (query, hidden)]
    if a.model_type == "bert":
        shapes += [(hidden, inner), (inner, hidden)]
    elif a.model_type == "glm":  # gate and up are one layer
        shapes += [(hidden, 2 * inner), (inner, hidden)]
    else:
        shapes += [(hidden, inner), (hidden, inner), (inner, hidden)]
    above = 2 * hidden if a.model_type == "bert" else 0  # the dense layer of its head, or of its pooler
    return rank * (a.num_hidden_layers * sum(rows + columns for rows, columns in shapes) + above)


def _count_bert(a: ArchitectureConfig) -> Parameters:
    """Return the counts of BertForMaskedLM, whose head is tied to the embedding but for a bias."""
    hidden, inner, layers = a.hidden_size, a.intermediate_size, a.num_hidden_layers
    norm = 2 * hidden
    tables = (a.max_position_embeddings or 0) + (a.type_vocab_size or 0)
    layer = 4 * hidden + inner + hidden + 2 * norm  # biases of six linear layers, two norms
    head = hidden + norm + a.vocab_size  # bias and norm of the layer before the decoder, its bias
    return Parameters(
        linear=layers * (4 * hidden * hidden + 2 * hidden * inner) + hidden * hidden,
        embedding=a.vocab_size * hidden,
        other=tables * hidden + norm + layers * layer + head,
    )
