"""What this machine has free now, asked without torch: hw=auto is that budget, a busy card refused."""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
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
# Files of a cgroup, of either version: its limit, what it uses, and what of that the kernel would drop.
_CGROUP_2 = ("memory.max", "memory.current", "inactive_file")
_CGROUP_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@dataclass(frozen=True)
class Card:
    """A GPU as nvidia-smi sees it: sizes in GiB."""

    index: str  # or its UUID
    name: str
    total: float
    free: float
    capability: float | None  # as compute_cap; none: not said

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
    name, *said = (cell.strip() for cell in lines[0].rsplit(",", 3))
    total, free, capability = map(_number, said)
    if total is None or free is None:
        log.info(
            "nvidia-smi does not say the memory of %s (total %s, free %s MiB): nothing is planned by what"
            " it has free; name a budget, e.g. hw=8gb",
            *(name, *said[:2]),
        )
        return None
    return Card(chosen, name, total / _MIB_OF_GIB, free / _MIB_OF_GIB, capability)


def cards() -> list[str]:
    """Return the GPUs that CUDA would see, each as CUDA_VISIBLE_DEVICES names it alone."""
    if card() is None:
        return []
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in visible.split(",")]
    return [line.strip() for line in _ask("", "--query-gpu=index")]


def refuse_too_large(name: str, weights_gib: float) -> None:
    """Refuse weights that the main memory does not hold, on a CPU. Raises HardwareError."""
    if weights_gib > (free := free_gib()):
        raise HardwareError(
            f"the weights of model={name} take {weights_gib:.1f} GiB here and {free:.1f} GiB of memory are"
            " free; end what takes it, or take a smaller model, adapter=qlora or hw.precision=bfloat16"
        )


def refuse_small_host(name: str, needed_gib: float) -> None:
    """Refuse layers that stream from memory which is not there. Raises HardwareError."""
    if needed_gib > (free := free_gib()):
        raise HardwareError(
            f"layers of model={name} stream from {needed_gib:.1f} GiB of main memory and {free:.1f} GiB are"
            " free; end what takes it, or set a lower hw.streamed_layers or a smaller model"
        )


def free_gib(root: Path = Path("/")) -> float:
    """Return what a new program may take of the main memory: by the system, and by this process's cgroups.

    `root` is where /proc and /sys lie.
    """
    lines = (root / "proc/meminfo").read_text(encoding="utf-8").splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return min(int(kib) * 1024, *_left_by_cgroups(root)) / GIB


def oom_kills(root: Path = Path("/")) -> int:
    """Return how many processes the kernel has ended for want of memory, here and in this one's cgroup.

    Only to be compared with what it was before: each place that counts them counts from a time of its own.
    """
    counted = 0
    for name in ("proc/vmstat", "sys/fs/cgroup/memory.events", "sys/fs/cgroup/memory/memory.oom_control"):
        try:
            lines = (root / name).read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        counted += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return counted


def _left_by_cgroups(root: Path) -> Iterator[float]:
    """Yield the bytes that each limit over this process leaves; pages of files can be dropped."""
    yield math.inf
    own = root / "proc/self/cgroup"
    for line in own.read_text(encoding="utf-8").splitlines() if own.exists() else ():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mounts, names = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], _CGROUP_2
        elif "memory" in controllers.split(","):
            mounts, names = ["sys/fs/cgroup/memory"], _CGROUP_1
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts) + 1):
                yield _left(root.joinpath(mount, *parts[:depth]), *names)


def _left(folder: Path, limit: str, used: str, inactive: str) -> float:
    """Return the bytes that a cgroup's limit leaves; without end where it has none that shows."""
    try:
        allowed = (folder / limit).read_text(encoding="utf-8").strip()
        if allowed == "max":
            return math.inf
        in_use = int((folder / used).read_text(encoding="utf-8"))
        stat = dict(
            line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines()
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return math.inf
    return max(0, int(allowed) - (in_use - int(stat.get(inactive, 0))))


def _ask(chosen: str, query: str) -> list[str]:
    """Return nvidia-smi's lines about a card; none where there is no driver, no such card, or no answer."""
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    which = ["-i", chosen] if chosen else []  # none: all of them
    command = [program, *which, query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        log.info(
            "nvidia-smi has not answered for %s s: nothing is planned by what the card has free; see to the"
            " driver, or name a budget, e.g. hw=8gb",
            _SECONDS,
        )
        return []
    return [line for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _number(cell: str) -> float | None:
    """Return a number of nvidia-smi's; None for `[N/A]`, `[Not Supported]` and the like."""
    try:
        return float(cell)
    except ValueError:
        return None


def _user(line: str) -> str:
    pid, _, rest = line.partition(",")
    name, _, mib = rest.rpartition(",")
    size = f"{int(mib) / _MIB_OF_GIB:.1f} GiB" if mib.strip().isdigit() else "an unknown size"
    name = name.strip()
    program = name if name.startswith("[") else Path(name).name  # [N/A], [Insufficient Permissions]
    return f"{program} (process {pid.strip()}, {size})"


def _as_the_card(hw: HardwareConfig) -> HardwareConfig:
    """Return a budget with the make of the card that is here, where it holds the budget."""
    if (
        hw.device is Device.cpu
        or hw.usable_gib is None
        or (found := card()) is None
        or found.capability is None
    ):
        return hw
    return hw if found.total < hw.usable_gib else replace(hw, compute_capability=found.capability)


def _precision(hw: HardwareConfig, found: Card) -> Precision:
    before_ampere = found.capability is not None and found.capability < _AMPERE
    return Precision.float16 if hw.precision is Precision.auto and before_ampere else hw.precision


def _budgets() -> list[dict[str, Any]]:
    """Return the shipped budgets of one card, the smallest first."""
    found = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in (paths.CONF / "hw").glob("*.yaml")
    ]
    of_one_card = (v for v in found if "usable_gib" in v and v.get("num_cards", 1) == 1)
    return sorted(of_one_card, key=lambda values: float(values["usable_gib"]))
