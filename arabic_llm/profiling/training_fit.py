"""Whether a run fits where it trains, found out once: its place, its plan, its line, what refuses it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from arabic_llm import machine, processes
from arabic_llm.config.adapter import AdapterConfig, Method, Quantization
from arabic_llm.config.hw import GIB, Device, Precision
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.config.preference_task import PreferenceConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import TaskConfig, TrainingConfig
from arabic_llm.errors import HardwareError, UserError
from arabic_llm.memory import training_ask, visits, weights, wording
from arabic_llm.memory import training_plan as planning
from arabic_llm.memory.static import BYTES
from arabic_llm.memory.training_plan import Plan
from arabic_llm.memory.weights import Parameters
from arabic_llm.memory.workload import Objective
from arabic_llm.models import adapter_files, families, placement
from arabic_llm.models.placement import Placement, micro_batch
from arabic_llm.profiling import kept
from arabic_llm.profiling.harmless import harmless


@dataclass(frozen=True)
class TrainingFit:
    """Where and how a run trains. `plan` is None without a budget, `missing` None where it fits."""

    place: Placement
    plan: Plan | None
    missing: str | None
    weights_gib: float  # that are read; with a plan more is needed
    num_labels: int | None = None  # classes of a head of its own


def fit(config: RunConfig, task: TrainingConfig, num_labels: int | None = None) -> TrainingFit:
    """Return where and how a run trains, on so many classes or on tokens: with a budget, as its plan says.

    Raises HardwareError when hw asks for a card that is not there, ConfigError for too large a rank.
    """
    config = adapter_files.as_it_is(config)
    planning.refuse_unfit(config.model, config.adapter)
    place = _packed_shared(placement.resolve(config.hw), config.adapter)
    held = Precision.float32 if config.adapter.method is Method.full else place.precision  # as models.load
    quantization, each = config.adapter.quantization, BYTES[held]
    gib = weights.weight_bytes(_parameters(config.model.architecture), quantization, each) / GIB
    if (chosen := _planned(config, task, place, num_labels)) is None:
        return TrainingFit(place, None, None, gib, num_labels)
    place = replace(
        place,
        micro_batch_size=place.micro_batch_size
        if place.tokens_per_micro_batch
        else chosen.micro_batch_size,
        gradient_checkpointing=chosen.checkpointing,
        optimizer_on_host=chosen.work.optimizer_on_host and place.device != "cpu",
        embedding_on_host=chosen.work.embedding_on_host,
        head_on_host=chosen.work.head_on_host,
        fsdp=chosen.work.fsdp and processes.count() > 1,
        streamed_layers=chosen.work.streamed_layers,
    )
    place = _packed_shared(place, config.adapter)
    return TrainingFit(place, chosen, _missing(config, chosen), gib, num_labels)


def _packed_shared(place: Placement, adapter: AdapterConfig) -> Placement:
    """Return a place where, of 4-bit weights, these alone are shared out: what is trained stays whole."""
    if adapter.quantization is not Quantization.nf4:
        return place
    return replace(place, fsdp=False, shares_packed=place.fsdp and processes.count() > 1)


def refuse(config: RunConfig, fitted: TrainingFit) -> None:
    """Raise HardwareError for a run over its budget, on a card that is taken, or larger than the memory."""
    if fitted.place.device == "cpu":
        machine.refuse_too_large(config.model.name, fitted.weights_gib)
    elif fitted.missing is not None:
        raise HardwareError(fitted.missing)
    else:
        needed = fitted.weights_gib if fitted.plan is None else fitted.plan.total / GIB
        if fitted.plan is not None and (fitted.plan.work.streamed_layers or fitted.plan.work.head_on_host):
            machine.refuse_small_host(config.model.name, visits.on_host(fitted.plan.work) / GIB)
        machine.refuse_busy(needed)


def line(config: RunConfig, task: TrainingConfig, num_rows: int, fitted: TrainingFit) -> str:
    """Return what is about to happen in one line; the figures of the memory are a closed form."""
    model, adapter = config.model, adapter_files.followed(config.adapter)
    size, accumulation = micro_batch(fitted.place, task.effective_batch_size)
    each = f" in each of {processes.count()} processes" if processes.count() > 1 else ""
    parts = f"{wording.micro_batches(accumulation, size)}{each}"
    if (tokens := fitted.place.tokens_per_micro_batch) is not None:
        parts = f"micro-batches of up to {size} and {tokens:,} tokens{each}"
    batch = f"{task.effective_batch_size} sequences ({parts})"
    trained = f" ({sum(adapter.tensor_sizes) / 1e6:,.2f} M trained)" if adapter.tensor_sizes else ""
    is_counted = families.known(model.architecture.model_type) is not None
    if (
        is_counted
        and adapter.rank is not None
        and adapter.target_modules == ["all-linear"]
        and not adapter.use_dora
    ):
        shape, labels = model.architecture, fitted.num_labels
        number = (
            weights.adapter_parameters(shape, adapter.rank)
            + weights.new_rows(shape, adapter.num_new_tokens)
            if labels is None
            else weights.trained_of_classifier(shape, adapter.rank, labels)
        )
        trained = f" ({number / 1e6:,.2f} M trained)"
    head = "" if fitted.num_labels is None else f", a head of {fitted.num_labels} classes"
    count = _parameters(model.architecture).total / 1e6
    if fitted.plan is None:
        needs = f"weights {fitted.weights_gib:,.2f} GiB"
    else:
        gib = fitted.plan.total / GIB
        needs = f"needs {gib:,.2f} GiB of {config.hw.usable_gib} that hw leaves"
        needs += "" if fitted.missing is None else ", which is too much"
    if fitted.place.streamed_layers:
        needs += f", {fitted.place.streamed_layers} of {model.architecture.num_hidden_layers} layers stream"
    where = fitted.place.description
    where += f", {machine.free_gib():.1f} GiB free" if fitted.place.device == "cpu" else ""
    return (
        f"plan: {model.name} ({count:,.1f} M parameters){head} with adapter={adapter.name}{trained}"
        f" on {num_rows:,} rows: {task.num_steps(num_rows):,} steps of {batch},"
        f" up to {task.max_length:,} tokens; {needs}; {where}"
    )


def _parameters(a: ArchitectureConfig) -> Parameters:
    """Return the counts of a model; torch is imported for a family that is not in the table."""
    if families.known(a.model_type) is not None:
        return weights.count(a)
    from arabic_llm.profiling import skeleton

    return skeleton.parameters(a)


def _planned(
    config: RunConfig, task: TrainingConfig, place: Placement, num_labels: int | None
) -> Plan | None:
    """Return the plan of a run, or None without a budget, and in float32 on a card; and where it fails.

    Budgets are of cards: on a CPU they are planned as if the card were there.
    """
    if config.hw.usable_gib is None or (place.device != "cpu" and place.precision is Precision.float32):
        return None
    precision = place.precision if place.device != "cpu" else Precision.auto
    hw = replace(config.hw, precision=precision, device=Device.auto)
    with harmless("what training needs is not planned", refusals=UserError):
        wanted = training_ask.ask(config.model, config.adapter, hw, task, _objective(task))
        if num_labels is not None:
            wanted = replace(wanted, objective=Objective.classify, num_labels=num_labels)
        return kept.best(wanted, Path(config.cache_dir))
    return None


def _objective(task: TaskConfig) -> Objective:
    """Return what a task learns, but for classes: a number of them says so."""
    return Objective[task.name] if isinstance(task, PreferenceConfig) else Objective.sft


def _missing(config: RunConfig, chosen: Plan) -> str | None:
    """Return why a run does not fit its budget, or None when it does."""
    if planning.fits(chosen, config.hw):
        return None
    if planning.is_open(chosen, config.hw):
        with harmless("whether it fits after all is not rehearsed"):
            budget = int((config.hw.usable_gib or 0) * GIB)
            if kept.peak(chosen.work, budget, Path(config.cache_dir)).fits:
                return None
    is_classifier = chosen.work.objective is Objective.classify
    objective = Objective.classify if is_classifier else _objective(config.task)
    of = "" if objective is Objective.sft else f" task.of={objective.name}"
    return (
        f"hw={config.hw.name} leaves {config.hw.usable_gib} GiB and this run needs"
        f" {chosen.total / GIB:.2f}, whatever the batch; task=plan{of} with the same settings says"
        " what fits"
    )
