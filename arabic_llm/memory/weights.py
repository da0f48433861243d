"""Closed form of what the weights of a model take, before any of them is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arabic_llm.config.adapter import Quantization
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.errors import ConfigError
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR, linear_shapes

# NF4 holds 4 bits a weight; double quantisation an 8-bit scale per 64 weights and a float32 per
# 256 scales (QLoRA, 2305.14314, section 3): 0.5 + 1/64 + 4/(64*256) = 0.5159 bytes.
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


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
    """Return the parameter counts of a model. Raises ConfigError for a family that is not in the table."""
    if families.of(a).is_masked:
        return _count_masked(a)
    tables = 1 if a.tie_word_embeddings else 2
    return Parameters(
        linear=a.num_hidden_layers * _linear(a),
        embedding=tables * embedding_parameters(a),
        other=a.num_hidden_layers * _rest_of_a_block(a) + a.hidden_size,
    )


def count_classifier(a: ArchitectureConfig, num_labels: int) -> Parameters:
    """Return the counts of a model whose head is of classes, and not of tokens."""
    body, head = count(a), sum(head_tensors(a, num_labels))
    if not families.of(a).is_masked:
        return Parameters(body.linear, embedding_parameters(a), body.other + head)
    square, hidden = a.hidden_size**2, a.hidden_size  # the layer before the head of tokens is not there
    of_tokens = 3 * hidden + a.vocab_size
    return Parameters(body.linear - square, body.embedding, body.other - of_tokens + head)


def head_tensors(a: ArchitectureConfig, num_labels: int) -> list[int]:
    """Return the parameters of each tensor of a head of classes; BERT's has a pooling layer and biases."""
    own = num_labels * a.hidden_size
    return [a.hidden_size**2, a.hidden_size, own, num_labels] if families.of(a).is_masked else [own]


def weight_bytes(parameters: Parameters, quantization: Quantization, bytes_per_weight: int) -> float:
    """Return the bytes of the weights: linear layers as quantised, all else as given (2: bfloat16)."""
    per_linear = NF4_BYTES if quantization is Quantization.nf4 else bytes_per_weight
    rest = parameters.embedding + parameters.other
    return parameters.linear * per_linear + rest * bytes_per_weight


def embedding_parameters(a: ArchitectureConfig) -> int:
    """Return the parameters of the table of tokens, without a head of its own."""
    return a.vocab_size * a.hidden_size


def target_sets(a: ArchitectureConfig) -> dict[str, frozenset[str]]:
    """Return the sets of layers that adapters are commonly put on, by name, the smallest first."""
    every, mlp = frozenset(linear_shapes(a)), families.of(a).mlp
    if not {"q_proj", "v_proj"} <= every:
        return {"all": every}
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
    above = (
        2 * rank * a.hidden_size if families.of(a).is_masked else 0
    )  # the layer before its head or pooler
    return a.num_hidden_layers * sum(adapter_tensors(a, rank, targets, dora=dora)) + above


def new_rows(a: ArchitectureConfig, num_tokens: int) -> int:
    """Return the parameters of new tokens' rows, of the table and of a head with weights of its own."""
    return (1 if a.tie_word_embeddings else 2) * num_tokens * a.hidden_size


def trained_of_classifier(a: ArchitectureConfig, rank: int, num_labels: int) -> int:
    """Return the parameters that an adapter on all linear layers of a classifier trains, with its head."""
    return a.num_hidden_layers * sum(adapter_tensors(a, rank)) + sum(head_tensors(a, num_labels))


def block_tensors(a: ArchitectureConfig) -> list[int]:
    """Return the parameters of each tensor of a block."""
    linear = [inputs * outputs for inputs, outputs in linear_shapes(a).values()]
    return linear + families.bias_tensors(a) + families.norm_tensors(a)


def outside_tensors(a: ArchitectureConfig) -> list[int]:
    """Return the parameters of each tensor outside the blocks: tables and norms; no head."""
    if not families.of(a).is_masked:
        return [embedding_parameters(a), a.hidden_size]
    tables = (a.vocab_size, a.max_position_embeddings or 0, a.type_vocab_size or 0)
    return [rows * a.hidden_size for rows in tables] + [a.hidden_size] * 2


def _linear(a: ArchitectureConfig) -> int:
    return sum(inputs * outputs for inputs, outputs in linear_shapes(a).values())


def _rest_of_a_block(a: ArchitectureConfig) -> int:
    return sum(families.bias_tensors(a)) + sum(families.norm_tensors(a))


def _count_masked(a: ArchitectureConfig) -> Parameters:
    """Return the counts of BertForMaskedLM, whose head is tied to the embedding but for a bias."""
    hidden, layers = a.hidden_size, a.num_hidden_layers
    norm = 2 * hidden
    tables = (a.max_position_embeddings or 0) + (a.type_vocab_size or 0)
    head = hidden + norm + a.vocab_size  # bias and norm of the layer before the decoder, its bias
    return Parameters(
        linear=layers * _linear(a) + hidden * hidden,
        embedding=embedding_parameters(a),
        other=tables * hidden + norm + layers * _rest_of_a_block(a) + head,
    )
