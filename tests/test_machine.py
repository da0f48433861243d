"""hw=auto is the card that is there, with what it has free now. A script plays the card's own program."""

import dataclasses
import re

import pytest
from conftest import compose_config

from arabic_llm import machine
from arabic_llm.config.hw import Precision
from arabic_llm.errors import HardwareError
from arabic_llm.memory import training_ask


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Put an nvidia-smi on the path that answers as the real one does."""

    def insert(line, users=""):
        script = tmp_path / "nvidia-smi"
        script.write_text(
            "#!/bin/sh\n"
            'case "$*" in\n'
            f'  "-i 0 --query-gpu=name,memory.total,memory.free,compute_cap "*) echo "{line}";;\n'
            f'  "-i 0 --query-compute-apps=pid,process_name,used_memory "*) printf "{users}";;\n'
            "  *) exit 6;;\n"
            "esac\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return insert


def test_auto_becomes_the_nearest_budget_with_what_is_free_now(card, caplog):
    card("NVIDIA GeForce RTX 3070, 8192, 7900, 8.6")
    with caplog.at_level("INFO", logger="arabic_llm"):
        hw = machine.settle(compose_config().hw)
    assert (hw.name, hw.usable_gib, hw.card_gib, hw.eval_batch_size) == ("8gb", 7.31, 8.0, None)
    assert hw.precision is Precision.auto
    assert (
        caplog.messages[-1]
        == "hw=auto is hw=8gb with 7.31 GiB of NVIDIA GeForce RTX 3070, 7.7 of 8.0 GiB free"
    )


def test_memory_that_others_hold_is_not_counted(card):
    card("NVIDIA GeForce RTX 3070, 8192, 4200, 8.6", "77, /usr/bin/python, 3900")
    assert machine.settle(compose_config().hw).name == "4gb"


def test_a_card_before_ampere_computes_in_float16(card):
    card("Tesla T4, 15360, 15000, 7.5")
    assert machine.settle(compose_config().hw).precision is Precision.float16
    assert machine.settle(compose_config("hw.precision=float32").hw).precision is Precision.float32


def test_a_busy_card_is_one_line_with_who_holds_it_and_the_cure(card):
    card("NVIDIA GeForce GTX 1650, 4096, 800, 7.5", "77, /usr/bin/blender, 2900\\n78, /opt/x/Xorg, 300\\n")
    who = re.escape("blender (process 77, 2.8 GiB), Xorg (process 78, 0.3 GiB)")
    with pytest.raises(HardwareError, match=f"GTX 1650, 0.8 of 4.0 GiB free, .* taken by {who}. End what"):
        machine.settle(compose_config().hw)
    with pytest.raises(HardwareError, match=f"the card is busy: .* this run needs 3.0; taken by {who}."):
        machine.refuse_busy(2.6)
    machine.refuse_busy(0.3)


def test_a_budget_that_is_given_is_not_asked_of_the_card(card):
    card("NVIDIA GeForce GTX 1650, 4096, 800, 7.5")
    for override in ("hw=8gb", "hw=cpu", "hw.usable_gib=2"):
        hw = compose_config(override).hw
        settled = machine.settle(hw)
        assert dataclasses.replace(settled, compute_capability=None) == hw  # the make is the card's


def test_an_a100_is_not_planned_as_a_hopper(card):
    planned = compose_config("hw=80gb").hw
    assert training_ask.workspace_on(machine.settle(planned)) == 32 * 2**20  # the file's H100
    card("NVIDIA A100-SXM4-80GB, 81920, 81000, 8.0")
    for override in ("hw=80gb", "hw=auto"):
        settled = machine.settle(compose_config(override).hw)
        assert settled.usable_gib > 70
        assert training_ask.workspace_on(settled) == 2 * 4 * 2**20 + 8 * 16 * 2**10
    card("NVIDIA H100 80GB HBM3, 81559, 81000, 9.0")
    assert training_ask.workspace_on(machine.settle(compose_config("hw=auto").hw)) == 32 * 2**20


def test_a_smaller_card_says_nothing_of_the_one_that_is_planned_for(card):
    card("NVIDIA GeForce GTX 1650, 4096, 800, 7.5")
    assert machine.settle(compose_config("hw=80gb").hw).compute_capability == 9.0


@pytest.mark.parametrize("visible", ["", "-1", "3"])
def test_a_card_that_cuda_is_not_to_see_is_not_there(card, monkeypatch, visible):
    card("Tesla T4, 15360, 15000, 7.5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.card() is None


def test_weights_larger_than_the_memory_are_refused_on_a_cpu():
    free = machine.free_gib()
    machine.refuse_too_large("tiny", 0.01)
    with pytest.raises(HardwareError, match=r"model=huge take .* adapter=qlora"):
        machine.refuse_too_large("huge", free + 10)


def test_the_plan_of_auto_is_that_of_the_card(card, program):
    card("NVIDIA GeForce GTX 1650, 4096, 3996, 7.5")
    status, said = program("task=plan", "model=qwen2_1_5b", "adapter=qlora")
    assert status == 0, said
    assert said.startswith(
        "hw=auto is hw=4gb with 3.5 GiB of NVIDIA GeForce GTX 1650, 3.9 of 4.0 GiB free, in"
    )
    assert "of 3,584 that hw=4gb leaves" in said


def test_a_plan_for_a_card_that_others_hold_is_refused_after_it_is_said(card, program):
    ask = ("task=plan", "model=qwen2_1_5b", "adapter=qlora", "hw=4gb")
    card("NVIDIA GeForce GTX 1650, 4096, 1500, 7.5", "77, /usr/bin/blender, 2500\\n")
    status, said = program(*ask)
    *_, fits, refused = said.splitlines()
    assert (status, fits) == (2, "it fits")
    busy = "error: the card is busy: NVIDIA GeForce GTX 1650, 1.5 of 4.0 GiB free, and this run needs 3.1;"
    assert refused.startswith(f"{busy} taken by blender (process 77, 2.4 GiB). End what takes it, wait")
    card("NVIDIA GeForce GTX 1650, 4096, 4000, 7.5")
    assert program(*ask)[0] == 0
    assert (
        program(*ask[:2], "adapter=lora", "hw=80gb")[0] == 0
    )  # planned here, for a card that is elsewhere
    with pytest.raises(
        HardwareError, match="smaller than hw says: .* 4.0 GiB .* needs 20.4; plan for what"
    ):
        machine.refuse_busy(20)


def test_a_card_alone_is_never_the_budget_of_two(card):
    card("NVIDIA RTX A5000, 24564, 23900, 8.6")
    assert machine.settle(compose_config().hw).name == "16gb"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("NVIDIA GB10, [N/A], [N/A], 12.1", "the memory of NVIDIA GB10 (total [N/A], free [N/A] MiB)"),
        ("Orin, Not Supported, 4000, 8.7", "the memory of Orin (total Not Supported, free 4000 MiB)"),
        ("Tesla T4, 15360, [Unknown Error], 7.5", "the memory of Tesla T4 (total 15360, free [Unknown"),
    ],
)
def test_a_card_that_does_not_say_its_memory_is_one_line_and_no_budget(card, caplog, line, said):
    card(line)
    hw = compose_config().hw
    with caplog.at_level("INFO", logger="arabic_llm"):
        assert machine.settle(hw) == hw
    machine.refuse_busy(2.6)
    assert said in caplog.messages[0]
    assert caplog.messages[0].endswith("name a budget, e.g. hw=8gb")


def test_a_card_that_does_not_say_how_old_it_is_keeps_the_precision(card):
    card("Tesla T4, 15360, 15000, [N/A]")
    hw = machine.settle(compose_config().hw)
    assert (hw.name, hw.precision) == ("8gb", Precision.auto)


def test_users_that_the_driver_hides_or_names_with_commas_are_said_as_they_are(card):
    card("NVIDIA, Inc. T4, 4096, 800, 7.5", "[N/A], [N/A], [N/A]\\n78, /opt/a,b, 300\\n")
    found = machine.card()
    assert found.name == "NVIDIA, Inc. T4"
    assert found.users == "[N/A] (process [N/A], an unknown size), a,b (process 78, 0.3 GiB)"


def test_a_driver_that_does_not_answer_in_time_is_one_line_and_no_budget(
    card, tmp_path, monkeypatch, caplog
):
    card("Tesla T4, 15360, 15000, 7.5")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(machine, "_SECONDS", 0.2)
    hw = compose_config().hw
    with caplog.at_level("INFO", logger="arabic_llm"):
        assert machine.settle(hw) == hw
    (said,) = caplog.messages
    assert said.startswith("nvidia-smi has not answered for 0.2 s: nothing is planned")


GIB = 2**30


def system(root, cgroup, groups, available=64):
    """Write what a kernel shows of its memory: {folder of a cgroup: {file: content}}."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {available * GIB // 1024} kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for folder, contents in groups.items():
        (root / "sys/fs/cgroup" / folder).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (root / "sys/fs/cgroup" / folder / name).write_text(f"{content}\n")


