"""Memory of finding the near duplicates among a million rows, a third of them copies, on one core.

OMP_NUM_THREADS=1 python benchmarks/duplicates_memory.py
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from arabic_llm.data.cleaning import near_copies

NUM_ROWS = 1_000_000
COPY_EVERY = 3  # row 2, 5, 8 ... repeats the row before it, with up to 10 of its 112 entries changed
SEED = 17


def main() -> None:
    num_rows = int(sys.argv[1]) if len(sys.argv) > 1 else NUM_ROWS
    with tempfile.TemporaryDirectory() as folder:
        shape = (num_rows, near_copies.NUM_PERMUTATIONS)
        signed = np.memmap(Path(folder) / "signatures", np.uint32, "w+", shape=shape)
        plant(signed)
        start = time.process_time()
        repeats = near_copies.duplicates(signed)
        took = time.process_time() - start
    copies = np.arange(COPY_EVERY - 1, num_rows, COPY_EVERY)
    assert (repeats[copies] == copies - 1).all()
    assert (repeats >= 0).sum() == len(copies)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{num_rows:,} rows, all {len(copies):,} copies found: {took:.1f} CPU s, peak {peak_gib:.2f} GiB")
    print(
        "resident, with the pages of the signatures' file: 448 bytes a row, which the kernel may take back"
    )


def plant(signed: np.memmap) -> None:
    """Fill signatures with chance, block by block, and plant the copies."""
    draw = np.random.default_rng(SEED)
    block_rows = 10_000 * COPY_EVERY
    for start in range(0, len(signed), block_rows):
        block = signed[start : start + block_rows]
        block[:] = draw.integers(0, 1 << 32, block.shape, dtype=np.uint32)
        copies = block[COPY_EVERY - 1 :: COPY_EVERY]
        copies[:] = block[COPY_EVERY - 2 :: COPY_EVERY][: len(copies)]
        changed = draw.integers(0, near_copies.NUM_PERMUTATIONS, (len(copies), 10))
        np.put_along_axis(
            copies, changed, draw.integers(0, 1 << 32, changed.shape, dtype=np.uint32), axis=1
        )


if __name__ == "__main__":
    main()
