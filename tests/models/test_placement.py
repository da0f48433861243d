"""hw decides how, never what: the effective batch stays, whatever the micro-batch."""

import pytest
import torch
from conftest import compose_config

from arabic_llm.config.schema import Precision
from arabic_llm.errors import HardwareError
from arabic_llm.models.placement import micro_batch, resolve

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
    assert resolve(compose_config("hw=auto").hw).device == "cuda:1"
    assert chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(HardwareError, match="process 3 of this machine finds 2 cards"):
        resolve(compose_config("hw=auto").hw)
