"""What this machine has free now, asked without torch: hw=auto is that budget, a busy card refused."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from arabic_llm.config import paths
from arabic_llm.config.hw import GIB, Device, HardwareConfig, Precision
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import HardwareError

log = logging.getLogger(__name__)
_MIB_OF_GIB = 1024
_CONTEXT_GIB = 0.4  # the CUDA context and its kernels take 0.14 to 0.4, as conf/hw/4gb.yaml has it
_AMPERE = 8  # compute capability from which bfloat16 is in hardware
_CARD = "name,memory.total,memory.free,compute_cap"
_SECONDS = 10


@dataclass(frozen=True)
class Card:
    """A GPU as nvidia-smi sees it: sizes in GiB."""

    index: str  # or its UUID
    name: str
    total: float
    free: float
    capability: float

    @property
    def users(self) -> str:
        """Return who holds memory on it."""
        apps = _ask(self.index, "--query-compute-apps=pid,process_name,used_memory")
        return ", ".join(map(_user, apps)) or "programs that nvidia-smi does not name"

    def __str__(self) -> str:
        """Return its name and what is free."""
        return f"{self.name}, {self.free:.1f} of {self.total:.1f} GiB free"


def settled(config: RunConfig, *, whole: bool = False) -> RunConfig:
    """Return a run's configuration with the hardware that is there, the whole card or what is free."""
    return replace(config, hw=settle(config.hw, whole=whole))


def settle(hw: HardwareConfig, *, whole: bool = False) -> HardwareConfig:
    """Return the hardware of a run: hw=auto becomes the shipped budget nearest to what the card has free.

    Judging is planned for the whole card: a run that is carried on must make the same batches.
    Says what it became. Raises HardwareError when the card has less free than the smallest budget.
    """
    if hw.name != "auto" or hw.device is Device.cpu or hw.usable_gib is not None:
        return _as_the_card(hw)
    if (found := card()) is None:
        return hw
    size = found.total if whole else found.free
    budgets = [values for values in _budgets() if float(values["usable_gib"]) <= size]
    if not budgets:
        raise HardwareError(
            f"hw=auto: {found}, which is less than the smallest budget leaves; taken by {found.users}."
            " End what takes it, or use hw=cpu"
        )
    nearest = budgets[-1]
    settled = replace(
        hw,
        name=nearest["name"],
        card_gib=round(found.total, 1),
        usable_gib=round(size - _CONTEXT_GIB, 2),
        precision=_precision(hw, found),
        compute_capability=found.capability,
    )
    log.info(
        "hw=auto is hw=%s with %s GiB of %s%s%s",
        *(settled.name, settled.usable_gib, found, " to judge with" if whole else ""),
        ", in float16: it has no bfloat16" if settled.precision is Precision.float16 else "",
    )
    return settled


def refuse_busy(needed_gib: float, *, is_planned: bool = False) -> None:
    """Refuse a run that would fit its budget where others hold the card, or the card is smaller.

    What `is_planned` may be for a larger card, elsewhere. Raises HardwareError.
    """
    found, needed = card(), needed_gib + _CONTEXT_GIB
    if found is None or found.free >= needed:
        return
    if found.total >= needed:
        raise HardwareError(
            f"the card is busy: {found}, and this run needs {needed:.1f}; taken by {found.users}. End what"
            " takes it, wait for it, or plan for what is free with hw=auto"
        )
    if not is_planned:
        raise HardwareError(
            f"the card is smaller than hw says: {found}, and this run needs {needed:.1f}; plan for what is"
            " free with hw=auto"
        )


def card() -> Card | None:
    """Return the first GPU that CUDA would see, or None."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = "0" if visible is None else visible.split(",")[0].strip()
    if chosen in ("", "-1") or not (lines := _ask(chosen, f"--query-gpu={_CARD}")):
        return None
    name, total, free, capability = (cell.strip() for cell in lines[0].split(","))
    return Card(chosen, name, float(total) / _MIB_OF_GIB, float(free) / _MIB_OF_GIB, float(capability))


def refuse_too_large(name: str, weights_gib: float) -> None:
    """Refuse weights that the main memory does not hold, on a CPU. Raises HardwareError."""
    if weights_gib > (free := free_gib()):
        raise HardwareError(
            f"the weights of model={name} take {weights_gib:.1f} GiB here and {free:.1f} GiB of memory are"
            " free; end what takes it, or take a smaller model, adapter=qlora or hw.precision=bfloat16"
        )


def free_gib() -> float:
    """Return what the system says a new program may take of the main memory."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return int(kib) * 1024 / GIB


def _ask(chosen: str, query: str) -> list[str]:
    """Return nvidia-smi's lines about a card; none where there is no driver, or no such card."""
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    command = [program, "-i", chosen, query, "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    return [line for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _user(line: str) -> str:
    pid, name, mib = (cell.strip() for cell in line.split(","))
    size = f"{int(mib) / _MIB_OF_GIB:.1f} GiB" if mib.isdigit() else "an unknown size"
    return f"{Path(name).name} (process {pid}, {size})"


def _as_the_card(hw: HardwareConfig) -> HardwareConfig:
    """Return a budget with the make of the card that is here, where it holds the budget."""
    if hw.device is Device.cpu or hw.usable_gib is None or (found := card()) is None:
        return hw
    return hw if found.total < hw.usable_gib else replace(hw, compute_capability=found.capability)


def _precision(hw: HardwareConfig, found: Card) -> Precision:
    before_ampere = found.capability < _AMPERE
    return Precision.float16 if hw.precision is Precision.auto and before_ampere else hw.precision


def _budgets() -> list[dict[str, Any]]:
    """Return the shipped budgets of one card, the smallest first."""
    found = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in (paths.CONF / "hw").glob("*.yaml")
    ]
    of_one_card = (v for v in found if "usable_gib" in v and v.get("num_cards", 1) == 1)
    return sorted(of_one_card, key=lambda values: float(values["usable_gib"]))
