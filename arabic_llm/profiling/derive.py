"""The closed form of a step's activations, read off the real code: `python -m arabic_llm.profiling.derive`.

A model whose sizes are distinct primes is rehearsed with one layer and with two. The factors of a tensor's
bytes then say which sizes it is a product of, so that what is alive at a moment is so many tensors of each
product ("2BTf": two bytes for each token and each inner size), good for every model of the family. Of all
moments those are kept that are the worst for some model, length, batch and rank; they stand in
memory/activation_peaks.json, which the plan reads without torch.
"""

from __future__ import annotations

import gc
import itertools
import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from arabic_llm import files
from arabic_llm.config.hw import Precision
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.config.task import Optimizer
from arabic_llm.memory import training_peak, weights
from arabic_llm.memory.allocator import Block, CachingAllocator
from arabic_llm.memory.workload import Attention, Loss, Objective, Workload
from arabic_llm.models import families
from arabic_llm.profiling import trace, training_rehearsal

# size -> (prime, what a prime stands for as a share of the size): tokens 47, tokens - 1 = 2 x 23, head 28
PRIMES = {"B": 19, "T": 47, "S": 23, "K": 3, "G": 5, "D": 7, "h": 101, "f": 103, "r": 13, "V": 107, "C": 11}
_HALF = 2  # bytes
_TILE = 32768  # words of TRL's tile; no other tensor has this factor
_LENGTHS, _BATCHES, _RANKS = (256, 512, 1024, 2048, 4096, 8192), (1, 2, 8), (4, 16, 128)
Vector = Counter[str]
Kernels = dict[str, list[tuple[Attention, bool]]]  # by family: (how, with a mask)


class Recorder(CachingAllocator):
    """An allocator that counts what is alive by products of sizes, and keeps the worst moments."""

    def __init__(self, sizes: list[dict[str, float]]) -> None:
        """Take the sizes of the models on which a moment may be worst."""
        super().__init__()
        self.is_on = False
        self.alive: Vector = Counter()
        self._sizes = sizes
        self._values: dict[str, npt.NDArray[np.float64]] = {}
        self._total = np.zeros(len(sizes))
        self._worst, self._moments = np.zeros(len(sizes)), [Vector()] * len(sizes)
        self._products: dict[int, str] = {}

    def malloc(self, num_bytes: int) -> Block:
        """Return the block, having looked at what it is made of."""
        block = super().malloc(num_bytes)
        if self.is_on:
            self._products[id(block)] = name = product(num_bytes)
            self._count_in(name, 1)
            better = self._total > self._worst
            if better.any():
                self._worst = np.maximum(self._worst, self._total)
                now = self.alive.copy()
                for index in np.flatnonzero(better):
                    self._moments[index] = now
        return block

    def release(self, block: Block) -> None:
        """Take the block back."""
        if id(block) in self._products:
            self._count_in(self._products.pop(id(block)), -1)
        super().release(block)

    def take_moments(self) -> list[Vector]:
        """Return the worst moments since the last call, each once."""
        found = {str(sorted(m.items())): m for m in self._moments}
        self._worst, self._moments = np.zeros(len(self._sizes)), [Vector()] * len(self._sizes)
        return [found[key] for key in sorted(found)]

    def _count_in(self, name: str, number: int) -> None:
        if name not in self._values:
            self._values[name] = np.array([training_peak.value(name, sizes) for sizes in self._sizes])
        self.alive[name] += number
        self._total += number * self._values[name]


def product(num_bytes: int) -> str:
    """Return which sizes a number of bytes is a product of, after the factor that is left over: "2BTf"."""
    name, rest = "", num_bytes
    for letter, prime in PRIMES.items():
        while rest % prime == 0:
            name, rest = name + letter, rest // prime
    halves = {"S": 2, "D": 4}
    if rest % _TILE == 0 and name == "BS":
        return f"{rest / _TILE / halves['S']:.15g}tile"
    if name == "KGhV" and rest == _HALF:  # TRL casts the head slice by slice
        return f"{rest}slice"
    share = float(rest)
    for letter, factor in halves.items():
        share /= factor ** name.count(letter)
    return f"{share:.15g}{name}"


