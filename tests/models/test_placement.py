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
