"""The plan of a training run as a person reads it: what it needs of the card, or of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import machine
from arabic_llm.config.compose import identity
from arabic_llm.config.hw import GIB, MIB, Device, HardwareConfig, Precision
from arabic_llm.config.model import ModelKind
from arabic_llm.config.naming import of_data
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import Optimizer, PlanConfig
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.memory import suggestions, training_ask, training_peak, visits, weights, wording
from arabic_llm.memory import training_plan as planning
from arabic_llm.memory.static import BYTES
from arabic_llm.memory.training_ask import Ask
from arabic_llm.memory.training_plan import Plan
from arabic_llm.memory.workload import PAIRS, Attention, Loss, Objective
from arabic_llm.models import folders
from arabic_llm.profiling import kept
from arabic_llm.workflows import settings

if TYPE_CHECKING:
    from arabic_llm.data.reading.row_count import Extent

_OF_A_PROCESS = 2  # what a process takes at its worst, of what its tensors do: measured on a CPU
_TIGHT = 0.03  # of the budget: what a plan may be low by where little is needed (docs/memory.md)
_ROWS = {  # of the table, by the names of memory.training_peak.TrainingParts
    "weights_4bit": "weights in 4 bits",
    "weights_kept": "weights kept in {bits} bits",
    "adapters": "adapters ({adapter})",
    "gradients": "gradients ({adapter})",
    "optimizer": "optimiser ({optimizer}, two moments)",
    "activations": "activations",
    "logits": "logits ({logits})",
    "workspace": "workspace (cuBLAS)",
    "visiting": "layers on a visit",
    "rehearsed": "all of it, as its own code was rehearsed",
}


_UNITS = {
    Objective.classify: "texts",
    Objective.dpo: "pairs of answers",
    Objective.orpo: "pairs of answers",
    Objective.kto: "rated answers",
}
_OPTIMIZERS: dict[Optimizer | None, str] = {Optimizer.adamw: "AdamW", Optimizer.adamw_8bit: "8-bit AdamW"}


def is_of_host(hw: HardwareConfig) -> bool:
    """Return whether the memory that is planned is the machine's: hw=cpu, without a card's budget."""
    return hw.device is Device.cpu and hw.usable_gib is None


def on_host(wanted: Ask, config: RunConfig) -> list[str]:
    """Return what a run on the CPU needs of the machine's memory: its code, rehearsed without weights."""
    from arabic_llm.models import placement  # torch, which the rehearsal needs anyway

    place = placement.resolve(config.hw)
    size, accumulation = placement.micro_batch(place, wanted.effective_batch_size)
    work = training_ask.workload(wanted, size, checkpointing=place.gradient_checkpointing)
    attention = Attention.efficient if work.attention is Attention.flash else work.attention
    work = replace(work, device="cpu", attention=attention, workspace_bytes=0)
    tensors = kept.peak(work, None, Path(config.cache_dir)).allocated
    process, free = tensors * _OF_A_PROCESS, machine.free_gib() * GIB
    task = settings.training(config)
    tokens = task.effective_batch_size * task.max_length
    parts = wording.micro_batches(accumulation, size)
    return [
        f"tensors of a step, rehearsed    {tensors / MIB:9,.0f} MiB",
        f"the process at its worst, about {process / MIB:9,.0f} MiB of {free / MIB:,.0f} free",
        f"a step: {task.effective_batch_size} sequences ({parts}) of up to {task.max_length:,} tokens"
        f" (up to {tokens:,})",
        steps(config, tokens),
        "it fits"
        if process <= free
        else "it does not fit: lower hw.micro_batch_size or task.max_length, set"
        " hw.gradient_checkpointing=true, or take adapter=qlora or a smaller model",
    ]


def checked(config: RunConfig) -> Ask:
    """Return what a run wants.

    Raises ConfigError for a rank wider than a layer, a config.json of another shape, a card in 32 bits.
    """
    task = settings.training(config)
    planning.refuse_unfit(config.model, config.adapter)
    if (folder := folders.folder(config.model)) is not None:
        folders.check_shape(config.model, folder)
    if task.effective_batch_size % config.hw.num_cards:
        raise ConfigError(
            f"task.effective_batch_size={task.effective_batch_size} cannot be shared evenly by the"
            f" {config.hw.num_cards} cards of hw={config.hw.name}; set a multiple of {config.hw.num_cards}"
        )
    if config.hw.precision is Precision.float32 and not is_of_host(config.hw):
        raise ConfigError(
            f"hw={config.hw.name}: what is planned of a card is its memory in 16 bits;"
            " leave hw.precision out"
        )
    objective = _objective(config)
    if config.model.kind is ModelKind.masked and objective is not Objective.classify:
        raise ConfigError(f"model={config.model.name} is a masked language model: set task.of=classify")
    return training_ask.ask(config.model, config.adapter, config.hw, task, objective)


