"""Say what a training run needs of the card and how it will fit, or why it cannot and what would."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import yaml
from omegaconf import MISSING

from arabic_llm import machine
from arabic_llm.config import paths
from arabic_llm.config.schema import (
    ArchitectureConfig,
    Device,
    HardwareConfig,
    Method,
    ModelConfig,
    ModelKind,
    Precision,
    RunConfig,
    TrainingConfig,
)
from arabic_llm.config.schema import Optimizer as AdamW
from arabic_llm.errors import ConfigError
from arabic_llm.memory import plan as planning
from arabic_llm.memory import weights
from arabic_llm.memory.closed_form import BYTES
from arabic_llm.memory.plan import GIB, Ask, Plan
from arabic_llm.memory.workload import MIB, Attention, Objective, Optimizer
from arabic_llm.tasks import sft

log = logging.getLogger(__name__)
_ROWS = {  # of the table, by the names of memory.closed_form.Parts
    "weights_4bit": "weights in 4 bits",
    "weights_kept": "weights kept in {bits} bits",
    "adapters": "adapters (float32)",
    "gradients": "gradients (float32)",
    "optimizer": "optimiser ({optimizer}, two moments)",
    "activations": "activations",
    "logits": "logits (a tile of them)",
    "workspace": "workspace (cuBLAS)",
}


_OPTIMIZERS = {Optimizer.adamw: "AdamW", Optimizer.adamw_8bit: "8-bit AdamW"}


@dataclass
class Config(TrainingConfig):
    """Schema of conf/task/plan.yaml."""

    of: Objective = MISSING  # which training
    exact: bool = MISSING  # rehearse the real code on the meta device besides: some seconds


def plan(config: RunConfig) -> None:
    """Print the plan. Writes nothing, reads no weights and, but for task.exact, imports no torch."""
    config = machine.settled(config)
    wanted = checked(config)
    chosen = planning.best(wanted)
    for line in (*table(chosen, wanted.hw), *_settings(chosen, config), *verdict(chosen, wanted)):
        log.info("%s", line)
    if isinstance(config.task, Config) and config.task.exact:
        log.info("%s", _exact(chosen, wanted.hw))


def checked(config: RunConfig) -> Ask:
    """Return what a run wants. Raises ConfigError for a rank wider than a layer, and for a CPU."""
    task, adapter, shape = sft.settings(config), config.adapter, config.model.architecture
    narrowest = min(shape.hidden_size, shape.num_key_value_heads * shape.head_dim, shape.intermediate_size)
    if adapter.method is Method.lora and (adapter.rank or 0) > narrowest:
        raise ConfigError(
            f"adapter.rank={adapter.rank} is more than the {narrowest} outputs of the narrowest layer of"
            f" model={config.model.name}; it would hold no less than the layer itself"
        )
    if task.effective_batch_size % config.hw.num_cards:
        raise ConfigError(
            f"task.effective_batch_size={task.effective_batch_size} cannot be shared evenly by the"
            f" {config.hw.num_cards} cards of hw={config.hw.name}; set a multiple of {config.hw.num_cards}"
        )
    if config.hw.device is Device.cpu or config.hw.precision is Precision.float32:
        raise ConfigError(
            f"hw={config.hw.name}: what is planned is a GPU's memory in 16 bits; choose hw=4gb ... 80gb"
        )
    objective = config.task.of if isinstance(config.task, Config) else Objective.sft
    return planning.ask(config.model, adapter, config.hw, task, objective)


def table(chosen: Plan, hw: HardwareConfig) -> list[str]:
    """Return the table: one line a part, in MiB, and the total against the budget."""
    bits = 8 * BYTES[chosen.work.weights]
    words = {"bits": bits, "optimizer": _OPTIMIZERS[chosen.work.optimizer]}
    rows = [(text.format(**words), getattr(chosen.parts, name)) for name, text in _ROWS.items()]
    rows.append(("between blocks", chosen.fragments))
    lines = [f"{name:34}{size / MIB:9,.0f} MiB" for name, size in rows if size]
    budget = (
        "" if hw.usable_gib is None else f" of {hw.usable_gib * GIB / MIB:,.0f} that hw={hw.name} leaves"
    )
    lines.append(f"{'total':34}{chosen.total / MIB:9,.0f} MiB{budget}")
    if hw.card_gib is not None and hw.usable_gib is not None:
        kept = (hw.card_gib - hw.usable_gib) * GIB / MIB
        lines.append(f"{'CUDA context, outside the budget':34}{kept:9,.0f} MiB")
    return lines


def verdict(chosen: Plan, wanted: Ask) -> list[str]:
    """Return whether it fits; where it does not, the largest settings that do, each as a command."""
    if planning.fits(chosen, wanted.hw):
        return ["it fits" if wanted.hw.usable_gib is not None else f"hw={wanted.hw.name} sets no budget"]
    over = chosen.total / GIB - (wanted.hw.usable_gib or 0)
    lines = [f"it does not fit: {over:.2f} GiB are missing. What does:"]
    if planning.hangs_on_holes(chosen, wanted.hw):
        lines = [
            "its tensors fit, the holes between them may not; task.exact=true decides. What surely does:"
        ]
    return [*lines, *(f"  {command}" for command in ways_out(wanted))]


def ways_out(wanted: Ask) -> list[str]:
    """Return commands of runs that fit: shorter sequences, a lower rank, a smaller model, a larger card."""
    found = []
    if (tokens := planning.longest(wanted)) is not None:
        found.append(_command(replace(wanted, tokens=tokens)))
    if wanted.adapter.rank is not None and (rank := planning.largest_rank(wanted)) is not None:
        found.append(_command(replace(wanted, adapter=replace(wanted.adapter, rank=rank))))
    if wanted.optimizer is AdamW.adamw:
        smaller = replace(wanted, optimizer=AdamW.adamw_8bit)
        if planning.fits(planning.best(smaller), wanted.hw):
            found.append(_command(smaller))
    if (model := next(_smaller_models(wanted), None)) is not None:
        found.append(_command(replace(wanted, model=model)))
    if (hw := next(_larger_cards(wanted), None)) is not None:
        found.append(_command(replace(wanted, hw=hw)))
    return found


def _command(wanted: Ask) -> str:
    words = [f"model={wanted.model.name}", f"adapter={wanted.adapter.name}", f"hw={wanted.hw.name}"]
    words += [f"task.max_length={wanted.tokens}"]
    words += [] if wanted.optimizer is AdamW.adamw else [f"task.optimizer={wanted.optimizer.name}"]
    words += [] if wanted.adapter.rank is None else [f"adapter.rank={wanted.adapter.rank}"]
    return f"{_start(wanted.hw)} {' '.join(words)}"


def _start(hw: HardwareConfig) -> str:
    """Return how a run on so many cards is started."""
    several = f"accelerate launch --num_processes {hw.num_cards}"
    return f"{several if hw.num_cards > 1 else 'python'} -m arabic_llm.run"


def _smaller_models(wanted: Ask) -> Iterator[ModelConfig]:
    """Yield the models that fit, the one of most weights first; built-in ones are toys."""
    fitting = []
    for values in _options("model"):
        shape = ArchitectureConfig(**values["architecture"])
        model = replace(wanted.model, name=values["name"], architecture=shape)
        is_usable = not (values.get("builtin") or values.get("kind") == ModelKind.masked.name)
        is_usable &= values["max_length"] >= wanted.tokens
        if is_usable and planning.fits(planning.best(replace(wanted, model=model)), wanted.hw):
            fitting.append((weights.count(shape).total, model.name, model))
    yield from (model for _, _, model in sorted(fitting, key=lambda entry: entry[:2], reverse=True))


def _larger_cards(wanted: Ask) -> Iterator[HardwareConfig]:
    names = [field.name for field in fields(HardwareConfig) if field.name not in ("device", "precision")]
    budgets = [v for v in _options("hw") if v.get("usable_gib", 0) > (wanted.hw.usable_gib or 0)]
    for values in sorted(budgets, key=lambda v: float(v["usable_gib"]) * v.get("num_cards", 1)):
        hw = HardwareConfig(**{name: values[name] for name in names if name in values})
        if planning.fits(planning.best(replace(wanted, hw=hw)), hw):
            yield hw


def _options(group: str) -> Iterator[dict[str, Any]]:
    for path in sorted((paths.CONF / group).glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "architecture" in values or group != "model":
            yield values


def _settings(chosen: Plan, config: RunConfig) -> list[str]:
    task = sft.settings(config)
    kernels = {Attention.eager: "eager", Attention.efficient: "memory-efficient", Attention.flash: "flash"}
    tokens = task.effective_batch_size * task.max_length
    steps = f"{task.epochs} epochs (dry_run=true task=sft counts rows and steps)"
    if task.max_steps is not None:
        steps = f"{task.max_steps:,} steps, up to {task.max_steps * tokens:,} tokens"
    cards = f"{config.hw.num_cards} cards x " if config.hw.num_cards > 1 else ""
    size = f"{cards}{chosen.accumulation} x {chosen.micro_batch_size}"
    several = [f"start it with {_start(config.hw)} ..."] if config.hw.num_cards > 1 else []
    return [
        f"a step: {size} sequences of up to {task.max_length:,} tokens (up to {tokens:,}); {steps}",
        f"gradient checkpointing {'on' if chosen.checkpointing else 'off'},"
        f" {kernels[chosen.work.attention]} attention, {_places(chosen)}",
        *several,
    ]


def _places(chosen: Plan) -> str:
    """Return what is in the host's memory and what on the card."""
    optimizer = _OPTIMIZERS[chosen.work.optimizer]
    if chosen.work.fsdp:
        return f"weights, gradients and the moments of {optimizer} shared out over the cards (FSDP)"
    away = [f"the moments of {optimizer}"] if chosen.work.optimizer_on_host else []
    away += ["the table of tokens"] if chosen.work.embedding_on_host else []
    return (
        f"{' and '.join(away)} in the host's memory"
        if away
        else f"{optimizer} and everything else on the card"
    )


def _exact(chosen: Plan, hw: HardwareConfig) -> str:
    from arabic_llm.training import rehearsal

    capacity = None if hw.usable_gib is None else int(hw.usable_gib * GIB)
    peak = rehearsal.peak(chosen.work, capacity)
    off = 100 * (chosen.parts.allocated / peak.allocated - 1)
    return (
        f"rehearsed: {peak.allocated / MIB:,.0f} MiB allocated (the closed form is {off:+.1f}% off),"
        f" {peak.reserved / MIB:,.0f} MiB reserved: it {'fits' if peak.fits else 'does not fit'}"
    )
