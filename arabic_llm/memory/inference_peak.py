"""Peak memory of judging a model in closed form: weights as they are held, the cache, the widest pass.

B rows of a pass, N new tokens of each, P tokens cached before them, L = P + N; e bytes of a number. All
follows transformers 5.23's code of Llama, Qwen2, Gemma-2 and GLM-4, of which one block is alive at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from arabic_llm.config.hw import Precision
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.memory import visits, weights
from arabic_llm.memory.static import BYTES
from arabic_llm.memory.workload import CUBLAS_WORKSPACE
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR

_FLOAT32 = 4
_SUMMED = 2  # x 4 bytes: the logits in float32, and what logsumexp exponentiates of them


@dataclass(frozen=True)
class LoadedModel:
    """A model as it lies on a device to be judged."""

    architecture: ArchitectureConfig
    nf4: bool  # linear layers in 4 bits, their scales in 8
    dtype: Precision  # of all else, and of the computation
    rank: int | None = None  # of an adapter, which is not merged
    target_modules: tuple[str, ...] = ()
    dora: bool = False
    new_tokens: int = 0  # of the architecture's, whose rows lie beside the table too
    adapter_sizes: tuple[int, ...] = ()  # parameters of its tensors, where they were read
    streamed_layers: int = 0  # whose packed weights lie on the host and visit the card
    on_cpu: bool = False
    workspace_bytes: int = CUBLAS_WORKSPACE

    @property
    def is_masked_model(self) -> bool:
        """Return whether it reads all at once and caches nothing."""
        return families.is_masked(self.architecture.model_type)

    @property
    def is_eager(self) -> bool:
        """Return whether attention makes all scores: Gemma-2's soft cap is in no kernel."""
        return families.is_eager(self.architecture.model_type)


@dataclass(frozen=True)
class ForwardPass:
    """The shape of one forward pass."""

    rows: int
    tokens: int  # new ones of a row
    cached: int = 0  # of a row, before them
    lying: int = 0  # of a row, in the storage of the cache: a cropped cache keeps what was cut off
    wanted: int = 1  # places of all rows whose logits are made
    masked: bool = False  # a tree, or rows with padding
    is_scored: bool = True  # else a token is chosen from the logits
    in_place: tuple[int, int] = (0, 0)  # rows and tokens of each that a cache has room for; else it grows
    shared: int = 0  # cached tokens that all rows share, which lie there once
    apart: bool = False  # what is shared is attended to as it lies, not as a copy for each row

    @property
    def copies(self) -> bool:
        """Return whether what is shared is copied for each row while a layer attends to it."""
        return self.shared > 0 and not self.apart


@dataclass(frozen=True)
class InferenceParts:
    """Bytes on the device at the worst moment of a pass, by what they are."""

    weights_4bit: float
    weights_kept: float  # in 16 or 32 bits
    adapters: float
    cache: float
    activations: float
    logits: float
    workspace: float

    @property
    def allocated(self) -> float:
        """Return the sum: torch.cuda.max_memory_allocated."""
        return float(sum(vars(self).values()))


