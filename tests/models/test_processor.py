"""One thread a core that is ours, and bfloat16 where the processor has it."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from arabic_llm.config.hw import Precision
from arabic_llm.models import placement, processor


def machine(root, *, siblings, limit=None, flags="fpu avx2"):
    """Lay out /proc and /sys of a machine: which cores share one, and what a container may use."""
    for number, those in enumerate(siblings):
        folder = root / f"sys/devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "core_cpus_list").write_text(f"{those}\n")
    for name, text in (limit or {}).items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    return root


@pytest.mark.parametrize(
    ("siblings", "limit", "found"),
    [
        ("0123", None, 4),
        (["0,2", "1,3", "0,2", "1,3"], None, 2),  # two threads a core
        ("0123", {"cpu.max": "200000 100000\n"}, 2),
        ("0123", {"cpu.max": "150000 100000\n"}, 2),  # a core and a half: two are busy half of the time
        ("0123", {"cpu.max": "max 100000\n"}, 4),
        ("0123", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ("0123", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ("0123", {"cpu.max": "1000 100000\n"}, 1),
    ],
)
def test_there_are_as_many_cores_as_this_process_may_keep_busy(
    tmp_path, monkeypatch, siblings, limit, found
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert processor.cores(machine(tmp_path, siblings=siblings, limit=limit)) == found


def test_only_the_cores_of_its_affinity_count(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    assert processor.cores(machine(tmp_path, siblings="0123")) == 2


def test_the_number_of_threads_that_a_user_sets_stands():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        processor.use_cores({"OMP_NUM_THREADS": "3"})
        assert torch.get_num_threads() == 3
        processor.use_cores({})
        assert torch.get_num_threads() == processor.cores()
    finally:
        torch.set_num_threads(before)


def _compute_in_threads(numbers):
    """Let four threads compute at once, as they do where weights are loaded."""
    together = threading.Barrier(4)

    def compute(_):
        together.wait()
        return numbers.to(torch.float16)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(compute, range(4)))


def test_threads_of_a_fork_find_the_pool_that_computes():
    numbers = torch.ones(200_000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        numbers.to(torch.float16)  # makes the pool, which no fork inherits
        for _ in range(20):
            if not (pid := os.fork()):
                with contextlib.suppress(BaseException):
                    processor.use_cores({"OMP_NUM_THREADS": "2"})
                    _compute_in_threads(numbers)
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("flags", "found"), [("fpu avx512_bf16", True), ("amx_bf16 amx_tile", True), ("fpu avx512f", False)]
)
def test_a_processor_says_whether_it_has_bfloat16(tmp_path, flags, found):
    assert processor.has_bfloat16(machine(tmp_path, siblings="0", flags=flags)) is found
    assert processor.has_bfloat16(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(("has_it", "told"), [(False, True), (True, False), (None, False)])
def test_who_asks_for_bfloat16_is_told_where_the_processor_has_none(has_it, told):
    assert ("float32 is faster here" in placement._emulated(Precision.bfloat16, has_it)) is told
    assert placement._emulated(Precision.float32, has_it) == ""
