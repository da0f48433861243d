"""Whether judging fits where it runs: how much at once, the line that says so, what refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from arabic_llm import machine
from arabic_llm.config.hw import GIB, Device, HardwareConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import HardwareError
from arabic_llm.evaluation.chat_lm import Limits
from arabic_llm.evaluation.suites import SuiteEntry
from arabic_llm.memory import eval_batching, eval_plan, weights
from arabic_llm.memory.eval_batching import Room
from arabic_llm.memory.inference_peak import InferenceParts
from arabic_llm.models import adapter_files, families, load, placement
from arabic_llm.models.placement import Placement
from arabic_llm.profiling import skeleton
from arabic_llm.profiling.harmless import harmless


@dataclass(frozen=True)
class EvaluationFit:
    """Where and how a model is judged. `least` is what one question takes; None: nobody can say."""

    place: Placement
    room: Room  # what the batches are made for
    own: Room  # of the model that is judged: with what was trained, or without
    generates: bool  # some of the tasks
    least: InferenceParts | None


def fit(config: RunConfig, chosen: Sequence[SuiteEntry], *, adapted: bool) -> EvaluationFit:
    """Return where and how a model is judged on some tasks, with its adapter or without.

    Raises HardwareError when hw asks for a card that is not there.
    """
    config, place = adapter_files.as_it_is(config), placement.resolve(config.hw)
    hw = _settings(config.hw, place)
    both = replace(eval_batching.room(config.model, config.adapter, hw), most=place.eval_batch_size)
    number = both.held.streamed_layers  # before and after it was trained alike
    hw = replace(hw, streamed_layers=number)
    own = replace(both, held=eval_batching.hold(config.model, config.adapter, hw, adapted=adapted))
    place = replace(place, streamed_layers=number, fsdp=False)  # each process judges by itself
    kinds = {task.OUTPUT_TYPE for entry in chosen for task in entry.leaves.values()}
    generates, least = "generate_until" in kinds, None
    with harmless("what evaluating needs is not predicted"):
        length = min(config.model.max_length, eval_batching.QUESTION)
        least = own.worst(1, length, generates=generates)
    return EvaluationFit(place, both, own, generates, least)


def limits(config: RunConfig, fitted: EvaluationFit) -> Limits:
    """Return how much is judged at once, and how many items of each task."""
    room = None if fitted.least is None else _Harmless(fitted.room)
    return Limits(fitted.room.most, config.model.max_length, config.suite.limit, room)


@dataclass
class _Harmless:
    """A room that never ends an evaluation: where its closed form fails it is as large as hw says."""

    room: Room
    has_failed: bool = False

    def at_once(self, context: int, *, generates: bool, grows: bool = False) -> int:
        """Return how many sequences fit whose longest has so many tokens."""
        if not self.has_failed:
            with harmless("what a batch needs is not predicted", self._fail):
                return self.room.at_once(context, generates=generates, grows=grows)
        return self.room.most

    def _fail(self) -> None:
        self.has_failed = True


def cure(fitted: EvaluationFit) -> str:
    """Return what to do where memory runs out after all."""
    half = max(1, fitted.room.most // 2)
    return f"set hw.eval_batch_size={half}, or take a smaller model or qlora; what was answered is kept"


def _settings(hw: HardwareConfig, place: Placement) -> HardwareConfig:
    """Return hw with what the machine says; on a CPU a budget is met as if the card were there."""
    if place.device != "cpu":
        return replace(hw, precision=place.precision)
    if hw.usable_gib is not None:
        return hw
    return replace(hw, precision=place.precision, device=Device.cpu)


def refuse(config: RunConfig, fitted: EvaluationFit) -> None:
    """Raise HardwareError where not one question fits, the card is taken, or memory holds no weights."""
    held, name = fitted.own.held, config.model.name
    if fitted.place.device == "cpu":
        each = load.dtype_of(config.adapter, fitted.place).itemsize
        size = weights.weight_bytes(
            skeleton.parameters(held.architecture), config.adapter.quantization, each
        )
        machine.refuse_too_large(name, size / GIB)
        return
    least = fitted.least
    if least is None or families.known(held.architecture.model_type) is None:
        return  # nobody has counted its passes
    length = min(config.model.max_length, eval_batching.QUESTION)
    if not fitted.own.is_within(least):
        ways = eval_plan.cures(fitted.room, config.model, adapter_files.followed(config.adapter), config.hw)
        cures = [f"{key}={value}" for key, value in ways.items()]
        raise HardwareError(
            f"hw={config.hw.name} leaves {config.hw.usable_gib} GiB and judging {name} needs"
            f" {fitted.own.needed(least) / GIB:.2f} ({_parts(fitted, least)}) for one question of"
            f" {length:,} tokens:"
            f" take {', '.join((*cures, 'a smaller model'))} or a larger hw"
        )
    machine.refuse_busy(fitted.own.needed(least) / GIB)


def line(config: RunConfig, fitted: EvaluationFit, num_items: int) -> str:
    """Return what is about to be judged, in batches of how many, and what they need at most."""
    held, model, most = fitted.own.held, config.model, fitted.room.most
    kind = "nf4" if held.nf4 else held.dtype.name
    kind += ", with its adapter" if held.rank is not None else ""
    said = f"plan: judging {model.name} ({kind}) on {num_items:,} items"
    if fitted.least is None or families.known(held.architecture.model_type) is None:
        return f"{said}: batches of {most}, what they need is not predicted; {fitted.place.description}"
    at_once, alone = (
        fitted.room.longest(size, model.max_length, generates=fitted.generates) for size in (most, 1)
    )
    length = at_once or alone or min(model.max_length, eval_batching.QUESTION)
    worst = fitted.own.worst(most if at_once else 1, length, generates=fitted.generates)
    budget = "" if config.hw.usable_gib is None else f" of {config.hw.usable_gib} that hw leaves"
    needs = f"{fitted.own.needed(worst) / GIB:.2f} GiB{budget}"
    if not alone:
        needs = f": one question of {length:,} tokens needs {needs}, which is too much"
    else:
        shorter = f" (one at a time up to {alone:,} of the {model.max_length:,} it reads)"
        contexts = f"contexts up to {length:,} tokens{shorter if at_once < model.max_length else ''}"
        needs = f": batches of {most if at_once else 1}, {contexts}: needs up to {needs}"
    return f"{said}{needs}: {_parts(fitted, worst)}; {fitted.place.description}"


def _parts(fitted: EvaluationFit, parts: InferenceParts) -> str:
    """Return what the figures are of, in GiB; the workspace and the holes are with the activations."""
    held = parts.weights_4bit + parts.weights_kept + parts.adapters
    passing = fitted.own.needed(parts) - held - parts.cache - parts.logits
    sizes = {"weights": held, "cache": parts.cache, "activations": passing, "logits": parts.logits}
    return ", ".join(f"{name} {size / GIB:.2f}" for name, size in sizes.items())