def predict(held: LoadedModel, shape: ForwardPass) -> InferenceParts:
    """Return what the worst moment of a pass holds.

    That is a block at work (the last one, when the cache has grown; or the first, when more lies in the
    cache than is read), or the head with its logits, when nothing of the blocks is left.
    """
    a, e = held.architecture, BYTES[held.dtype]
    counts = weights.count(a)
    kept = counts.embedding + counts.other + (0 if held.nf4 else counts.linear)
    adapters = 0
    if held.rank is not None:
        adapters = sum(held.adapter_sizes) or weights.adapter_parameters(
            a, held.rank, held.target_modules, dora=held.dora
        ) + weights.new_rows(a, held.new_tokens)
        adapters += weights.new_rows(a, held.new_tokens)  # as they were, for who asks without the adapter
    tokens = shape.rows * (shape.cached + shape.tokens), shape.rows * shape.lying
    if any(shape.in_place):
        tokens = shape.shared + shape.in_place[0] * shape.in_place[1], 0
    grown, lying = (_of_a_layer(held, n) for n in tokens)
    layers = a.num_hidden_layers
    cache = max(layers * grown, grown + (layers - 1) * lying)
    activations, logits = _block(held, shape), 0.0
    made = _logits(held, shape)
    if layers * grown + made > cache + activations:
        cache, activations, logits = layers * grown, 0.0, made
    packed = counts.linear * weights.NF4_BYTES if held.nf4 else 0.0
    if held.streamed_layers:  # visitors are counted while the head works, too: they are few bytes of that
        away = 0.0 if held.on_cpu else held.streamed_layers * visits.packed_layer(a)  # a CPU has one memory
        packed += visits.on_card(a, held.streamed_layers) - away
    return InferenceParts(
        packed,
        float(kept * e),
        float(adapters * _FLOAT32),
        *(float(cache), activations, logits),
        0.0 if held.on_cpu else float(held.workspace_bytes),
    )


def _of_a_layer(held: LoadedModel, tokens: int) -> int:
    """Return the bytes of keys and values of so many tokens (all layers keep all tokens)."""
    a = held.architecture
    if held.is_masked_model:
        return 0
    return 2 * tokens * a.num_key_value_heads * a.head_dim * BYTES[held.dtype]


def _logits(held: LoadedModel, shape: ForwardPass) -> float:
    """Return the bytes of logits, which are made only where they are wanted.

    evaluation/scoring.py sums them up in float32, generation copies those of the last place to float32.
    Gemma-2 divides, bends and multiplies them: two at a time, which is never more.
    """
    e = BYTES[held.dtype]
    copies = _SUMMED if shape.is_scored and e < _FLOAT32 else 1
    return float(shape.wanted * held.architecture.vocab_size * (e + copies * _FLOAT32))


def _block(held: LoadedModel, shape: ForwardPass) -> float:
    """Return the bytes that come and go with the block that is at work, and the masks.

    Model.forward keeps what was embedded and the block's input, the block its residual and what its norm
    has made.
    """
    a, e = held.architecture, BYTES[held.dtype]
    all_tokens = shape.rows * shape.tokens
    state = all_tokens * a.hidden_size * e
    # sines and cosines; a masked model has learned its positions
    positions = 0 if held.is_masked_model else 2 * all_tokens * a.head_dim * e
    # returned, and kept to the block's end
    scores = _scores(held, shape) * e if held.is_eager and not shape.apart else 0
    embedded = 0 if held.is_masked_model else state  # Model.forward's own, which an encoder has not
    own = max(3 * state + _attention(held, shape), 3 * state + embedded + scores + _mlp(held, shape))
    return _masks(held, shape) + positions + own


def _masks(held: LoadedModel, shape: ForwardPass) -> float:
    """Return the bytes of who sees whom (B1NL): true or false, of eager attention numbers to add, twice."""
    if not has_mask(held, shape):
        return 0.0
    pairs = shape.rows * shape.tokens * (shape.cached + shape.tokens)
    each = 1 if shape.apart else BYTES[held.dtype]
    return float(pairs * (2 * each if held.is_eager else 1))


def has_mask(held: LoadedModel, shape: ForwardPass) -> bool:
    """Return whether a mask is made: sdpa_mask leaves out what is causal, and one token's of one row."""
    if shape.apart:
        return shape.masked
    return held.is_eager or shape.masked or (shape.cached > 0 and shape.tokens > 1)


