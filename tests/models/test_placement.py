"""hw decides how, never what: the effective batch stays, whatever the micro-batch."""

import pytest
import torch
from conftest import compose_config

from arabic_llm.config.hw import Precision
from arabic_llm.errors import HardwareError
from arabic_llm.models.load import nf4
from arabic_llm.models.placement import enough_memory, micro_batch, precision_of, resolve, shortage

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


@pytest.mark.parametrize("micro", [1, 3, 5, 8, 16, 100])
@pytest.mark.parametrize("effective", [1, 7, 12, 16])
def test_the_effective_batch_is_always_kept(micro, effective):
    place = resolve(compose_config("hw=cpu", f"hw.micro_batch_size={micro}").hw)
    size, accumulation = micro_batch(place, effective)
    assert size * accumulation == effective
    assert size <= micro


def test_a_cpu_computes_in_float32_unless_asked():
    assert resolve(compose_config("hw=cpu").hw).precision is Precision.float32
    assert resolve(compose_config("hw=cpu", "hw.precision=bfloat16").hw).dtype is torch.bfloat16


def test_a_cpu_does_not_train_in_float16():
    with pytest.raises(HardwareError, match="does not train in float16"):
        resolve(compose_config("hw=cpu", "hw.precision=float16").hw)


def test_a_card_before_ampere_computes_in_float16_in_4_bits_too():
    assert [precision_of(major) for major in (6, 7, 8, 9)] == [Precision.float16] * 2 + [
        Precision.bfloat16
    ] * 2
    assert nf4(torch.float16).bnb_4bit_compute_dtype is torch.float16


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total"),
            "out of memory: 1,536 MiB was asked for, ",
        ),
        (MemoryError(), "out of memory: more was asked for, "),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
            "out of memory: more was asked",
        ),
        (RuntimeError("size mismatch"), None),
    ],
)
def test_each_librarys_way_of_saying_that_memory_ran_out_is_understood(error, said):
    found = shortage(error)
    assert found is None if said is None else found.startswith(said)


def test_memory_that_runs_out_is_one_line_with_the_cure():
    with (
        pytest.raises(HardwareError, match=r"^judging: out of memory: 536,870,912 MiB was .* MiB are free"),
        enough_memory("judging", "take a smaller model"),
    ):
        torch.empty(2**47)
    with pytest.raises(ValueError, match="another"), enough_memory("judging", "take a smaller model"):
        raise ValueError("another")


@no_gpu
def test_a_card_that_is_not_there_is_said():
    with pytest.raises(HardwareError, match="hw=4gb needs a GPU and torch sees none"):
        resolve(compose_config("hw=4gb", "hw.device=cuda").hw)


@no_gpu
def test_auto_takes_the_cpu_where_there_is_no_card():
    assert resolve(compose_config().hw).device == "cpu"


def test_each_process_has_a_card_of_its_own(monkeypatch):
    chosen = []
    cards = {"is_available": True, "device_count": 2, "mem_get_info": (2**34, 2**34)}
    cards |= {"get_device_name": "a card", "get_device_capability": (8, 0)}
    for name, said in cards.items():
        monkeypatch.setattr(torch.cuda, name, lambda said=said: said)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert resolve(compose_config("hw=auto").hw).device == "cuda"
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    three = compose_config("hw=auto", "hw.num_cards=3").hw
    assert resolve(three).device == "cuda:1"
    assert chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(HardwareError, match="process 3 of this machine finds 2 cards"):
        resolve(three)
    with pytest.raises(HardwareError, match="hw=2x24gb is 2 cards and this run has 3 processes: start it"):
        resolve(compose_config("hw=2x24gb").hw)
