"""Cleaning in several processes, chunk after chunk; what an earlier run has done is not done again."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from pathlib import Path

from tqdm import tqdm

from arabic_llm import files
from arabic_llm.config.data import SourceConfig
from arabic_llm.data.preparing import sources
from arabic_llm.data.preparing.shards import Cleaner, Order, Shard, Work
from arabic_llm.data.preparing.sources import Input
from arabic_llm.errors import HardwareError

Apply = Callable[[Iterator[Order]], Iterator[int]]

_WAITING = 3  # chunks for each process, under work or waiting: some MiB, and none stands idle
_cleaner: Cleaner | None = None  # of a child process


def stage(
    work: Work, inputs: Sequence[Sequence[Input]], folder: Path, num_processes: int
) -> list[list[Shard]]:
    """Return the shards of each source, in the order of its inputs and of the rows in them.

    What lies whole in the folder is not done again, and an input that was finished is not read again.
    Raises DataError at a bad row, unless data.on_bad_row is drop.
    """
    cleaner = Cleaner(work)
    children = ProcessPoolExecutor(num_processes, get_context("spawn"), _begin, (work,))

    def apply(orders: Iterator[Order]) -> Iterator[int]:
        first = list(islice(orders, 2))
        if num_processes == 1 or len(first) == 1:
            return map(cleaner, chain(first, orders))
        return _in_order(children, chain(first, orders), _WAITING * num_processes)

    shards: list[list[Shard]] = []
    try:
        for number, of_source in enumerate(inputs):
            source = work.rules[number].source
            shards.append([])
            for place, put in enumerate(of_source):
                shards[-1] += stage_input((number, source), put, stem_of(folder, number, place), apply)
    except BrokenProcessPool as error:
        raise HardwareError(
            "a process that cleaned rows was killed (out of memory?); the same command carries on, and"
            " hw.num_processes=1 needs least memory"
        ) from error
    finally:
        children.shutdown(cancel_futures=True)
    return shards


def stem_of(folder: Path, source: int, place: int) -> Path:
    """Return how the files of an input begin, which has a place among those of its source."""
    return folder / f"{source:03}-{place:05}"


def is_finished(stem: Path) -> bool:
    """Return whether every shard of an input is there."""
    return stem.with_suffix(".json").exists()


def stage_input(source: tuple[int, SourceConfig], put: Input, stem: Path, apply: Apply) -> list[Shard]:
    """Return the shards of one input. When all are there, <stem>.json says how many they are.

    What of them is damaged is cleaned again.
    """
    finished, num_chunks = stem.with_suffix(".json"), 0
    before = files.kept(finished, files.read_state) or {"num_chunks": 0}
    shards = [_shard(stem, number, put) for number in range(before["num_chunks"])]
    if shards and all(shard.is_done() for shard in shards):
        return shards

    def orders() -> Iterator[Order]:
        nonlocal num_chunks
        for chunk in sources.chunks_of(put, source[1]):
            shard = _shard(stem, num_chunks, put)
            num_chunks += 1
            if not shard.is_done():
                yield Order(source[0], chunk, shard)

    what = f"cleaning {put.path.name if put.path else source[1].name}"
    with tqdm(desc=what, unit="row", leave=False, delay=2, disable=None) as bar:
        for num_rows in apply(orders()):
            bar.update(num_rows)
    files.write_state(finished, {"num_chunks": num_chunks})
    return [_shard(stem, number, put) for number in range(num_chunks)]


def _shard(stem: Path, number: int, put: Input) -> Shard:
    return Shard(stem.with_name(f"{stem.name}-{number:05}"), put.given)


def _in_order(children: ProcessPoolExecutor, orders: Iterator[Order], limit: int) -> Iterator[int]:
    """Yield the results in the order of the orders, never more than `limit` of which are under way."""
    under_way: deque[Future[int]] = deque()
    for order in orders:
        under_way.append(children.submit(_clean, order))
        if len(under_way) == limit:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _clean(order: Order) -> int:
    if _cleaner is None:
        raise AssertionError("a child process cleans before it began")
    return _cleaner(order)


def _begin(work: Work) -> None:
    """Prepare a child process: it ends with its parent, which alone answers to Ctrl-C."""
    global _cleaner  # noqa: PLW0603 (the one thing that concurrent.futures lets a child keep)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _cleaner = Cleaner(work)


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
