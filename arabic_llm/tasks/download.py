"""Bring what a run reads to data_raw/ and models/, to be carried to a machine without a network."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path

from arabic_llm.config.model import ModelKind
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import DataError, UserError
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import needs
from arabic_llm.workflows.needs import Need

log = logging.getLogger(__name__)
shares_work = False


def inputs(config: RunConfig) -> Inputs | None:
    """Return nothing: what it brings lies elsewhere, and each time it looks at what is there."""


def dry_run(config: RunConfig) -> None:
    """Say what would be fetched, from where to where. Writes nothing, asks no network."""
    for need in needs.of_run(config):
        if need.note:
            log.info("plan: %s: %s", need.name, need.note)
        if need.made:
            log.info("plan: %s: make its folder of %s", need.name, need.made[0])
        for wanted, folder in need.fetched:
            what = f"{wanted.kind} {wanted.id} at {wanted.revision} ({', '.join(wanted.patterns)})"
            log.info("plan: %s: fetch %s to %s/", need.name, what, folder)


def run(config: RunConfig, directory: Path) -> None:
    """Bring all that can be had. Raises DataError naming what could not."""
    if missing := [need.name for need in needs.of_run(config) if not _is_brought(need)]:
        raise DataError(f"not here: {', '.join(missing)} (why stands above); the same command carries on")
    typed = shlex.join(word for word in sys.argv[1:] if not word.startswith("task="))
    log.info("all is here; carry %s/ and models/, and without a network type:", config.data_root)
    task = "study" if config.model.kind is ModelKind.causal else "evaluate"
    log.info("HF_HUB_OFFLINE=1 python -m arabic_llm.run task=%s %s", task, typed)


def _is_brought(need: Need) -> bool:
    """Fetch a thing and read it as the run will; say in one line what came of it."""
    from arabic_llm import downloads

    try:
        for wanted, folder in need.fetched:
            log.info("%s: %s", need.name, downloads.bring(wanted, folder))
        if need.made:
            log.info("%s: %s", need.name, need.made[1]())
        need.check()
    except UserError as error:
        log.error("%s: %s%s", need.name, str(error).removeprefix(f"{need.name}: "), need.cure)
        return False
    if need.note:
        log.info("%s: %s", need.name, need.note)
    return True
