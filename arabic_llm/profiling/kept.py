"""Rehearsals kept on disk, by what was rehearsed, the libraries whose code it was, and ours."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config import fingerprint as fingerprints
from arabic_llm.config.adapter import Quantization
from arabic_llm.config.fingerprint import fingerprint, library_version
from arabic_llm.config.hw import GIB
from arabic_llm.config.paths import PACKAGE
from arabic_llm.memory import training_plan as planning
from arabic_llm.memory.training_ask import Ask
from arabic_llm.memory.training_peak import TrainingParts
from arabic_llm.memory.training_plan import Plan
from arabic_llm.memory.workload import Peak, Workload
from arabic_llm.models import families

if TYPE_CHECKING:
    from arabic_llm.profiling.timeline import Moment

_LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
_OURS = ("memory/*.py", "models/*.py", "profiling/*.py", "training/class_loss.py", "config/model.py")


def best(wanted: Ask, cache_dir: Path) -> Plan:
    """Return the plan of a run: by the closed form, or where its family has none by rehearsals.

    Raises ConfigError for a model whose own code cannot be rehearsed.
    """
    a = wanted.model.architecture
    if families.closed_form(a) is not None:
        return _resident(wanted, cache_dir) or planning.best(wanted)
    if wanted.adapter.quantization is Quantization.nf4 and families.known(a.model_type) is None:
        from arabic_llm.profiling import depth  # torch

        wanted = replace(wanted, packed_layers=depth.packed_layers(a))
    return planning.first_that_fits(wanted, functools.partial(_parts, cache_dir=cache_dir))


def _resident(wanted: Ask, cache_dir: Path) -> Plan | None:
    """Return a plan of which nothing leaves the card, if only holes hinder: a rehearsal decides."""
    if wanted.adapter.quantization is not Quantization.nf4 or wanted.hw.streamed_layers is not None:
        return None
    head_on_host = wanted.hw.head_on_host or False
    hw = replace(wanted.hw, streamed_layers=0, head_on_host=head_on_host)
    whole = planning.best(replace(wanted, hw=hw))
    if not planning.is_open(whole, wanted.hw):
        return None
    budget = int((wanted.hw.usable_gib or 0) * GIB)
    return whole if peak(whole.work, budget, cache_dir).fits else None


def peak(work: Workload, capacity: int | None, cache_dir: Path) -> Peak:
    """Return the peaks of a step, rehearsed once; a kept file that is damaged is made again."""
    path = cache_dir / "rehearsals" / f"{fingerprint(_identity(work, capacity))}.json"
    if (found := files.kept(path, files.read_state)) is not None:
        return Peak(**found)
    from arabic_llm.profiling import depth  # torch, transformers, TRL: not for what is kept

    rehearsed = depth.peak(work, capacity)
    files.write_state(path, asdict(rehearsed))
    return rehearsed


def curve(work: Workload, cache_dir: Path | None, *, is_first: bool) -> tuple[Peak, list[Moment]]:
    """Return the peaks of an optimiser step and what is held over it, rehearsed once where it is kept."""
    from arabic_llm.profiling import training_rehearsal  # torch and private names, which may be gone
    from arabic_llm.profiling.timeline import Moment

    if cache_dir is None:
        return training_rehearsal.curve(work, is_first=is_first)
    what = {**_identity(work, None), "curve": "first" if is_first else "with moments"}
    path = cache_dir / "rehearsals" / f"{fingerprint(what)}.json"
    if (found := files.kept(path, files.read_state)) is not None:
        return Peak(**found["peak"]), [Moment(phase, tuple(held)) for phase, held in found["curve"]]
    peak, moments = training_rehearsal.curve(work, is_first=is_first)
    kept = {"peak": asdict(peak), "curve": [[moment.phase, moment.held] for moment in moments]}
    files.write_state(path, kept)
    return peak, moments


def _parts(work: Workload, cache_dir: Path) -> TrainingParts:
    """Return what a step takes, not split up."""
    found = peak(work, None, cache_dir)
    return TrainingParts(rehearsed=found.allocated, holes=found.reserved - found.allocated)


def _identity(work: Workload, capacity: int | None) -> dict[str, object]:
    return {
        "work": asdict(work),
        "capacity": capacity,
        "libraries": {name: library_version(name) or "none" for name in _LIBRARIES},
        "code": code_hash(),
    }


@functools.cache
def code_hash(package: Path = PACKAGE) -> str:
    """Return a hash of our own code that a rehearsal runs."""
    ours = sorted(path for pattern in _OURS for path in package.glob(pattern))
    return fingerprints.code_hash([path.relative_to(package).as_posix() for path in ours], package)
