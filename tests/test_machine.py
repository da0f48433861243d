"""hw=auto is the card that is there, with what it has free now. A script plays the card's own program."""

import dataclasses
import re

import pytest
from conftest import compose_config

from arabic_llm import machine
from arabic_llm.config.hw import Precision
from arabic_llm.errors import HardwareError
from arabic_llm.memory import training_plan


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
    assert training_plan.workspace_on(machine.settle(planned)) == 32 * 2**20  # the file's H100
    card("NVIDIA A100-SXM4-80GB, 81920, 81000, 8.0")
    for override in ("hw=80gb", "hw=auto"):
        settled = machine.settle(compose_config(override).hw)
        assert settled.usable_gib > 70
        assert training_plan.workspace_on(settled) == 2 * 4 * 2**20 + 8 * 16 * 2**10
    card("NVIDIA H100 80GB HBM3, 81559, 81000, 9.0")
    assert training_plan.workspace_on(machine.settle(compose_config("hw=auto").hw)) == 32 * 2**20


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
