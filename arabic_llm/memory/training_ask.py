"""What a training run asks of a card, and a pass of it as a workload."""

from __future__ import annotations

from dataclasses import dataclass, replace

from arabic_llm.config.adapter import AdapterConfig, Method, Quantization
from arabic_llm.config.hw import Device, HardwareConfig, Precision
from arabic_llm.config.model import ArchitectureConfig, ModelConfig
from arabic_llm.config.task import Optimizer, TrainingConfig
from arabic_llm.memory.workload import PAIRS, Attention, Loss, Objective, Workload, workspace
from arabic_llm.models import families


@dataclass(frozen=True)
class Ask:
    """What a run wants, before hw has its say."""

    model: ModelConfig
    adapter: AdapterConfig
    hw: HardwareConfig
    tokens: int  # a sequence
    effective_batch_size: int
    optimizer: Optimizer
    objective: Objective = Objective.sft
    num_labels: int = 2  # of classes, where they are the objective
    packed_layers: tuple[int, ...] = ()  # bytes of each, of a family that no table knows


def ask(
    model: ModelConfig,
    adapter: AdapterConfig,
    hw: HardwareConfig,
    task: TrainingConfig,
    objective: Objective = Objective.sft,
) -> Ask:
    """Return what a configured run wants."""
    return Ask(model, adapter, hw, task.max_length, task.effective_batch_size, task.optimizer, objective)


def workload(wanted: Ask, micro_batch_size: int, *, checkpointing: bool) -> Workload:
    """Return what a pass of our runs does: TRL's tiled head, AdamW, autocast."""
    adapter, hw = wanted.adapter, wanted.hw
    is_full, nf4 = adapter.method is Method.full, adapter.quantization is Quantization.nf4
    precision = _precision(hw)
    of_pairs = wanted.objective in PAIRS
    sequences = micro_batch_size * (2 if of_pairs else 1)
    padded = sequences > 1  # sequences of a batch differ in length
    return Workload(
        architecture=grown(wanted.model.architecture, adapter),
        batch_size=sequences,
        tokens=wanted.tokens,
        nf4=nf4,
        double_quant=nf4,
        weights=Precision.float32 if is_full else precision,
        compute=precision,
        autocast=precision is not Precision.float32,
        rank=None if is_full else adapter.rank,
        target_modules=tuple(adapter.target_modules),
        dropout=adapter.dropout or 0.0,
        adapter=adapter.dtype or Precision.float32,
        attention=_attention(wanted, padded),
        checkpointing=checkpointing,
        optimizer=wanted.optimizer,
        loss=Loss.full if wanted.objective is Objective.classify else Loss.tiled,
        padded=padded,
        accumulates=wanted.effective_batch_size > micro_batch_size,
        workspace_bytes=workspace_on(hw),
        dora=adapter.use_dora,
        adapter_sizes=adapter.tensor_sizes,
        new_tokens=adapter.num_new_tokens,
        num_cards=hw.num_cards,
        objective=Objective.sft if of_pairs or wanted.objective is Objective.kto else wanted.objective,
        num_labels=wanted.num_labels,
        packed_layers=wanted.packed_layers,
    )


def grown(a: ArchitectureConfig, adapter: AdapterConfig) -> ArchitectureConfig:
    """Return the shape of a model with the new tokens of an adapter; a table may have rows to spare."""
    return replace(a, vocab_size=a.vocab_size + adapter.num_new_tokens) if adapter.num_new_tokens else a


def workspace_on(hw: HardwareConfig) -> int:
    """Return the bytes of a workspace of cuBLAS."""
    return workspace(int(hw.compute_capability or 0))


def _precision(hw: HardwareConfig) -> Precision:
    if hw.precision is not Precision.auto:
        return hw.precision
    # bfloat16 or float16: as many bytes
    return Precision.float32 if hw.device is Device.cpu else Precision.bfloat16


def _attention(wanted: Ask, padded: bool) -> Attention:
    """Return the kernel that transformers and torch will choose."""
    if families.is_eager(wanted.model.architecture.model_type):
        return Attention.eager  # its soft-capped scores are in no kernel (Gemma2PreTrainedModel)
    if padded:
        return Attention.efficient  # FlashAttention takes no mask
    if wanted.hw.precision is Precision.float16:
        # A card before Ampere: no FlashAttention, and with grouped heads and no mask transformers asks for
        # what the efficient kernel does not do, so torch falls back on the plain formula.
        shape = wanted.model.architecture
        grouped = shape.num_key_value_heads < shape.num_attention_heads
        return Attention.eager if grouped else Attention.efficient
    return Attention.flash
