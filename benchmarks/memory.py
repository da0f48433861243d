"""Peak GPU memory of fine-tuning steps, predicted without a GPU, against rows measured on one.

    python benchmarks/memory.py ../shared/data/gpu_memory_t4/measured.csv

Each row is one configuration; `architectures.json` beside the file holds the shapes of the models by name.
Nothing is fitted to the rows: the code that was measured runs on the meta device, and its requests are
replayed through PyTorch's caching allocator. The rows come from a plain loop: where weights are in 4 bits
PEFT's prepare_model_for_kbit_training has made the others float32, transformers' own loss makes the
full logits, and the model's output lives until the step ends.
"""

from __future__ import annotations

import csv
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import memory_peers

from arabic_llm.config.schema import Precision
from arabic_llm.errors import ConfigError
from arabic_llm.memory.workload import (
    CUBLAS_WORKSPACE,
    MIB,
    Attention,
    Loss,
    Optimizer,
    Workload,
    architecture,
)
from arabic_llm.training import rehearsal

PRECISIONS = {
    "fp16": Precision.float16,
    "bf16": Precision.bfloat16,
    "fp32": Precision.float32,
}
OPTIMIZERS = {"adamw": Optimizer.adamw, "adam8bit": Optimizer.adamw_8bit, "sgd": Optimizer.sgd}
ATTENTION = {
    "eager": Attention.eager,
    "sdpa": Attention.efficient,  # pinned to that kernel: a T4 has no FlashAttention
    "flash_attention_2": Attention.flash,
}


def workload(row: dict[str, str], shapes: dict[str, dict[str, Any]]) -> Workload:
    """Return what a row of the file ran. Raises ConfigError for a model without a shape."""
    if row["model"] not in shapes:
        raise ConfigError(f"architectures.json has no '{row['model']}'")
    nf4, rank = row["quantization"] == "nf4", int(row["lora_rank"] or 0)
    precision = PRECISIONS[row["precision"]]
    return Workload(
        architecture=architecture({"name": row["model"], **shapes[row["model"]]}),
        batch_size=int(row["batch_size"]),
        tokens=int(row["seq_len"]),
        nf4=nf4,
        double_quant=row["double_quant"].lower() == "true",
        weights=precision if rank else Precision.float32,
        compute=precision,
        autocast=False,
        rank=rank or None,
        target_modules=tuple(row["lora_targets"].replace(",", " ").split()),
        dropout=0.0,
        attention=ATTENTION[row["attention"]],
        checkpointing=row["gradient_checkpointing"].lower() == "true",
        optimizer=OPTIMIZERS[row["optimizer"]],
        loss=Loss.full,
        padded=False,
        accumulates=False,
        widened=nf4,
        keeps_output=True,
        workspace_bytes=CUBLAS_WORKSPACE,
    )


def error(predicted: float, measured: float) -> float:
    """Return the error in percent."""
    return 100 * (predicted / measured - 1)


def main(path: Path) -> None:
    """Print each row and the errors over all."""
    warnings.simplefilter("ignore")
    shapes = json.loads((path.parent / "architectures.json").read_text(encoding="utf-8"))
    allocated, reserved, tried = [], [], []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        work = workload(row, shapes)
        tried.append((work, row))
        peak = rehearsal.peak(work)
        measured = [float(row[f"peak_{kind}_mib"]) for kind in ("allocated", "reserved")]
        allocated.append(error(peak.allocated / MIB, measured[0]))
        reserved.append(error(peak.reserved / MIB, measured[1]))
        ours = [peak.allocated / MIB, peak.reserved / MIB]
        name, errors = row["model"].rpartition("/")[2], (allocated[-1], reserved[-1])
        print(
            f"{name:26} {row['quantization']:4} {work.batch_size} x {work.tokens:<5} {row['attention']:5}"
            f" allocated {ours[0]:7.0f} measured {measured[0]:7.0f} {errors[0]:+6.2f}% "
            f" reserved {ours[1]:7.0f} measured {measured[1]:7.0f} {errors[1]:+6.2f}%",
            flush=True,
        )
    print("\n".join(memory_peers.lines(tried)))
    print(
        f"allocated mean {sum(map(abs, allocated)) / len(allocated):.2f}%"
        f" worst {max(map(abs, allocated)):.2f}%, reserved worst {max(map(abs, reserved)):.2f}%"
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except ConfigError as problem:
        sys.exit(f"error: {problem}")
