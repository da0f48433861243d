"""Closed form of what the weights of a model take, before any of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arabic_llm.config.adapter import Quantization
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.errors import ConfigError

# NF4 holds 4 bits a weight; double quantisation an 8-bit scale per 64 weights and a float32 per
# 256 scales (QLoRA, 2305.14314, section 3): 0.5 + 1/64 + 4/(64*256) = 0.5159 bytes.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
GIB = 2**30
ALL_LINEAR = "all-linear"  # as PEFT says it: every linear layer but the head


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


def count_classifier(a: ArchitectureConfig, num_labels: int) -> Parameters:
    """Return the counts of a model whose head is of classes, and not of tokens."""
    body, head = count(a), sum(head_tensors(a, num_labels))
    if a.model_type != "bert":
        return Parameters(body.linear, embedding_parameters(a), body.other + head)
    square, hidden = a.hidden_size**2, a.hidden_size  # the layer before the head of tokens is not there
    of_tokens = 3 * hidden + a.vocab_size
    return Parameters(body.linear - square, body.embedding, body.other - of_tokens + head)


def head_tensors(a: ArchitectureConfig, num_labels: int) -> list[int]:
    """Return the parameters of each tensor of a head of classes; BERT's has a pooling layer and biases."""
    own = num_labels * a.hidden_size
    return [a.hidden_size**2, a.hidden_size, own, num_labels] if a.model_type == "bert" else [own]


def weight_bytes(a: ArchitectureConfig, quantization: Quantization, bytes_per_weight: int) -> float:
    """Return the bytes of the weights: linear layers as quantised, all else as given (2: bfloat16)."""
    parameters = count(a)
    per_linear = NF4_BYTES if quantization is Quantization.nf4 else bytes_per_weight
    rest = parameters.embedding + parameters.other
    return parameters.linear * per_linear + rest * bytes_per_weight


def embedding_parameters(a: ArchitectureConfig) -> int:
    """Return the parameters of the table of tokens, without a head of its own."""
    return a.vocab_size * a.hidden_size


def linear_shapes(a: ArchitectureConfig) -> dict[str, tuple[int, int]]:
    """Return (inputs, outputs) of the linear layers of a block, by their names."""
    query, key_value = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
    hidden, inner = a.hidden_size, a.intermediate_size
    if a.model_type == "bert":
        projections = dict.fromkeys(("query", "key", "value", "attention.output.dense"), (hidden, hidden))
        return projections | {"intermediate.dense": (hidden, inner), "output.dense": (inner, hidden)}
    shapes = {
        "q_proj": (hidden, query),
        "k_proj": (hidden, key_value),
        "v_proj": (hidden, key_value),
        "o_proj": (query, hidden),
    }
    if a.model_type == "glm":  # gate and up are one layer
        return shapes | {"gate_up_proj": (hidden, 2 * inner), "down_proj": (inner, hidden)}
    gates = dict.fromkeys(("gate_proj", "up_proj"), (hidden, inner))
    return shapes | gates | {"down_proj": (inner, hidden)}


def target_sets(a: ArchitectureConfig) -> dict[str, frozenset[str]]:
    """Return the sets of layers that adapters are commonly put on, by name, the smallest first."""
    every = frozenset(linear_shapes(a))
    if a.model_type == "bert":
        return {"all": every}
    mlp = frozenset(name for name in every if name.startswith(("gate", "up", "down")))
    return {
        "qv": frozenset(("q_proj", "v_proj")),  # LoRA (2106.09685), section 4.2, and PEFT
        "attention": every - mlp,
        "mlp": mlp,
        "all": every,  # QLoRA (2305.14314), section 4
    }


def adapter_tensors(
    a: ArchitectureConfig, rank: int, targets: Sequence[str] = (ALL_LINEAR,), *, dora: bool = False
) -> list[int]:
    """Return the parameters of each tensor that an adapter puts into a block; DoRA's have magnitudes too.

    Raises ConfigError for a layer that the model does not have.
    """
    shapes = linear_shapes(a)
    names = list(shapes) if list(targets) == [ALL_LINEAR] else list(targets)
    if unknown := [name for name in names if name not in shapes]:
        raise ConfigError(
            f"adapter.target_modules: this model has no '{unknown[0]}';"
            f" there are: {', '.join(sorted(shapes))}"
        )
    found = []
    for inputs, outputs in (shapes[name] for name in names):
        found += [rank * inputs, rank * outputs] + [outputs] * dora
    return found


def adapter_parameters(
    a: ArchitectureConfig, rank: int, targets: Sequence[str] = (ALL_LINEAR,), *, dora: bool = False
) -> int:
    """Return the parameters of an adapter: rank times (in + out) of each of its layers."""
    above = 2 * rank * a.hidden_size if a.model_type == "bert" else 0  # the layer before its head or pooler
    return a.num_hidden_layers * sum(adapter_tensors(a, rank, targets, dora=dora)) + above


def trained_of_classifier(a: ArchitectureConfig, rank: int, num_labels: int) -> int:
    """Return the parameters that an adapter on all linear layers of a classifier trains, with its head."""
    return a.num_hidden_layers * sum(adapter_tensors(a, rank)) + sum(head_tensors(a, num_labels))


def block_tensors(a: ArchitectureConfig) -> list[int]:
    """Return the parameters of each tensor of a block."""
    linear = [inputs * outputs for inputs, outputs in linear_shapes(a).values()]
    if a.model_type == "bert":
        biases = [outputs for _, outputs in linear_shapes(a).values()]
        return linear + biases + [a.hidden_size] * 4
    query, key_value = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
    biases = [query, key_value, key_value] if a.attention_bias else []
    return linear + biases + [a.hidden_size] * (4 if a.model_type == "gemma2" else 2)


def outside_tensors(a: ArchitectureConfig) -> list[int]:
    """Return the parameters of each tensor outside the blocks: tables and norms; no head."""
    if a.model_type != "bert":
        return [embedding_parameters(a), a.hidden_size]
    tables = (a.vocab_size, a.max_position_embeddings or 0, a.type_vocab_size or 0)
    return [rows * a.hidden_size for rows in tables] + [a.hidden_size] * 2


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
