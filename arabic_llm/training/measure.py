"""Memory of a step, predicted and measured: what the first step of a process takes, and was to take.

What is compared is one and the same step: its widest micro-batch, as wide as its rows are, and without the
optimiser's moments where they are yet to come. On a card the measure is torch's own count of the allocator,
on a CPU the bytes of all tensors alive. The prediction is a rehearsal of the same code on the meta device.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arabic_llm import files, processes
from arabic_llm.config.schema import Precision
from arabic_llm.memory.timeline import KINDS, Exact, Moment, Timeline
from arabic_llm.memory.workload import (
    CUBLAS_WORKSPACE,
    MIB,
    Attention,
    Loss,
    Objective,
    Optimizer,
    Peak,
    Workload,
    architecture,
)
from arabic_llm.models import adapter, skeleton
from arabic_llm.models.placement import AMPERE
from arabic_llm.training import rehearsal

log = logging.getLogger(__name__)
MEMORY = "memory.json"
_FAR_OFF = 5  # percent
_HOPPER = 9  # compute capability from which cuBLAS has workspaces of 32 MiB
_FAMILIES = ("llama", "qwen2", "gemma2", "glm")  # that the model on meta is built for
_CLASSIFIERS = (*_FAMILIES, "bert")


@dataclass(frozen=True)
class Batch:
    """The shape of one forward and backward pass."""

    size: int  # sequences
    tokens: int  # a sequence, with its padding
    padded: bool  # some are shorter


@dataclass(frozen=True)
class Found:
    """What a step took, and what was predicted of it; None where that cannot be said."""

    step: int
    device: str
    batch: Batch
    measured: int  # bytes in tensors
    measured_reserved: int | None  # taken from the card
    predicted: int | None
    predicted_reserved: int | None
    measured_curve: Sequence[Moment] = field(default=(), repr=False)
    predicted_curve: Sequence[Moment] = field(default=(), repr=False)

    @property
    def error(self) -> float | None:
        """Return how far the prediction is off, in percent of what was measured."""
        return None if self.predicted is None else 100 * (self.predicted / self.measured - 1)

    def __str__(self) -> str:
        """Return both in a line."""
        said = f"memory of a step of {self.batch.size} x {self.batch.tokens} tokens: {_mib(self.measured)}"
        if self.error is None:
            return f"{said} measured, not predicted for this model"
        said += f" measured, {_mib(self.predicted)} predicted ({self.error:+.1f}%)"
        if self.measured_reserved is not None:
            said += (
                f"; of the card {_mib(self.measured_reserved)}, {_mib(self.predicted_reserved)} predicted"
            )
        far = f"; the prediction is more than {_FAR_OFF}% off" if abs(self.error) > _FAR_OFF else ""
        return said + far


class Measure(TrainerCallback):  # type: ignore[misc]
    """Watch the first step that this process trains, then leave training alone."""

    def __init__(self, path: Path) -> None:
        """Take the file that keeps what was found."""
        self.found: Found | None = None
        self.batches: list[Batch] = []  # of the step that is watched, or failed
        self._path = path
        self._model: Any = None
        self._note: Any = None
        self._timeline: Timeline | None = None
        self._has_moments = False

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Begin to watch, at the first step of this process; of several processes none is rehearsed."""
        self.batches.clear()
        if self._model is not None or processes.count() > 1:
            return
        self._model = model
        self._note = model.register_forward_pre_hook(self._note_batch, with_kwargs=True)
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        self._has_moments = bool(optimizer.state)
        if args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        self._timeline = Timeline(Exact(), model.config.vocab_size)
        beside = (tensor for p in model.parameters() for tensor in skeleton.scales(p))
        for tensor in (*model.parameters(), *beside, *model.buffers()):
            self._timeline.see(tensor)
        self._timeline.follow(model, optimizer)
        self._timeline.allocator.reset_peaks()
        self._timeline.__enter__()  # type: ignore[no-untyped-call]

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say and keep what the step took."""
        if self.found is None and self._model is not None:
            measured, reserved, curve = self._measured()
            self.close()
            batch = max(self.batches, key=lambda each: each.size * each.tokens)
            predicted, predicted_curve = self.predict(args, batch)
            self.found = Found(
                *(state.global_step, args.device.type, batch, measured, reserved),
                *(predicted.allocated if predicted else None, predicted.reserved if predicted else None),
                *(curve, predicted_curve),
            )
            self._has_moments = True
            files.write_json(self._path, {"kinds": KINDS, **asdict(self.found)})
            log.info("%s", self.found)

    def figures(self, step: int) -> dict[str, float | None]:
        """Return what a line of metrics says of the step that was measured; nothing of others."""
        if self.found is None or self.found.step != step:
            return {}
        return {
            "measured_mib": self.found.measured / MIB,
            "predicted_mib": self.found.predicted and self.found.predicted / MIB,
        }

    def predict(self, args: TrainingArguments, batch: Batch) -> tuple[Peak | None, list[Moment]]:
        """Return what a step with such a pass takes, as rehearsed; None for models it does not know."""
        work = workload(self._model, args, batch)
        if work is None:
            return None, []
        with torch.random.fork_rng(devices=()):
            return rehearsal.curve(work, is_first=not self._has_moments)

    def expected(self, args: TrainingArguments) -> str:
        """Return what the pass that runs was predicted to take, in words."""
        if not self.batches:
            return "nothing had run"
        batch = self.batches[-1]
        predicted, _ = self.predict(args, batch)
        said = f"a step of {batch.size} x {batch.tokens} tokens was"
        return (
            f"{said} predicted to take {_mib(predicted.allocated)}"
            if predicted
            else f"{said} not predicted"
        )

    def close(self) -> None:
        """Leave training alone, as after an error."""
        if self._timeline is not None:
            self._timeline.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._timeline.close()
            self._timeline = None

    def _measured(self) -> tuple[int, int | None, list[Moment]]:
        if self._timeline is not None:
            return self._timeline.allocator.peak_allocated, None, self._timeline.curve()
        return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), []

    def _note_batch(self, _model: Any, _args: Any, inputs: dict[str, Any]) -> None:
        mask = inputs.get("attention_mask")
        # without a mask they are packed: pieces do not mix; later nobody asks, and a GPU would have to wait
        padded = self.found is not None or mask is None or not bool(mask.all())
        self.batches.append(Batch(inputs["input_ids"].shape[0], inputs["input_ids"].shape[1], padded))


def workload(model: PreTrainedModel, args: TrainingArguments, batch: Batch) -> Workload | None:
    """Return what a pass of this model puts on its device, read off the model itself.

    None where it is of no family that a rehearsal knows.
    """
    config, peft = model.config, getattr(model, "peft_config", {}).get("default")
    is_classifier = adapter.is_classifier(model)
    if config.model_type not in (_CLASSIFIERS if is_classifier else _FAMILIES):
        return None
    shape = {name: value for name, value in config.to_dict().items() if value is not None}
    quantization = getattr(config, "quantization_config", None)
    weights = Precision[str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")]
    mixed = Precision.bfloat16 if args.bf16 else Precision.float16 if args.fp16 else None
    on_cuda = args.device.type == "cuda"
    major = torch.cuda.get_device_capability()[0] if on_cuda else 0
    hopper = 32 * MIB if major >= _HOPPER else CUBLAS_WORKSPACE
    return Workload(
        architecture=architecture(shape),
        batch_size=batch.size,
        tokens=batch.tokens,
        nf4=quantization is not None,
        double_quant=quantization is not None and quantization.bnb_4bit_use_double_quant,
        weights=weights,
        compute=mixed or weights,
        autocast=mixed is not None,
        rank=peft and peft.r,
        target_modules=tuple(sorted(peft.target_modules)) if peft else (),
        dropout=peft.lora_dropout if peft else 0.0,
        attention=_attention(config, mixed, batch, major if on_cuda else None),
        checkpointing=args.gradient_checkpointing,
        optimizer=Optimizer.adamw_8bit if "8bit" in args.optim else Optimizer.adamw,
        loss=Loss.full if is_classifier else Loss.tiled,
        padded=batch.padded,
        accumulates=args.gradient_accumulation_steps > 1,
        widened=False,
        keeps_output=False,
        workspace_bytes=hopper if on_cuda else 0,
        device=args.device.type,
        dora=bool(peft and peft.use_dora),
        optimizer_on_host=on_cuda and "paged" in args.optim,
        objective=Objective.classify if is_classifier else Objective.sft,
        num_labels=config.num_labels,
    )


def _attention(config: Any, mixed: Precision | None, batch: Batch, major: int | None) -> Attention:
    """Return the kernel that torch takes, on a card of that compute capability or on a CPU (None)."""
    if config._attn_implementation == "eager":
        return Attention.eager
    if major is None or batch.padded or mixed is None:
        return Attention.efficient
    if major >= AMPERE:
        return Attention.flash
    # Before Ampere there is no FlashAttention; grouped heads without a mask are left to the plain formula.
    grouped = config.num_key_value_heads < config.num_attention_heads
    return Attention.eager if grouped else Attention.efficient


def _mib(size: int | None) -> str:
    return "?" if size is None else f"{size / MIB:,.0f} MiB"
