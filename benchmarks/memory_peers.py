"""What other programs say of the rows that benchmarks/memory.py predicts: fitcheck-llm and accelerate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

try:
    import fitcheck
except ImportError:  # pip install 'arabic-llm[bench]'
    fitcheck = None
from accelerate.commands.estimate import estimate_training_usage

from arabic_llm.config.adapter import Quantization
from arabic_llm.config.hw import MIB
from arabic_llm.config.task import Optimizer
from arabic_llm.memory import weights
from arabic_llm.memory.workload import Attention, Workload
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR

_OWN_WORDS = "it says of itself: worst 4.6% allocated, 13.9% of the process"
_OPTIMIZERS = {Optimizer.adamw: "adamw", Optimizer.adamw_8bit: "adamw8bit", None: "sgd"}
_PRECISIONS = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}


def lines(tried: Iterable[tuple[Workload, dict[str, str]]]) -> list[str]:
    """Return the errors of the peers on workloads with their rows, a line each."""
    thumb, tensors, process, refusals = [], [], [], []
    for work, row in tried:
        allocated = float(row["peak_allocated_mib"])
        thumb.append(error(_rule_of_thumb(work), allocated))
        if fitcheck is None:
            continue
        try:
            said = _fitcheck(work)
        except ValueError as problem:  # it refuses what it has no formula for
            refusals.append(str(problem).splitlines()[0])
            continue
        tensors.append(error(said.total_mib - said.overhead_mib, allocated))
        if context := row.get("cuda_context_mib"):
            process.append(error(said.total_mib, float(row["peak_reserved_mib"]) + float(context)))
    peer = f"not installed here (pip install 'arabic-llm[bench]'); {_OWN_WORDS}"
    if fitcheck is not None:
        peer = f"allocated {spread(tensors)}, of the process {spread(process)}"
        peer += f"; {len(refusals)} rows refused ({refusals[0]})" if refusals else ""
    return [
        f"peers on these rows: fitcheck-llm 0.3.1: {peer}",
        f"                     accelerate estimate-memory: allocated {spread(thumb)}",
    ]


def error(predicted: float, measured: float) -> float:
    """Return the error in percent."""
    return 100 * (predicted / measured - 1)


def spread(errors: list[float]) -> str:
    """Return the mean and the worst of errors in percent."""
    sizes = [abs(each) for each in errors]
    return f"mean {sum(sizes) / len(sizes):.2f}% worst {max(sizes):.2f}%" if sizes else "nothing said"


def _rule_of_thumb(work: Workload) -> float:
    """Return what `accelerate estimate-memory` says of training in 16 bits; it knows no batch."""
    whole = weights.weight_bytes(weights.count(work.architecture), Quantization.none, 4)
    return max(estimate_training_usage(int(whole), "float16").values()) / MIB


def _fitcheck(work: Workload) -> Any:
    """Return fitcheck's report of a workload on a T4, whose overheads it has measured."""
    a = work.architecture
    model = fitcheck.ModelConfig(
        name="row",
        num_params=weights.count(a).total,  # as the hub reports it, with biases
        hidden_size=a.hidden_size,
        num_layers=a.num_hidden_layers,
        num_attention_heads=a.num_attention_heads,
        num_kv_heads=a.num_key_value_heads,
        intermediate_size=a.intermediate_size,
        vocab_size=a.vocab_size,
        head_dim=a.head_dim,
        tie_word_embeddings=a.tie_word_embeddings,
    )
    targets = list(work.target_modules)
    training = fitcheck.TrainingConfig(
        precision=_PRECISIONS[work.compute.name],
        quantization="nf4" if work.nf4 else "none",
        double_quant=work.nf4 and work.double_quant,
        optimizer=_OPTIMIZERS[work.optimizer],
        batch_size=work.batch_size,
        seq_len=work.tokens,
        lora_rank=work.rank,
        lora_targets=list(families.linear_shapes(a)) if targets == [ALL_LINEAR] else targets,
        grad_checkpoint=work.checkpointing,
        flash_attn=work.attention is not Attention.eager,  # its word for every fused kernel
    )
    return fitcheck.estimate(model, training, fitcheck.get_gpu("t4"))