def _attention(held: LoadedModel, shape: ForwardPass) -> float:
    """Return the bytes of attention at its worst: queries, keys and values of all heads, scores, output."""
    a, e = held.architecture, BYTES[held.dtype]
    length = shape.cached + shape.tokens
    queries = shape.rows * shape.tokens * a.num_attention_heads * a.head_dim * e
    # repeat_kv, where a mask or the plain formula wants as many heads of keys as of queries
    is_grouped = a.num_key_value_heads < a.num_attention_heads
    is_repeated = is_grouped and has_mask(held, shape) and (held.is_eager or shape.tokens > 1)
    repeated = 2 * shape.rows * length * a.num_attention_heads * a.head_dim * e if is_repeated else 0
    if shape.apart:  # scores of all, beside what they are put together of or become in float32
        return float(2 * queries + _scores(held, shape) * (2 * e + _FLOAT32))
    growing = _of_a_layer(held, shape.rows * shape.lying) / 2 + 2.0 * queries  # old values beside the new
    if shape.copies:
        copied = _of_a_layer(held, shape.rows * length)
        repeated += copied
        width = a.num_attention_heads * a.head_dim
        growing = max(growing, copied + queries + _linear(held, shape, "o_proj", (width, a.hidden_size)))
    if held.is_eager:
        # softmax(dtype=float32): its input, that in float32 unless the kernel casts, the output
        each = {Precision.bfloat16: 10, Precision.float16: 8, Precision.float32: 8}[held.dtype]
        return float(max(growing, queries + repeated + _scores(held, shape) * each))
    added = shape.rows * shape.tokens * length * e if has_mask(held, shape) else 0  # to the scores
    return float(max(growing, queries + repeated + added + queries))


def _scores(held: LoadedModel, shape: ForwardPass) -> int:
    """Return the number of scores of a block: of every pair of tokens, of every head."""
    pairs = shape.rows * shape.tokens * (shape.cached + shape.tokens)
    return held.architecture.num_attention_heads * pairs


def _mlp(held: LoadedModel, shape: ForwardPass) -> float:
    """Return the bytes of the layers of the feed-forward net at its worst moment."""
    a = held.architecture
    hidden, inner = a.hidden_size, a.intermediate_size
    number = shape.rows * shape.tokens * BYTES[held.dtype]
    if held.is_masked_model:
        return max(2.0 * inner * number, _linear(held, shape, "intermediate.dense", (hidden, inner)))
    if families.of(a).fused_gate:  # halves of one output, alive to the end
        return max(
            _linear(held, shape, "gate_up_proj", (hidden, 2 * inner)),
            4.0 * inner * number,
            3 * inner * number + _linear(held, shape, "down_proj", (inner, hidden)),
        )
    return max(
        inner * number + _linear(held, shape, "up_proj", (hidden, inner)),  # beside the gate
        3.0 * inner * number,  # and their product
        inner * number + _linear(held, shape, "down_proj", (inner, hidden)),
    )


def _linear(held: LoadedModel, shape: ForwardPass, name: str, sizes: tuple[int, int]) -> float:
    """Return the bytes of a linear layer while it works, of (inputs, outputs), with its result.

    4-bit weights are unpacked (bitsandbytes 0.50.2, gemm_4bit: on a card from 5 to 1536 rows on, by its
    make). PEFT's adapter, in float32 and without autocast, reads its input in float32, and holds its output
    twice while it is scaled (peft/tuners/lora). DoRA makes the matrix of its update, from the identity, and
    adds it up with the unpacked weights, four times in float32; two of them stay while it holds its output
    four times (lora/dora.py).
    """
    e, (inputs, outputs), number = BYTES[held.dtype], sizes, shape.rows * shape.tokens
    made = number * outputs * e
    plain = float(made + (inputs * outputs * e if held.nf4 else 0))
    is_adapted = held.rank is not None and {name, ALL_LINEAR} & set(held.target_modules)
    if not is_adapted:
        return plain
    read = number * inputs * _FLOAT32 if e < _FLOAT32 else 0
    update = 2 * number * outputs * _FLOAT32
    if held.dora:
        square, matrix = inputs * inputs * _FLOAT32, inputs * outputs * _FLOAT32
        update = max(2 * update + 2 * matrix, square + matrix, 4 * matrix)
    return max(plain, float(made + read + update), 2.0 * made)
