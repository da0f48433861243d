"""What the processor offers a model: cores to compute on, and bfloat16 in hardware or not."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from arabic_llm import processes

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # of Intel and AMD, with tiles, of ARM
_SET_BY_HAND = "OMP_NUM_THREADS"


def has_bfloat16(root: Path = Path("/")) -> bool | None:
    """Return whether the processor multiplies in bfloat16; None where the system does not tell.

    Without it torch casts to float32 and back, which takes longer than float32 alone. `root` is where
    /proc lies.
    """
    info = root / "proc/cpuinfo"
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    flags = [line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))]
    return bool(_BFLOAT16 & set(flags[0])) if flags else None


def cores(root: Path = Path("/")) -> int:
    """Return the cores this process may compute on: of its affinity, each once, within its cgroup's share.

    Two threads of one core share what multiplies. `root` is where /sys lies.
    """
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = (root / f"sys/devices/system/cpu/cpu{number}/topology/core_cpus_list" for number in own)
    named = [path.read_text(encoding="utf-8").strip() if path.exists() else str(path) for path in siblings]
    return max(1, math.ceil(min(len(set(named)), _share(root))))


def use_cores(environment: Mapping[str, str] = os.environ) -> None:
    """Let torch compute with one thread a core, shared by the processes of a run; a user's word stands.

    By itself torch looks at the machine, and in a container that is given two cores of 64 starts 64.
    """
    import torch

    by_hand = _SET_BY_HAND in environment
    # Said by one thread, even where it is as before: in a fork torch makes its pool of threads anew when
    # first asked, and of two threads that load weights and ask at once, one finds none.
    torch.set_num_threads(torch.get_num_threads() if by_hand else max(1, cores() // processes.count()))


def _share(root: Path) -> float:
    """Return the cores that the cgroup of a container leaves; without end where it has no limit."""
    allowed, period = "max", "1"
    second, first = root / "sys/fs/cgroup/cpu.max", root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    try:
        if second.exists():
            allowed, period = second.read_text(encoding="utf-8").split()
        elif first.exists():
            allowed = first.read_text(encoding="utf-8").strip()
            period = first.with_name("cpu.cfs_period_us").read_text(encoding="utf-8").strip()
    except (PermissionError, FileNotFoundError):
        return math.inf
    return math.inf if allowed in ("max", "-1") else int(allowed) / int(period)
