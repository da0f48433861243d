"""The replay of PyTorch's caching allocator: its rules, each with exact numbers."""

from arabic_llm.memory.allocator import CachingAllocator

MIB = 2**20


def test_requests_are_rounded_to_512_bytes_and_segments_to_2_and_20_mib():
    allocator = CachingAllocator()
    allocator.malloc(1)
    assert (allocator.allocated, allocator.reserved) == (512, 2 * MIB)
    allocator.malloc(MIB + 1)
    assert (allocator.allocated, allocator.reserved) == (512 + MIB + 512, 22 * MIB)
    allocator.malloc(21 * MIB)
    assert allocator.reserved == 44 * MIB  # its own segment, a multiple of 2


def test_a_rest_of_up_to_1_mib_stays_with_a_large_block_and_is_counted():
    allocator = CachingAllocator()
    allocator.release(allocator.malloc(12 * MIB))
    allocator.malloc(11 * MIB)
    assert (allocator.allocated, allocator.reserved) == (12 * MIB, 12 * MIB)


def test_the_smallest_block_that_holds_a_request_is_taken():
    allocator = CachingAllocator()
    wide, narrow = allocator.malloc(40 * MIB), allocator.malloc(30 * MIB)
    allocator.release(wide)
    allocator.release(narrow)
    allocator.malloc(29 * MIB)
    allocator.malloc(40 * MIB)
    assert allocator.reserved == 70 * MIB


def test_freed_neighbours_become_one_block_again():
    allocator = CachingAllocator()
    allocator.release(allocator.malloc(64 * MIB))
    pieces = [allocator.malloc(16 * MIB) for _ in range(4)]
    for piece in (pieces[1], pieces[3], pieces[2], pieces[0]):
        allocator.release(piece)
    allocator.malloc(64 * MIB)
    assert allocator.reserved == 64 * MIB


def test_pieces_between_what_is_used_cannot_serve_a_larger_request():
    allocator = CachingAllocator(capacity=100 * MIB)
    allocator.release(allocator.malloc(64 * MIB))
    pieces = [allocator.malloc(16 * MIB) for _ in range(4)]
    allocator.release(pieces[0])
    allocator.release(pieces[2])
    allocator.malloc(32 * MIB)  # 32 are free, but in two pieces
    assert allocator.reserved == 96 * MIB
    assert not allocator.is_over
    allocator.malloc(32 * MIB)
    assert allocator.is_over


def test_unused_segments_are_given_back_at_the_capacity():
    allocator = CachingAllocator(capacity=100 * MIB)
    allocator.release(allocator.malloc(60 * MIB))
    allocator.malloc(70 * MIB)
    assert (allocator.reserved, allocator.is_over) == (70 * MIB, False)


def test_peaks_are_those_since_the_reset():
    allocator = CachingAllocator()
    allocator.release(allocator.malloc(50 * MIB))
    allocator.reset_peaks()
    allocator.malloc(20 * MIB)
    assert (allocator.peak_allocated, allocator.peak_reserved) == (20 * MIB, 50 * MIB)