def table(chosen: Plan, hw: HardwareConfig) -> list[str]:
    """Return the table: one line a part, in MiB, and the total against the budget."""
    bits = 8 * BYTES[chosen.work.weights]
    words = {
        "bits": bits,
        "optimizer": _OPTIMIZERS[chosen.work.optimizer],
        "adapter": chosen.work.adapter.name,
        "logits": "a tile of them" if chosen.work.loss is Loss.tiled else "all, in float32",
    }
    is_rehearsed = bool(chosen.parts.rehearsed)
    rows = [
        (text.format(**words), getattr(chosen.parts, name))
        for name, text in _ROWS.items()
        if (name == "rehearsed") is is_rehearsed
    ]
    rows.append(("between blocks", chosen.fragments))
    return wording.table(rows, chosen.total, hw)


def verdict(chosen: Plan, wanted: Ask, typed: Sequence[str]) -> list[str]:
    """Return whether it fits; where it does not, commands of runs that do, made of what was typed."""
    if planning.fits(chosen, wanted.hw):
        return _fitting(chosen.total, wanted.hw)
    over = chosen.total / GIB - (wanted.hw.usable_gib or 0)
    lines = [f"it does not fit: {over:.2f} GiB are missing. Commands that train and fit:"]
    if planning.is_open(chosen, wanted.hw):
        why = "an upper bound does not fit"
        if not training_peak.is_upper_bound(chosen.work):
            why = "its tensors fit, the holes between them may not"
        lines = [f"{why}; task.exact=true decides. Commands that train and surely fit:"]
    return [*lines, *(f"  {command}" for command in suggestions.ways_out(wanted, typed, chosen.total))]


def _fitting(needed_bytes: float, hw: HardwareConfig) -> list[str]:
    """Return that it fits, and how little is left where it is little."""
    if hw.usable_gib is None:
        return [
            f"hw={hw.name} sets no budget where no card is: add hw=cpu to plan for the memory of this"
            " machine, or hw=4gb, hw=8gb, hw=16gb ... for a card of that size"
        ]
    left = hw.usable_gib * GIB - needed_bytes
    if left > _TIGHT * hw.usable_gib * GIB:
        return ["it fits"]
    return ["it fits", f"tightly: {left / MIB:,.0f} MiB are left, so let nothing else use the card"]


def of_a_step(chosen: Plan, config: RunConfig) -> list[str]:
    """Return what a step is, how many there are, and where what lies."""
    task, objective = settings.training(config), _objective(config)
    kernels = {Attention.eager: "eager", Attention.efficient: "memory-efficient", Attention.flash: "flash"}
    tokens = task.effective_batch_size * task.max_length * (2 if objective in PAIRS else 1)
    each = f" on each of {config.hw.num_cards} cards" if config.hw.num_cards > 1 else ""
    parts = f"{wording.micro_batches(chosen.accumulation, chosen.micro_batch_size)}{each}"
    several = (
        [f"start it with {suggestions.start(config.hw.num_cards)} ..."] if config.hw.num_cards > 1 else []
    )
    return [
        f"a step: {task.effective_batch_size} {_UNITS.get(objective, 'sequences')} ({parts}) of up to"
        f" {task.max_length:,} tokens"
        f"{', prompt and answer' if objective in PAIRS else ''} (up to {tokens:,})",
        steps(config, tokens),
        f"gradient checkpointing {'on' if chosen.checkpointing else 'off'},"
        f" {kernels[chosen.work.attention]} attention, {_places(chosen)}",
        *several,
        *_of_layers(chosen),
        *_new_tokens(chosen),
        *bound(chosen),
    ]


def _objective(config: RunConfig) -> Objective:
    return Objective[config.task.of.name] if isinstance(config.task, PlanConfig) else Objective.sft


def _of_layers(chosen: Plan) -> list[str]:
    """Return where the layers are, where not all of them stay whole on the card."""
    work = chosen.work
    if work.shares_packed:
        return ["4-bit weights shared out over the cards (FSDP2), all else whole on each of them"]
    number, lines = work.streamed_layers, []
    if number:
        there = work.architecture.num_hidden_layers - number
        lines = [f"{there} layers stay on the card, {number} stream from the host's memory"]
    if work.head_on_host:
        lines.append("blocks of the head's rows come from the host's memory")
    if not lines:
        return []
    size, bus = visits.on_host(work) / MIB, visits.moved(work, chosen.accumulation) / GIB
    away = f"{' and '.join(lines)}, of which {size:,.0f} MiB are needed"
    return [f"{away}; {bus:,.1f} GiB come over the bus in a step"]