def moments(work: Workload) -> dict[str, Any]:
    """Return the worst moments of a workload's regime by phase, and what each further layer adds."""
    with mock.patch.multiple(trace, _QUERY_BLOCK=1, _FLASH_ROWS=1, _FLASH_COLUMNS=1):  # nothing rounded up
        one, two = (
            _record(replace(work, architecture=_primes(work.architecture, layers))) for layers in (1, 2)
        )
    found = {} if work.objective is Objective.sft else _of_a_loss_apart(one, two)
    end = "casts" if found else "forward"
    return found | {
        "forward": [dict(+moment) for moment in one[f"{end} moments"]],  # +: without what is zero
        "backward": [_two_slices(+moment) for moment in one["layers moments"]],
        "end": [dict(+moment) for moment in one["backward moments"] if +moment],
        "layer_forward": dict(two["casts"] - one["casts"]),
        "layer_backward": dict(two["forward"] - one["forward"]),
    }


def _of_a_loss_apart(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Return the worst moments between the model's forward pass and the way back."""
    return {
        "loss": [dict(+moment) for moment in one["forward moments"]],
        "layer_loss": dict(two["forward"] - one["forward"]),
    }


def _two_slices(moment: Vector) -> dict[str, Any]:
    """Return a moment of the way back: each slice of the head is cast before the last one is gone."""
    return {name.replace("slice", "slices"): number for name, number in moment.items()}


def _record(work: Workload) -> dict[str, Any]:
    recorder = Recorder(_sizes(work))
    ends = ["forward", "layers", "backward"] + ["casts"] * (work.objective is not Objective.sft)
    seen: dict[str, Any] = {}

    def watch(event: str) -> None:
        recorder.is_on = event != "backward"
        if event == "backward" and "layers" not in seen:  # nothing before the layers is trained
            watch("layers")
        seen[event] = recorder.alive.copy()
        if event in ends:
            seen[f"{event} moments"] = recorder.take_moments()

    training_rehearsal.rehearse(work, recorder, watch, num_steps=1)
    return seen


def _primes(shape: ArchitectureConfig, layers: int) -> ArchitectureConfig:
    return replace(
        shape,
        hidden_size=PRIMES["h"] * PRIMES["K"] * PRIMES["G"],  # configurations want a multiple of the heads
        intermediate_size=PRIMES["f"],
        num_hidden_layers=layers,
        num_attention_heads=PRIMES["K"] * PRIMES["G"],
        num_key_value_heads=PRIMES["K"],
        head_dim=4 * PRIMES["D"],
        vocab_size=PRIMES["V"],
    )


def _sizes(work: Workload) -> list[dict[str, float]]:
    """Return sizes of real models, of every length, batch and rank: where a moment may be the worst."""
    shapes = [
        (896, 4864, 7, 2, 64, 151936),
        (1536, 8960, 6, 2, 128, 151936),
        (3584, 18944, 7, 4, 128, 152064),
        (4096, 11008, 1, 32, 128, 32000),
        (4096, 14336, 4, 8, 128, 128256),
        (2304, 9216, 2, 4, 256, 256000),
        (4096, 13696, 16, 2, 128, 151552),
        (192, 576, 3, 2, 32, 4096),
    ]
    if families.is_masked(work.architecture.model_type):
        shapes = [(768, 3072, 1, 12, 64, words) for words in (30000, 64000)]
    grid = itertools.product(shapes, _LENGTHS, _BATCHES, _RANKS)
    return [
        {"h": h / g / k, "f": f, "G": g, "K": k, "D": d, "V": v, "T": t, "S": t - 1, "B": b, "r": r, "C": 2}
        for (h, f, g, k, d, v), t, b, r in grid
    ]


def regimes() -> dict[str, Workload]:
    """Return a workload of every regime that the plan may ask for."""
    found = {}
    encoders, kernels = (
        {name: k for name, k in _kernels().items() if e is families.TABLE[name].is_masked}
        for e in (True, False)
    )
    adapted = [f"{what} {where}" for what in ("lora", "nf4") for where in ("qv", "attention", "mlp", "all")]
    trained = (*adapted, "lora dora", "nf4 dora", "full tied", "full")
    dropouts, checkpointings = (0.0, 0.05), (False, True)
    for family, what, dropout, checkpointing in itertools.product(
        kernels, trained, dropouts, checkpointings
    ):
        for attention, padded in kernels[family]:
            work = replace(
                _workload(family, attention, padded, what), dropout=dropout, checkpointing=checkpointing
            )
            found[training_peak.regime(work)] = work
    return found | _of_classes(kernels | encoders)


def _kernels() -> Kernels:
    """Return how attention may be computed, by whose moments are derived; masks are for one kernel alone.

    Without a mask, cards before Ampere take the plain formula for grouped heads, else the efficient kernel.
    """
    found = {}
    for name, family in families.TABLE.items():
        if family.closed_form != name:
            continue
        never = {True: Attention.efficient, False: Attention.eager, None: None}[family.is_grouped]
        found[name] = [(kind, False) for kind in Attention if kind is not never]
        found[name] += [(Attention.efficient, True)]
        if family.is_eager:
            found[name] = [(Attention.eager, False)]
    return found


def _of_classes(kernels: Kernels) -> dict[str, Workload]:
    """Return those of classes, which encoders can learn as well."""
    found = {}
    for family, pairs in kernels.items():
        for (attention, padded), what, dropout, checkpointing in itertools.product(
            pairs, ("lora", "nf4", "lora dora", "nf4 dora", "full"), (0.0, 0.05), (False, True)
        ):
            work = replace(
                _workload(family, attention, padded, what), dropout=dropout, checkpointing=checkpointing
            )
            work = replace(work, objective=Objective.classify, loss=Loss.full, num_labels=PRIMES["C"])
            found[training_peak.regime(work)] = work
    return found


def _workload(family: str, attention: Attention, padded: bool, what: str) -> Workload:
    nf4, full = "nf4" in what, "full" in what
    shape = _primes(ArchitectureConfig(model_type=family, tie_word_embeddings="tied" in what), 1)
    sets = weights.target_sets(shape)
    targets = next((layers for name, layers in sets.items() if name in what.split()), sets["all"])
    return Workload(
        architecture=shape,
        batch_size=PRIMES["B"],
        tokens=PRIMES["T"],
        nf4=nf4,
        double_quant=True,
        weights=Precision.float32 if full else Precision.bfloat16,
        compute=Precision.bfloat16,
        autocast=True,
        rank=None if full else PRIMES["r"],
        target_modules=tuple(sorted(targets)),
        dropout=0.0,
        attention=attention,
        checkpointing=False,
        optimizer=Optimizer.adamw,
        loss=Loss.tiled,
        padded=padded,
        accumulates=True,
        workspace_bytes=0,
        dora="dora" in what,
    )


def main() -> None:
    """Write activation_peaks.json."""
    asked = dict(sorted(regimes().items()))
    # a rehearsal looks for cycles of tensors: not among the libraries
    with ProcessPoolExecutor(initializer=gc.freeze) as processes:
        found = dict(zip(asked, processes.map(moments, asked.values()), strict=True))
    lines = (
        f"{json.dumps(name)}:{json.dumps(of, separators=(',', ':'), sort_keys=True)}"
        for name, of in found.items()
    )
    files.write_text(training_peak.MOMENTS, "{\n" + ",\n".join(lines) + "\n}\n")  # a regime a line


if __name__ == "__main__":
    main()
