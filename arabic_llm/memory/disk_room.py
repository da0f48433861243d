"""What a training run leaves on the disk, predicted: checkpoints, for a while one more than it keeps."""

from __future__ import annotations

import math
from pathlib import Path

from arabic_llm import disk, files
from arabic_llm.config.adapter import AdapterConfig
from arabic_llm.config.hw import Precision
from arabic_llm.config.model import ArchitectureConfig, ModelConfig
from arabic_llm.config.task import Optimizer, PretrainConfig, TrainingConfig
from arabic_llm.memory import weights
from arabic_llm.memory.static import BYTES
from arabic_llm.models import families
from arabic_llm.models.families import ALL_LINEAR

_REST = 2**20  # of a checkpoint: the tokenizer, states, notes; larger tokenizers are left out
_LESS = "train less: an adapter, and not adapter=full, or a lower adapter.rank"
_SMALLER = "make a smaller model: model.architecture.hidden_size"


def refuse_short(
    model: ModelConfig, adapter: AdapterConfig, task: TrainingConfig, directory: Path, num_labels: int = 0
) -> None:
    """Refuse a run whose checkpoints the disk cannot hold, or whose files may not be so large.

    What the directory holds already is counted; a family that is not in the table is not. Raises
    HardwareError.
    """
    trained = _trained_bytes(model.architecture, adapter, num_labels)
    if trained is None or any(files.is_whole(directory / name) for name in ("adapter", "model")):
        return
    moments = 2 * trained * (1 / BYTES[_type(adapter)] if task.optimizer is Optimizer.adamw_8bit else 1)
    several = task.save_total_limit + 1 + (task.early_stopping_patience is not None)
    if task.max_steps is not None:
        several = min(several, math.ceil(task.max_steps / task.save_steps))
    needed = several * (trained + moments + _REST) + trained
    there = files.num_bytes(directory.glob("training/checkpoint-*/*"))
    checkpoints = f"{several} checkpoint{'s' if several > 1 else ''} and what is trained"
    less = _SMALLER if isinstance(task, PretrainConfig) else _LESS
    disk.refuse_short(directory, needed - there, max(trained, moments), checkpoints, less)


def _trained_bytes(a: ArchitectureConfig, adapter: AdapterConfig, num_labels: int) -> int | None:
    """Return the bytes of what is trained, or None where that is known only when the model is there."""
    if families.known(a.model_type) is None:
        return None
    head = sum(weights.head_tensors(a, num_labels)) if num_labels else 0
    if adapter.rank is None:
        own = weights.count_classifier(a, num_labels) if num_labels else weights.count(a)
        return own.total * BYTES[Precision.float32]
    targets = adapter.target_modules
    if targets != [ALL_LINEAR] and not set(targets) <= set(families.linear_shapes(a)):
        return None
    own_size = weights.adapter_parameters(a, adapter.rank, targets, dora=adapter.use_dora)
    rows = weights.new_rows(a, adapter.num_new_tokens) * BYTES[Precision.float32]
    return (own_size + head) * BYTES[_type(adapter)] + rows


def _type(adapter: AdapterConfig) -> Precision:
    """Return the type of what is trained."""
    return Precision.float32 if adapter.rank is None else adapter.dtype or Precision.float32