def _new_tokens(chosen: Plan) -> list[str]:
    """Return what new tokens take, where there are any."""
    work = chosen.work
    if not work.new_tokens:
        return []
    rows = weights.new_rows(work.architecture, work.new_tokens)
    table = weights.embedding_parameters(work.architecture) * BYTES[Precision.float32] / MIB
    return [
        f"up to {work.new_tokens:,} new tokens: rows of {rows / 1e6:,.2f} M numbers are trained in float32;"
        f" for them the head's gradient is made whole in every pass ({table:,.0f} MiB)"
    ]


def bound(chosen: Plan) -> list[str]:
    """Return what to know of figures that say more than is needed."""
    if chosen.work.shares_all and not chosen.parts.rehearsed:
        return [
            "an upper bound: with weights shared out by FSDP the real code needs less (by 8 to 23% where it"
            " was tried); task.exact=true rehearses it"
        ]
    if chosen.parts.rehearsed or (names := training_peak.stands_for(chosen.work)) is None:
        return []
    own = ", ".join(chosen.work.target_modules)
    return [
        f"an upper bound: activations are those of adapters on {', '.join(names)}, not on {own} alone;"
        " task.exact=true rehearses these"
    ]


def steps(config: RunConfig, a_step: int) -> str:
    """Return the steps of a run and its tokens, `a_step` each, as far as a glance at its data says."""
    task = settings.training(config)
    if task.max_steps is not None:
        return f"steps: {task.max_steps:,}, up to {task.max_steps * a_step:,} tokens"
    try:
        seen = _extent(config)
    except DataError as error:
        return f"steps: {task.epochs:g} epochs of rows that are not counted yet ({error})"
    rows = f"{seen.surely}{seen.rows:,} {'raw texts' if seen.are_texts else 'rows'}"
    rows += f"{' before filters' if seen.surely else ''} ({seen.origin})"
    if seen.are_texts:
        packed = f"packed into sequences of {task.max_length:,} tokens, which dry_run=true task=sft counts"
        return f"steps: {task.epochs:g} epochs of {rows}, {packed}"
    num_steps = task.num_steps(seen.rows)
    tokens = f"up to {num_steps * a_step:,} tokens"
    if seen.tokens is not None:
        tokens = f"{round(task.epochs * seen.tokens):,} tokens without the chat template's"
    surely = seen.surely or "up to "  # rows longer than task.max_length may be left out yet
    return f"steps: {surely}{num_steps:,} in {task.epochs:g} epochs of {rows}, {tokens}"


def num_steps(config: RunConfig) -> int | None:
    """Return the steps of a run, where a glance at its data tells them."""
    task = settings.training(config)
    if task.max_steps is not None:
        return task.max_steps
    try:
        seen = _extent(config)
    except DataError:
        return None
    return None if seen.are_texts else task.num_steps(seen.rows)


def _extent(config: RunConfig) -> Extent:
    from arabic_llm.data.reading import row_count  # numpy, for what reads files

    made = Path("data_proc") / of_data(config.data.name, config.data.path)
    return row_count.of(config.data, Path(config.data_root), made, identity(config), config.model.name)


def _places(chosen: Plan) -> str:
    """Return what is in the host's memory and what on the card."""
    optimizer = _OPTIMIZERS[chosen.work.optimizer]
    if chosen.work.shares_all:
        return f"weights, gradients and the moments of {optimizer} shared out over the cards (FSDP)"
    away = [f"the moments of {optimizer}"] if chosen.work.optimizer_on_host else []
    away += ["the table of tokens"] if chosen.work.embedding_on_host else []
    return (
        f"{' and '.join(away)} in the host's memory"
        if away
        else f"{optimizer} and everything else on the card"
    )


def exact(chosen: Plan, hw: HardwareConfig, cache_dir: Path) -> str:
    """Return what a rehearsal of the real code says beside the closed form."""
    capacity = None if hw.usable_gib is None else int(hw.usable_gib * GIB)
    peak = kept.peak(chosen.work, capacity, cache_dir)
    off = 100 * (chosen.parts.allocated / peak.allocated - 1)
    closed_form = "" if chosen.parts.rehearsed else f" (the closed form is {off:+.1f}% off)"
    return (
        f"rehearsed: {peak.allocated / MIB:,.0f} MiB allocated{closed_form},"
        f" about {peak.reserved / MIB:,.0f} MiB reserved: it {'fits' if peak.fits else 'does not fit'}"
    )