def second(limit, used, inactive=0):
    return {
        "memory.max": limit,
        "memory.current": used,
        "memory.stat": f"anon 5\ninactive_file {inactive}",
    }


def first(limit, used, inactive=0):
    return {
        "memory.limit_in_bytes": limit,
        "memory.usage_in_bytes": used,
        "memory.stat": f"inactive_file 7\ntotal_inactive_file {inactive}",
    }


def test_free_memory_is_what_the_narrowest_cgroup_above_leaves(tmp_path):
    groups = {
        "": {},  # the root of version 2 has no limit
        "slurm": second(20 * GIB, 15 * GIB, 2 * GIB),
        "slurm/job": second(16 * GIB, 6 * GIB, 1 * GIB),
        "slurm/job/task": second("max", 6 * GIB),
        "other": second(GIB, GIB),
    }
    system(tmp_path, "0::/slurm/job/task\n", groups)
    assert machine.free_gib(tmp_path) == 7


def test_free_memory_is_the_systems_where_no_cgroup_has_less(tmp_path):
    system(tmp_path, "0::/user\n", {"user": second(100 * GIB, 0)}, available=12)
    assert machine.free_gib(tmp_path) == 12


def test_free_memory_knows_the_first_version_of_cgroups_and_a_container_that_sees_its_own(tmp_path):
    groups = {"memory": first(4 * GIB, 3 * GIB, GIB), "memory/docker": {}}
    system(tmp_path, "5:cpu:/x\n4:cpuset,memory:/docker/0123\n0::/\n", groups)
    assert machine.free_gib(tmp_path) == 2


def test_a_cgroup_over_its_limit_leaves_nothing_not_less(tmp_path):
    system(tmp_path, "0::/a\n", {"a": second(GIB, 2 * GIB)})
    assert machine.free_gib(tmp_path) == 0


def test_the_kernels_kills_for_want_of_memory_are_counted_wherever_it_counts_them(tmp_path):
    assert machine.oom_kills(tmp_path) == 0
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 7\noom_kill 3\n")
    groups = tmp_path / "sys/fs/cgroup"
    groups.mkdir(parents=True)
    (groups / "memory.events").write_text("oom 9\noom_kill 2\noom_group_kill 1\n")
    assert machine.oom_kills(tmp_path) == 5


def test_each_card_that_cuda_would_see_is_named(card, monkeypatch, tmp_path):
    assert machine.cards() == []
    card("NVIDIA GeForce RTX 3070, 8192, 7900, 8.6")
    script = tmp_path / "nvidia-smi"
    script.write_text(
        script.read_text().replace("  *)", '  "--query-gpu=index "*) printf "0\\n1\\n";;\n  *)')
    )
    assert machine.cards() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 3")
    assert machine.cards() == ["0", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.cards() == []
