"""Commands of runs that fit where one does not: what was typed, with one setting changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import yaml

from arabic_llm.config import paths
from arabic_llm.config.hw import GIB, HardwareConfig, Precision
from arabic_llm.config.model import AUTO, ArchitectureConfig, ModelConfig, ModelKind
from arabic_llm.config.task import Optimizer
from arabic_llm.errors import ConfigError
from arabic_llm.memory import training_plan as planning
from arabic_llm.memory import weights
from arabic_llm.memory.training_ask import Ask
from arabic_llm.memory.workload import Objective
from arabic_llm.models import families

# another card has its own
_OF_A_CARD = ("name", "usable_gib", "card_gib", "compute_capability", "eval_batch_size")
_ONLY_PLANNED = ("task", "task.of", "task.exact")  # the run itself is task=sft


def ways_out(wanted: Ask, typed: Sequence[str], needed_bytes: float) -> list[str]:
    """Return commands of runs that fit, each with what was `typed`, but for what it changes.

    They have shorter sequences, a lower rank, moments of 8 bits, adapters of 16, a smaller model, or a
    larger card. Where a model is rehearsed, only cards that hold what is needed, and models that are not.
    """
    if families.closed_form(wanted.model.architecture) is None:
        return [command(hw.num_cards, typed, changes) for hw, changes in _unrehearsed(wanted, needed_bytes)]
    task = {} if wanted.objective is Objective.sft else {"task": wanted.objective.name}
    return [command(hw.num_cards, typed, task | changes) for hw, changes in _ways(wanted, typed)]


def _unrehearsed(wanted: Ask, needed_bytes: float) -> Iterator[tuple[HardwareConfig, dict[str, object]]]:
    if (model := next(_smaller_models(wanted), None)) is not None:
        yield wanted.hw, {"model": model.name}
    fitting = ((name, hw) for name, hw in cards() if (hw.usable_gib or 0) * GIB >= needed_bytes)
    if (card := next(((n, hw) for n, hw in fitting if hw.num_cards == 1), None)) is not None:
        yield card[1], {"hw": card[0]}


def command(num_cards: int, typed: Sequence[str], changes: Mapping[str, object]) -> str:
    """Return a command line as a shell takes it: overrides as typed, those that change replaced."""
    words, missing = list[str](), dict(changes)
    for override in typed:
        if (key := _key(override)) in missing:
            words.append(f"{key}={missing.pop(key)}")
        elif not _is_replaced(override, changes):
            words.append(override)
    words += [f"{key}={value}" for key, value in missing.items()]
    return f"{start(num_cards)} {shlex.join(words)}"


def start(num_cards: int) -> str:
    """Return how a run on so many cards is started."""
    several = f"accelerate launch --num_processes {num_cards}"
    return f"{several if num_cards > 1 else 'python'} -m arabic_llm.run"


def _is_replaced(override: str, changes: Mapping[str, object]) -> bool:
    key = _key(override)
    group, _, name = key.partition(".")
    if group == "hw" and "hw" in changes:
        return name in _OF_A_CARD or not name
    return key in changes or key in _ONLY_PLANNED or (group == "model" and "model" in changes)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _ways(wanted: Ask, typed: Sequence[str]) -> Iterator[tuple[HardwareConfig, dict[str, object]]]:
    """Yield what fits as (hw, what is changed)."""
    if (tokens := planning.longest(wanted)) is not None:
        yield wanted.hw, {"task.max_length": tokens}
    if wanted.adapter.rank is not None and (rank := planning.largest_rank(wanted)) is not None:
        yield wanted.hw, {"adapter.rank": rank}
    if wanted.optimizer is Optimizer.adamw and _fits(replace(wanted, optimizer=Optimizer.adamw_8bit)):
        yield wanted.hw, {"task.optimizer": Optimizer.adamw_8bit.name}
    if wanted.adapter.dtype is Precision.float32 and not wanted.adapter.use_dora:
        half = Precision.bfloat16
        if _fits(replace(wanted, adapter=replace(wanted.adapter, dtype=half))):
            yield wanted.hw, {"adapter.dtype": half.name}
    if (model := next(_smaller_models(wanted), None)) is not None:
        yield wanted.hw, {"model": model.name}
    if (hw := next(_larger_cards(wanted, typed), None)) is not None:
        yield hw, {"hw": hw.name}


def _fits(wanted: Ask) -> bool:
    """Return whether a run fits, and can be at all: its adapter may be for layers that a model lacks."""
    if wanted.effective_batch_size % wanted.hw.num_cards:
        return False
    if families.closed_form(wanted.model.architecture) is None:
        return False  # nobody knows without a rehearsal
    try:
        planning.refuse_unfit(wanted.model, wanted.adapter)
        return planning.fits(planning.best(wanted), wanted.hw)
    except ConfigError:
        return False


def _smaller_models(wanted: Ask) -> Iterator[ModelConfig]:
    """Yield the models that fit, the one of most weights first; built-in ones are toys."""
    fitting = []
    for values in _options("model"):
        shape = ArchitectureConfig(**values["architecture"])
        model = replace(wanted.model, name=values["name"], architecture=shape)
        kind = ModelKind[values.get("kind", ModelKind.causal.name)]
        is_usable = not values.get("builtin") and kind is wanted.model.kind
        is_usable &= values["max_length"] >= wanted.tokens
        is_usable &= families.closed_form(shape) is not None
        if is_usable and _fits(replace(wanted, model=model)):
            fitting.append((weights.count(shape).total, model.name, model))
    yield from (model for _, _, model in sorted(fitting, key=lambda entry: entry[:2], reverse=True))


def _larger_cards(wanted: Ask, typed: Sequence[str]) -> Iterator[HardwareConfig]:
    """Yield the cards it fits, the smallest first, with what was set by hand for this one."""
    shipped = {values["name"]: values for values in _options("hw")}
    own = HardwareConfig(**_plain(shipped.get(wanted.hw.name, {})))
    changed = [f.name for f in fields(own) if getattr(own, f.name) != getattr(wanted.hw, f.name)]
    # hw=auto sets the precision that its card has; another card may have a better one
    of_this_card = _OF_A_CARD if "hw.precision" in map(_key, typed) else (*_OF_A_CARD, "precision")
    by_hand = {name: getattr(wanted.hw, name) for name in changed if name not in of_this_card}
    budgets = [v for v in shipped.values() if v.get("usable_gib", 0) > (wanted.hw.usable_gib or 0)]
    for values in sorted(budgets, key=lambda v: float(v["usable_gib"]) * v.get("num_cards", 1)):
        hw = HardwareConfig(**{**_plain(values), **by_hand})
        if _fits(replace(wanted, hw=hw)):
            yield hw


def cards() -> Iterator[tuple[str, HardwareConfig]]:
    """Yield the shipped budgets by name, the smallest first."""
    budgets = [values for values in _options("hw") if "usable_gib" in values]
    for values in sorted(budgets, key=lambda v: float(v["usable_gib"]) * v.get("num_cards", 1)):
        yield values["name"], HardwareConfig(**_plain(values))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a hw file but for device: of the shipped ones only hw=cpu names one."""
    return {name: value for name, value in values.items() if name != "device"}


def _options(group: str) -> Iterator[dict[str, Any]]:
    for path in sorted((paths.CONF / group).glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if group != "model" or values.get("architecture", {}).get("model_type", AUTO) != AUTO:
            yield values
