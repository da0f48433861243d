"""Claim: task=prepare takes less than 1.5 GiB for a million rows, near copies looked for, in linear time.

Run: ARABIC_LLM_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/prepare_memory.py [rows ...]

Each size is the real command in a fresh process, and needs about 4 KiB of disk a row while it runs. What
is shown is the most that the process and those it starts held at once, pages of mapped files among it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
from arabic_rows import spliced_rows

SIZES = (10_000, 100_000, 1_000_000)
MOST_GIB = 1.5
SLOWEST = 0.8  # of the best rows a second, at the largest size: time grows no faster than the rows
SAMPLE_SECONDS = 0.1
COMMAND = (
    *(sys.executable, "-m", "arabic_llm.run", "task=prepare", "data=local", "data.path=rows.jsonl"),
    *("+data/base@data.cleaning=cleaning", "hw.num_processes=1", "tracking=none", "hydra.run.dir=out"),
)


def write_rows(path: Path, num_rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in spliced_rows(num_rows):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def prepare(folder: Path) -> tuple[float, float]:
    """Return the most GiB that the command held, and the CPU seconds that it took."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    child = psutil.Popen(COMMAND, cwd=folder, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    most = 0
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        most = max(most, resident_bytes(child))
        time.sleep(SAMPLE_SECONDS)
    if status:
        sys.exit(f"task=prepare ended with {os.waitstatus_to_exitcode(status)}")
    return max(most / 2**30, used.ru_maxrss / 2**20), used.ru_utime + used.ru_stime


def resident_bytes(child: psutil.Process) -> int:
    try:
        return sum(process.memory_info().rss for process in (child, *child.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Print the table and hold both claims."""
    print("| rows | peak GiB | CPU s | rows a CPU s | wall s |\n|---|---|---|---|---|")
    speeds = []
    for num_rows in [int(size) for size in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory(prefix="arabic-llm-") as folder:
            write_rows(Path(folder) / "rows.jsonl", num_rows)
            start = time.perf_counter()
            gib, seconds = prepare(Path(folder))
            wall = time.perf_counter() - start
        speeds.append(num_rows / seconds)
        print(f"| {num_rows:,} | {gib:.2f} | {seconds:.1f} | {speeds[-1]:,.0f} | {wall:.0f} |", flush=True)
        assert gib < MOST_GIB
    assert speeds[-1] >= SLOWEST * max(speeds)


if __name__ == "__main__":
    main()
