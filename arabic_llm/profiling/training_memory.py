"""Memory of a step, predicted and measured: the first that a process trains, then one with moments.

What is compared is one and the same step: its widest micro-batch, as wide as its rows are, with the
optimiser's moments where they were there. On a card the measure is torch's own count of the allocator, on a
CPU the bytes of all tensors alive. The prediction is a rehearsal of the same code on the meta device.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from arabic_llm import files, processes
from arabic_llm.config.hw import MIB, Precision
from arabic_llm.config.task import Optimizer
from arabic_llm.memory.training_plan import Plan
from arabic_llm.memory.wording import mib
from arabic_llm.memory.workload import Attention, Loss, Objective, Peak, Workload, workspace
from arabic_llm.models import adapter, families, new_rows, streaming
from arabic_llm.models.host_head import HostHead
from arabic_llm.models.load import HostEmbedding
from arabic_llm.models.placement import AMPERE
from arabic_llm.profiling.harmless import harmless
from arabic_llm.profiling.meters import CardMeter, TensorMeter
from arabic_llm.profiling.step_memory import (
    Batch,
    PlannedStep,
    StepMemory,
    Taken,
    reserves_by_default,
    worst_passes,
)
from arabic_llm.training import answer_head

if TYPE_CHECKING:
    from arabic_llm.profiling.timeline import Moment

log = logging.getLogger(__name__)
MEMORY = "memory.json"
_NOT_MEASURED = "memory of a step is not measured"
_NOT_PREDICTED = "memory of a step is not predicted"


def watch(directory: Path, plan: Plan | None = None, cache_dir: Path | None = None) -> MemoryCallback:
    """Return the observer of a training, which keeps what it finds in its directory, beside the plan.

    What is rehearsed is kept in cache_dir, for like runs.
    """
    return MemoryCallback(directory / MEMORY, plan, cache_dir)


class MemoryCallback(TrainerCallback):  # type: ignore[misc]
    """Watch the first step that this process trains and the first one with moments, then none.

    It is the Observer of training. Whatever goes wrong in it is said in a line, and training goes on.
    """

    def __init__(self, path: Path, plan: Plan | None = None, cache_dir: Path | None = None) -> None:
        """Take the file that keeps what was found, the plan held against it, and where rehearsals are."""
        self.found: StepMemory | None = None  # in the main process
        self.batches: list[Batch] = []  # of the step that runs
        self._path, self._cache_dir = path, cache_dir
        self._planned = PlannedStep.of(plan)
        self._model: Any = None
        self._meter: CardMeter | TensorMeter | None = None
        self._has_moments = False
        self._num_watched = 0
        self._is_due = False  # the step that runs is to be watched: in all processes, or in none
        self._is_done = False
        self._has_failed = False  # in this process: nothing more is measured
        self._predicts = True

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Begin to watch, at the first step of this process and at the first one with moments."""
        self.batches.clear()
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        self._has_moments = bool(getattr(optimizer, "state", None))
        self._is_due = not self._is_done and (self._has_moments or not self._num_watched)
        if self._is_due and not self._has_failed:
            with harmless(_NOT_MEASURED, self._give_up):
                self._begin(args, model, optimizer)

    def _begin(self, args: TrainingArguments, model: Any, optimizer: Any) -> None:
        if self._model is None:
            self._model = model
            model.register_forward_pre_hook(self._note_batch, with_kwargs=True)
        if args.device.type == "cuda":
            self._meter = CardMeter(args.device, is_new=not self._num_watched)
        else:
            self._meter = TensorMeter(model, optimizer)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Keep what the step took in the fullest process, and say it of a step that all are like."""
        if not self._is_due:
            return
        taken = None
        with harmless(_NOT_MEASURED, self._fail):
            if self._meter is not None and not self._has_failed:
                taken = self._meter.taken(worst_passes(self.batches))
        self.close()
        self._num_watched += 1
        self._is_due, self._is_done = False, self._has_moments
        everybody = processes.gather(taken)  # none of a process in which something went wrong
        with harmless(_NOT_MEASURED, self._fail):
            self._keep(args, state.global_step, [each for each in everybody if each is not None])

    def _keep(self, args: TrainingArguments, step: int, taken: Sequence[Taken]) -> None:
        """Hold the fullest process against what was predicted and planned; the main one does."""
        if not taken or not processes.is_main():
            return
        from arabic_llm.profiling.timeline import KINDS

        fullest = max(taken, key=lambda each: each.allocated)
        self.found = self._held_against(args, step, fullest)
        files.write_state(self._path, {"kinds": KINDS, **asdict(self.found)})
        if self._is_done:
            log.info("%s", self.found)

    def _fail(self) -> None:
        """Measure no further step in this process."""
        self._has_failed = True

    def _give_up(self) -> None:
        self._fail()
        self.close()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say what the only step took."""
        self.close()
        if self.found is not None and not self._is_done:
            log.info("%s", self.found)

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return itself."""
        return (self,)

    def figures(self, step: int) -> dict[str, float | None]:
        """Return what a line of metrics says of a step that was measured; nothing of others.

        A plan is of a card: on a CPU its figure is in memory.json alone.
        """
        if self.found is None or self.found.step != step:
            return {}
        planned = self.found.planned if self.found.device == "cuda" else None
        return {
            "measured_mib": self.found.measured / MIB,
            "measured_sequences": self.found.batch.size,
            "measured_tokens": self.found.batch.tokens,
            "predicted_mib": self.found.predicted and self.found.predicted / MIB,
            "planned_mib": None if planned is None else planned.allocated / MIB,
        }

    def predict(self, args: TrainingArguments, passes: Sequence[Batch]) -> tuple[Peak | None, list[Moment]]:
        """Return what a step with such passes takes, as rehearsed; None for models it does not know."""
        from arabic_llm.profiling import kept

        found: list[tuple[Peak, list[Moment]]] = []
        for batch in passes:
            if (work := workload(self._model, args, batch)) is None:
                return None, []
            with torch.random.fork_rng(devices=()):
                found.append(kept.curve(work, self._cache_dir, is_first=not self._has_moments))
        return max(found, key=lambda each: each[0].allocated)

    def _predicted(
        self, args: TrainingArguments, passes: Sequence[Batch]
    ) -> tuple[Peak | None, list[Moment]]:
        """Return what is predicted, and after a prediction that failed nothing: the reason is said once."""
        if self._predicts:
            with harmless(_NOT_PREDICTED, self._predict_no_more):
                return self.predict(args, passes)
        return None, []

    def _predict_no_more(self) -> None:
        self._predicts = False

    def expected(self, args: TrainingArguments) -> str:
        """Return what the pass that runs was predicted to take, in words."""
        if self._has_failed:
            return "what it takes was not measured"
        if not self.batches:
            return "nothing had run"
        batch = self.batches[-1]
        predicted, _ = self._predicted(args, [batch])
        said = f"a step of {batch.size} x {batch.tokens} tokens was"
        return (
            f"{said} predicted to take {mib(predicted.allocated)}" if predicted else f"{said} not predicted"
        )

    def close(self) -> None:
        """Leave training alone, as after an error."""
        meter, self._meter = self._meter, None
        if meter is not None:
            with harmless(_NOT_MEASURED, self._fail):
                meter.close()

    def _held_against(self, args: TrainingArguments, step: int, taken: Taken) -> StepMemory:
        predicted, curve = self._predicted(args, taken.passes)
        by_rules = args.device.type == "cuda" and reserves_by_default(os.environ)
        return StepMemory(
            step=step,
            device=args.device.type,
            num_processes=processes.count(),
            has_moments=self._has_moments,
            batch=max(taken.passes, key=Batch.num_tokens),
            measured=taken.allocated,
            measured_reserved=taken.reserved,
            on_card=taken.on_card,
            predicted=predicted.allocated if predicted else None,
            predicted_reserved=predicted.reserved if predicted and by_rules else None,
            planned=self._planned,
            measured_curve=taken.curve,
            predicted_curve=curve,
        )

    def _note_batch(self, _model: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if not self._has_failed:
            with harmless(_NOT_MEASURED, self._fail):  # the count ends with the step: here it is in a pass
                self._note(inputs)

    def _note(self, inputs: dict[str, Any]) -> None:
        mask = inputs.get("attention_mask")
        # without a mask they are packed: pieces do not mix; later nobody asks, and a GPU would have to wait
        padded = self._meter is None or mask is None or not bool(mask.all())
        (size, tokens), labels = inputs["input_ids"].shape, inputs.get("labels")
        num_labelled = None  # classes are no input of the model
        if self._meter is not None and labels is not None:
            num_labelled = answer_head.num_labels(labels)
        self.batches.append(Batch(size, tokens, padded, not self.batches, num_labelled))


def workload(model: PreTrainedModel, args: TrainingArguments, batch: Batch) -> Workload | None:
    """Return what a pass of this model puts on its device, read off the model itself.

    None where it is of no family that a rehearsal knows.
    """
    config, peft = model.config, getattr(model, "peft_config", {}).get("default")
    is_classifier, ranks = adapter.is_classifier(model), adapter.ranks(model)
    if families.known(config.model_type) is None:
        return None
    shape = {name: value for name, value in config.to_dict().items() if value is not None}
    quantization = getattr(config, "quantization_config", None)
    table = model.get_input_embeddings()
    on_host = isinstance(table, HostEmbedding)
    has_head_away = isinstance(model.get_output_embeddings(), HostHead)
    has_tied_head = has_head_away and bool(config.tie_word_embeddings)
    weights = _dtype(table if on_host else table.weight)
    mixed = Precision.bfloat16 if args.bf16 else Precision.float16 if args.fp16 else None
    on_cuda = args.device.type == "cuda"
    major = torch.cuda.get_device_capability()[0] if on_cuda else 0
    return Workload(
        architecture=families.architecture(shape),
        batch_size=batch.size,
        tokens=batch.tokens,
        nf4=quantization is not None,
        double_quant=quantization is not None and quantization.bnb_4bit_use_double_quant,
        weights=weights,
        compute=mixed or weights,
        autocast=mixed is not None,
        rank=max(ranks.values(), default=None),
        target_modules=tuple(sorted({name.rpartition(".")[2] for name in ranks})),
        dropout=peft.lora_dropout if peft else 0.0,
        adapter=_dtype(next(p for n, p in model.named_parameters() if "lora_" in n)) if peft else weights,
        attention=_attention(config, mixed, batch, major if on_cuda else None),
        checkpointing=args.gradient_checkpointing,
        optimizer=Optimizer.adamw_8bit if "8bit" in args.optim else Optimizer.adamw,
        loss=Loss.full if is_classifier else Loss.tiled,
        padded=batch.padded,
        num_labelled=batch.num_labelled,
        accumulates=args.gradient_accumulation_steps > 1 and not batch.is_first,
        workspace_bytes=workspace(major) if on_cuda else 0,
        device=args.device.type,
        dora=bool(peft and peft.use_dora),
        new_tokens=new_rows.count(model),
        optimizer_on_host=on_cuda and "paged" in args.optim,
        objective=Objective.classify if is_classifier else Objective.sft,
        num_labels=config.num_labels,
        embedding_on_host=on_host and not has_tied_head,
        head_on_host=has_head_away,
        num_cards=processes.count(),
        fsdp=bool(args.fsdp) or streaming.is_shared_out(model),
        streamed_layers=streaming.num_streamed(model),
    )


def _dtype(tensor: torch.Tensor) -> Precision:
    return Precision[str(tensor.dtype).removeprefix("torch.")]


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
