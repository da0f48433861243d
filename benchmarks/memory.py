"""Peak GPU memory of fine-tuning steps, predicted without a GPU, against rows measured on one.

    python benchmarks/memory.py ../shared/data/gpu_memory_t4/measured.csv

Each row is one configuration; `architectures.json` beside the file holds the shapes of the models by name.
Nothing is fitted to the rows: the code that was measured runs on the meta device, and its requests are
replayed through PyTorch's caching allocator. The rows come from a plain loop without autocast
(scripts/measure.py of github:Anassbzdd/fitcheck): weights are loaded in the row's precision; where they are
in 4 bits PEFT's prepare_model_for_kbit_training makes the others float32; before AdamW what is trained
becomes float32; transformers' own loss makes the full logits, and the model's output lives until the step
ends. A missing or empty column has that program's default; an empty lora_rank trains every weight.
"""

from __future__ import annotations

import csv
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import memory_peers

from arabic_llm.config.hw import MIB, Precision
from arabic_llm.config.task import Optimizer
from arabic_llm.errors import ConfigError
from arabic_llm.memory import weights
from arabic_llm.memory.workload import CUBLAS_WORKSPACE, Attention, Loss, Workload
from arabic_llm.models import families
from arabic_llm.profiling import training_rehearsal

PRECISIONS = {
    "fp16": Precision.float16,
    "bf16": Precision.bfloat16,
    "fp32": Precision.float32,
}
OPTIMIZERS = {"adamw": Optimizer.adamw, "adam8bit": Optimizer.adamw_8bit, "sgd": None}
ATTENTION = {
    "eager": Attention.eager,
    "sdpa": Attention.efficient,  # pinned to that kernel: a T4 has no FlashAttention
    "flash_attention_2": Attention.flash,
}
YES = {"true": True, "1": True, "false": False, "0": False}
FAMILIES = [name for name, family in families.TABLE.items() if not family.is_masked]
DEFAULTS = {
    "quantization": "none",
    "double_quant": "false",
    "precision": "fp16",  # bfloat16, but a T4 has none
    "optimizer": "adamw",
    "lora_targets": "q_proj k_proj v_proj o_proj",
    "gradient_checkpointing": "false",
    "attention": "eager",
}


def workload(row: dict[str, str], shapes: dict[str, dict[str, Any]]) -> Workload:
    """Return what a row of the file ran. Raises ConfigError that names the column it cannot read."""
    if (model := _cell(row, "model")) not in shapes:
        raise ConfigError(f"architectures.json has no '{model}'")
    shape = families.architecture({"name": model, **shapes[model]})
    if shape.model_type not in FAMILIES:
        raise ConfigError(f"model_type is '{shape.model_type}'; known: {', '.join(FAMILIES)}")
    nf4 = _choice(row, "quantization", {"nf4": True, "none": False})
    rank = _number(row, "lora_rank") if (row.get("lora_rank") or "").strip() else 0
    if nf4 and not rank:
        raise ConfigError("quantization is nf4 and lora_rank is empty: weights in 4 bits are not trained")
    targets = tuple(_cell(row, "lora_targets").replace(",", " ").split())
    weights.adapter_tensors(shape, rank, targets)  # refuses what the model does not have
    optimizer, precision = _choice(row, "optimizer", OPTIMIZERS), _choice(row, "precision", PRECISIONS)
    return Workload(
        architecture=shape,
        batch_size=_number(row, "batch_size"),
        tokens=_number(row, "seq_len"),
        nf4=nf4,
        double_quant=_choice(row, "double_quant", YES),
        weights=precision,
        compute=precision,
        autocast=False,
        rank=rank or None,
        target_modules=targets,
        dropout=0.0,
        attention=_choice(row, "attention", ATTENTION),
        checkpointing=_choice(row, "gradient_checkpointing", YES),
        optimizer=optimizer,
        loss=Loss.full,
        padded=False,
        accumulates=False,
        widened=nf4 or (not rank and optimizer is Optimizer.adamw),
        keeps_output=True,
        workspace_bytes=CUBLAS_WORKSPACE,
    )


def _cell(row: dict[str, str], name: str) -> str:
    if value := (row.get(name) or "").strip() or DEFAULTS.get(name, ""):
        return value
    raise ConfigError(f"no '{name}'")


def _number(row: dict[str, str], name: str) -> int:
    text = _cell(row, name)
    if not text.isdecimal():
        raise ConfigError(f"{name} is '{text}', not a whole number")
    return int(text)


def _choice(row: dict[str, str], name: str, known: dict[str, Any]) -> Any:
    text = _cell(row, name).lower()
    if text not in known:
        raise ConfigError(f"{name} is '{text}'; known: {', '.join(known)}")
    return known[text]


def _mib(row: dict[str, str], name: str) -> float:
    text = _cell(row, name)
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{name} is '{text}', not a number of MiB") from None


def main(path: Path) -> None:
    """Print each row and the errors over all."""
    warnings.simplefilter("ignore")
    shapes = json.loads((path.parent / "architectures.json").read_text(encoding="utf-8"))
    allocated, reserved, tried = [], [], []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=2):
        try:
            work = workload(row, shapes)
            measured = [_mib(row, f"peak_{kind}_mib") for kind in ("allocated", "reserved")]
        except ConfigError as problem:
            raise ConfigError(f"{path}:{number}: {problem}") from problem
        tried.append((work, row))
        peak = training_rehearsal.peak(work)
        allocated.append(memory_peers.error(peak.allocated / MIB, measured[0]))
        reserved.append(memory_peers.error(peak.reserved / MIB, measured[1]))
        ours = [peak.allocated / MIB, peak.reserved / MIB]
        name, errors = row["model"].rpartition("/")[2], (allocated[-1], reserved[-1])
        print(
            f"{name:26} {'nf4' if work.nf4 else 'none':4} {work.batch_size} x {work.tokens:<5}"
            f" {_cell(row, 'attention'):5}"
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
    except (ConfigError, OSError, json.JSONDecodeError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
