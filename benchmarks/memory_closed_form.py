"""The closed form of the plan against a rehearsal of the real code, on random settings of shipped models.

    python benchmarks/memory_closed_form.py 100        # whole models: hours for hundreds of settings
    python benchmarks/memory_closed_form.py 100 2      # with two layers: seconds for each

All causal models, 256 to 8192 tokens, ranks 4 to 128, batches of 1 to 8, every kind of attention; LoRA and
QLoRA on each set of layers, DoRA and full fine-tuning, with and without dropout and gradient checkpointing.
"""

from __future__ import annotations

import gc
import random
import sys
import warnings
from dataclasses import replace

import yaml

from arabic_llm.config import paths
from arabic_llm.config.hw import MIB
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.memory import training_peak
from arabic_llm.memory.workload import CUBLAS_WORKSPACE
from arabic_llm.models import families
from arabic_llm.profiling import derive, training_rehearsal

WORST = 2.0  # percent


def main(count: int, layers: int | None, seed: int) -> None:
    """Print each setting and the worst error."""
    warnings.simplefilter("ignore")
    gc.freeze()  # a rehearsal looks for cycles of tensors: not among the libraries
    draw = random.Random(seed)  # noqa: S311
    worst, regimes = 0.0, derive.regimes()
    everything = sorted(p for p in paths.CONF.glob("model/*.yaml") if p.stem not in ("auto", "local"))
    files = [path for path in everything if "kind: masked" not in path.read_text(encoding="utf-8")]
    for _ in range(count):
        values = yaml.safe_load(draw.choice(files).read_text(encoding="utf-8"))
        shape = ArchitectureConfig(**values["architecture"])
        shape = replace(shape, num_hidden_layers=layers or shape.num_hidden_layers)
        family = str(families.closed_form(shape))
        name = draw.choice([n for n in regimes if n.startswith(family)])
        work = replace(
            regimes[name],
            architecture=shape,
            batch_size=draw.choice((1, 2, 4, 8)),
            tokens=draw.choice((256, 512, 1024, 2048, 4096, 8192)),
            rank=None if "full" in name else draw.choice((4, 8, 16, 32, 64, 128)),
            accumulates=draw.choice((False, True)),
            workspace_bytes=CUBLAS_WORKSPACE,
        )
        real, form = training_rehearsal.peak(work).allocated, training_peak.predict(work).allocated
        off = 100 * (form / real - 1)
        worst = max(worst, abs(off))
        setting = (
            f"{work.batch_size} x {work.tokens:<5} rank {work.rank or '-':<4} {training_peak.regime(work)}"
            f"{', accumulates' * work.accumulates}"
        )
        print(f"{values['name']:12} {real / MIB:8,.0f} MiB {off:+6.2f}%  {setting}", flush=True)
    print(f"worst {worst:.2f}% of {count}")
    assert worst < WORST


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(numbers[0], numbers[1] if numbers[1:] else None, numbers[2] if numbers[2:] else 17)
