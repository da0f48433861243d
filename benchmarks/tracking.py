"""What a W&B copy costs a training step: offline within 2% of the steps a second without, in one run.

    OMP_NUM_THREADS=1 python benchmarks/tracking.py [steps]

The built-in model learns, and the tracker is given the lines of every other eight steps: both sides are
steps of one run, a second apart, so what else the machine does falls on both. A step's time runs from
one line of metrics.jsonl to the next, on the wall, for each token of it. The first step of eight is left
out: what was handed over before it still goes on. Beside the ratio stands its bound without the noise, in
CPU seconds: those inside the tracker and those of W&B's own process, as if it took a core away, against
those of a step. It fails where the bound, or the whole interval of the ratio, lies above what is claimed.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from arabic_llm.tracking import NoTracker, Tracker
from arabic_llm.tracking.wandb_run import WandbRun

STEPS, TOGETHER, CLAIMED, SEED = 400, 8, 1.02, 17
TYPED = (
    *("task=sft", "model=tiny", "data=sample", "hw=cpu", "data.dev_share=0"),
    *("task.save_steps=100000", "task.held_out.num_bytes=512"),
)


class EveryOther(NoTracker):
    """Gives a tracker the lines of every other eight steps, and keeps when each line came."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.came: list[tuple[int, float, int]] = []  # step, seconds on the clock, tokens so far
        self.inside = self.began = self.ended = 0.0  # CPU seconds

    def log(self, values: dict[str, Any]) -> None:
        if "loss" not in values:  # of the start and the end
            return
        began = self.ended = time.process_time()
        self.began = self.began or began
        self.came.append((values["step"], time.perf_counter(), values["tokens_seen"]))
        if is_copied(values["step"]):
            self._tracker.log(values)
            self.inside += time.process_time() - began


def is_copied(step: int) -> bool:
    return step // TOGETHER % 2 == 1


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = WandbRun(folder, {"task": {"name": "sft"}})
        tracker = EveryOther(run)
        train(folder, tracker, steps)
        core = sum(_seconds(one) for one in psutil.Process().children(recursive=True))
    a_token: dict[bool, dict[int, list[float]]] = {True: {}, False: {}}
    lines = tracker.came[TOGETHER:]  # the first are of a cold machine, and their memory is measured
    for (step, then, before), (_, now, after) in pairwise(lines):
        if step % TOGETHER:
            of_pair = a_token[is_copied(step)].setdefault(step // TOGETHER // 2, [])
            of_pair.append((now - then) / (after - before))
    both = sorted(a_token[True].keys() & a_token[False].keys())
    pairs = np.array([[statistics.median(a_token[side][at]) for side in (True, False)] for at in both])
    step = (tracker.ended - tracker.began - tracker.inside) / (steps - 1)
    report(pairs, step, (tracker.inside + core) / (steps / 2))


def train(folder: Path, tracker: Tracker, steps: int) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from arabic_llm import machine
    from arabic_llm.config import compose, paths
    from arabic_llm.workflows import fine_tune

    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        typed = [*TYPED, f"task.max_steps={steps}", f"output_dir={folder}", f"cache_dir={folder}/cache"]
        config = machine.settled(compose.to_config(hydra_compose("config", typed)))
    fine_tune.fine_tune(config, folder, tracker)


def report(pairs: np.ndarray[Any, np.dtype[np.float64]], step: float, own: float) -> None:
    """Print the ratio of a step's time with and without, its interval over pairs, and its bound."""
    ratios = np.log(pairs[:, 0] / pairs[:, 1])
    draws = np.random.default_rng(SEED).choice(ratios, (2000, len(ratios)))
    low, high = np.exp(np.quantile(np.median(draws, axis=1), [0.025, 0.975]))
    bound = 1 + own / step
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()},"
        f" {os.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', 'all')} threads"
    )
    print("| pairs of 8 steps | ratio (95% interval) | CPU ms a step | W&B's own | bound | claimed |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {len(pairs)} | {np.exp(np.median(ratios)):.3f} ({low:.3f} to {high:.3f})"
        f" | {1000 * step:.1f} | {1000 * own:.2f} | {bound:.4f} | {CLAIMED} |"
    )
    if bound > CLAIMED or low > CLAIMED:
        sys.exit("slower than claimed")


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
