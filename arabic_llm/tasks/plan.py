"""Say what a training run needs of the card and how it will fit, or why it cannot and what would."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from arabic_llm import machine
from arabic_llm.config.compose import typed
from arabic_llm.config.hw import GIB
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import PlanConfig, Planned
from arabic_llm.errors import ConfigError
from arabic_llm.memory import eval_plan
from arabic_llm.memory import training_plan as planning
from arabic_llm.models import adapter_files
from arabic_llm.profiling import kept
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import next_steps, pace, plan

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs | None:
    """Return nothing: it only says."""


def run(config: RunConfig, directory: Path) -> None:
    """Say the plan: there is nothing else to do."""
    dry_run(config)


def dry_run(config: RunConfig) -> None:
    """Print the plan. Writes nothing, reads no weights and, but for a rehearsal, imports no torch.

    Raises HardwareError when it fits a card that is here, and others hold the memory now.
    """
    task = config.task
    if not isinstance(task, PlanConfig):
        raise ConfigError("task=plan is needed here")
    config = adapter_files.as_it_is(config)
    if task.of is Planned.evaluate:
        if task.exact:
            raise ConfigError(
                "task.exact=true rehearses a training step; leave it out with task.of=evaluate"
            )
        config = machine.settled(config, whole=True)
        said = list(eval_plan.plan(config.model, config.adapter, config.hw, typed()))
        _say([*said, *(next_steps.after_plan(config) if "it fits" in said else [])])
        return
    typed_so, config = config, machine.settled(config)
    wanted, cache = plan.checked(config), Path(config.cache_dir)
    ahead = pace.Ahead(task.of.name, task.effective_batch_size, plan.num_steps(config))
    if plan.is_of_host(config.hw):
        said = plan.on_host(wanted, config)
        _say(
            [
                *said,
                *pace.lines(typed_so, ahead),
                *(next_steps.after_plan(config) if "it fits" in said else []),
            ]
        )
        return
    chosen = kept.best(wanted, cache)
    _say((*plan.table(chosen, wanted.hw), *plan.of_a_step(chosen, config), *pace.lines(typed_so, ahead)))
    _say(plan.verdict(chosen, wanted, typed()))
    if task.exact:
        log.info("%s", plan.exact(chosen, wanted.hw, cache))
    if planning.fits(chosen, wanted.hw):
        machine.refuse_busy(chosen.total / GIB, is_planned=True)
        _say(next_steps.after_plan(config))


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        log.info("%s", line)
