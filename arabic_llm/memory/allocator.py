"""PyTorch's caching allocator, sizes only: what is allocated and reserved after any series of requests.

The rules are those of c10/cuda/CUDACachingAllocator.cpp (torch 2.13) in its default configuration:
best fit in one of two pools, blocks split where enough is left over, neighbours merged when freed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

_ROUND = 512  # kMinBlockSize: every request is a multiple of it
_SMALL = 1 << 20  # kSmallSize: larger requests go to the large pool
_SMALL_SEGMENT, _LARGE_SEGMENT, _SEGMENT_ROUND = 2 << 20, 20 << 20, 2 << 20
_OWN_SEGMENT = 10 << 20  # kMinLargeAlloc: from here on a segment of its own size


@dataclass(eq=False)
class Block:
    """A piece of a segment, in use or free, and its neighbours there."""

    size: int  # bytes
    number: int  # in the order of creation, which stands for the address
    is_small: bool
    previous: Block | None = None
    next: Block | None = None
    is_free: bool = True


class CachingAllocator:
    """Bytes allocated and reserved on one device, now and at their peak."""

    def __init__(self, capacity: int | None = None) -> None:
        """Begin with nothing reserved. At the capacity, unused segments are given back first."""
        self._capacity = capacity
        self.is_over = False  # more was in use, or held in pieces, than the capacity
        self.allocated = self.reserved = self.peak_allocated = self.peak_reserved = 0
        self._free: dict[bool, list[tuple[int, int, Block]]] = {True: [], False: []}
        self._count = 0

    def malloc(self, num_bytes: int) -> Block:
        """Return the block that a request gets."""
        size = max(_ROUND, -(-num_bytes // _ROUND) * _ROUND)
        is_small = size <= _SMALL
        block = self._best_fit(size, is_small) or self._segment(size, is_small)
        rest = block.size - size
        if rest >= _ROUND if is_small else rest > _SMALL:
            self._split(block, size)
        block.is_free = False
        self.allocated += block.size
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        return block

    def release(self, block: Block) -> None:
        """Take a block back, and merge it with free neighbours."""
        self.allocated -= block.size
        block.is_free = True
        if block.previous is not None and block.previous.is_free:
            block = self._merge(block.previous, block)
        if block.next is not None and block.next.is_free:
            self._drop(block.next)
            block.size += block.next.size
            self._link(block, block.next.next)
        insort(self._free[block.is_small], (block.size, block.number, block))

    def reset_peaks(self) -> None:
        """Count the peaks from here on (torch.cuda.reset_peak_memory_stats)."""
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def empty_cache(self) -> None:
        """Give back the segments in which nothing is in use (torch.cuda.empty_cache)."""
        for entry in [e for free in self._free.values() for e in free]:
            block = entry[2]
            if block.previous is None and block.next is None:
                self._drop(block)
                self.reserved -= block.size

    def _best_fit(self, size: int, is_small: bool) -> Block | None:
        free = self._free[is_small]
        at = bisect_left(free, (size, -1))
        return free.pop(at)[2] if at < len(free) else None

    def _segment(self, size: int, is_small: bool) -> Block:
        if is_small:
            whole = _SMALL_SEGMENT
        elif size < _OWN_SEGMENT:
            whole = _LARGE_SEGMENT
        else:
            whole = -(-size // _SEGMENT_ROUND) * _SEGMENT_ROUND
        if self._capacity is not None and self.reserved + whole > self._capacity:
            self.empty_cache()
            self.is_over |= self.reserved + whole > self._capacity
        self.reserved += whole
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        self._count += 1
        return Block(whole, self._count, is_small)

    def _split(self, block: Block, size: int) -> None:
        self._count += 1
        rest = Block(block.size - size, self._count, block.is_small)
        self._link(rest, block.next)
        self._link(block, rest)
        block.size = size
        insort(self._free[rest.is_small], (rest.size, rest.number, rest))

    def _merge(self, left: Block, right: Block) -> Block:
        self._drop(left)
        left.size += right.size
        self._link(left, right.next)
        return left

    def _drop(self, block: Block) -> None:
        free = self._free[block.is_small]
        del free[bisect_left(free, (block.size, block.number))]

    @staticmethod
    def _link(left: Block, right: Block | None) -> None:
        left.next = right
        if right is not None:
            right.previous = left


def side_by_side(num_bytes: float) -> float:
    """Return the bytes that one of many tensors of a size takes of the segments they fill.

    What is left over of a piece stays with the block that is cut from it, up to 1 MiB.
    """
    size = max(_ROUND, -(-num_bytes // _ROUND) * _ROUND)
    if size <= _SMALL:
        return size
    if size >= _OWN_SEGMENT:
        whole, count = -(-size // _SEGMENT_ROUND) * _SEGMENT_ROUND, 1
    else:
        whole, count = _LARGE_SEGMENT, int(_LARGE_SEGMENT // size)
    return size if whole - count * size > _SMALL else whole / count


def in_a_hole(num_bytes: float, holes: Iterable[float]) -> float:
    """Return the bytes that a tensor takes where others come and go that leave holes of these sizes."""
    size = side_by_side(num_bytes)
    if size <= _SMALL:
        return size
    closest = min((hole for hole in holes if hole >= size), default=size)
    return closest if closest - size <= _SMALL else size
