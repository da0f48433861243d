"""What stays on the card from step to step, tensor by tensor: weights, what is trained, and its moments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from arabic_llm.config.hw import Precision
from arabic_llm.config.task import Optimizer
from arabic_llm.memory import weights
from arabic_llm.memory.allocator import side_by_side
from arabic_llm.memory.workload import Objective, Workload

BYTES = {Precision.float32: 4, Precision.bfloat16: 2, Precision.float16: 2}
MIN_8BIT = 4096  # weights of a tensor below which bitsandbytes keeps moments of 32 bits
MIN_PAGED = 100_000  # and from which its paged optimisers put them in the host's memory (get_state_buffer)
_BLOCK_8BIT = 256  # weights that share a scale


def weights_held(work: Workload) -> tuple[float, float]:
    """Return the bytes of the weights in 4 bits and of the others."""
    counts = _count(work)
    each = BYTES[work.weights]
    away = (work.embedding_on_host + work.head_on_host) * weights.embedding_parameters(work.architecture)
    before = each * weights.new_rows(
        work.architecture, work.new_tokens
    )  # rows as they were, which PEFT keeps
    if not work.nf4:
        own = blocks({each * size: n for size, n in _own_tensors(work).items()})
        return 0.0, own + before - away * each
    scale = weights.NF4_BYTES if work.double_quant else 0.5 + 4 / 64
    return counts.linear * scale, float((counts.embedding - away + counts.other) * each + before)


def precision(work: Workload) -> Precision:
    """Return the type of what is trained."""
    return Precision.float32 if work.rank is None else work.adapter


def trained_tensors(work: Workload) -> dict[int, int]:
    """Return how many tensors are trained, by the number of their parameters."""
    if work.rank is None:
        return _own_tensors(work)
    if work.adapter_sizes:
        return Counter(work.adapter_sizes)
    a = work.architecture
    block = weights.adapter_tensors(a, work.rank, work.target_modules, dora=work.dora)
    adapter = Counter({size: a.num_hidden_layers * n for size, n in Counter(block).items()})
    return _head(work) + adapter + Counter(_new_rows(work))


def _own_tensors(work: Workload) -> Counter[int]:
    """Return how many tensors a model has without an adapter, by the number of their parameters."""
    a = work.architecture
    outside = _head(work) + Counter(weights.outside_tensors(a))
    if work.objective is not Objective.classify and not a.tie_word_embeddings:
        outside[weights.embedding_parameters(a)] += 1
    block = Counter(weights.block_tensors(a))
    return outside + Counter({size: a.num_hidden_layers * n for size, n in block.items()})


def _new_rows(work: Workload) -> list[int]:
    """Return the tensors of new tokens' rows, of the table and of a head with weights of its own.

    They are in float32 whatever the adapter's type is, and counted in numbers of that.
    """
    if not work.new_tokens:
        return []
    size = work.new_tokens * work.architecture.hidden_size * BYTES[Precision.float32]
    return [size // BYTES[work.adapter]] * (1 if work.architecture.tie_word_embeddings else 2)


def _head(work: Workload) -> Counter[int]:
    """Return the tensors of a head of classes."""
    is_there = work.objective is Objective.classify
    return Counter(weights.head_tensors(work.architecture, work.num_labels) if is_there else ())


def _count(work: Workload) -> weights.Parameters:
    if work.objective is Objective.classify:
        return weights.count_classifier(work.architecture, work.num_labels)
    return weights.count(work.architecture)


def moments(work: Workload, trained: Mapping[int, int]) -> Counter[int]:
    """Return how many tensors the optimiser keeps, by their bytes."""
    found: Counter[int] = Counter()
    if work.optimizer is None:
        return found
    for size, number in trained.items():
        if work.optimizer is Optimizer.adamw:
            found[BYTES[precision(work)] * size] += 2 * number
        elif size < MIN_8BIT:
            found[4 * size] += 2 * number
        else:
            found[size] += 2 * number
            found[4 * -(-size // _BLOCK_8BIT)] += 2 * number
    return found


def moments_away(work: Workload, trained: Mapping[int, int]) -> Counter[int]:
    """Return how many moments a paged optimiser puts in the host's memory, by their bytes."""
    if not work.optimizer_on_host:
        return Counter()
    each = 1 if work.optimizer is Optimizer.adamw_8bit else BYTES[precision(work)]
    return Counter({each * size: 2 * number for size, number in trained.items() if size >= MIN_PAGED})


def moments_on_host(work: Workload) -> float:
    """Return the bytes of moments in the host's memory, which come to the card and go back in a step."""
    return float(sum(size * number for size, number in moments_away(work, trained_tensors(work)).items()))


def blocks(tensors: Mapping[int, int]) -> float:
    """Return the bytes of the blocks of so many tensors of each size."""
    return sum(number * side_by_side(size) for size, number in tensors.items())
