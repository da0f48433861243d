"""What weights of 4 bits are worth: a matrix quantised as a QLoRA's base is, and read out again."""

from __future__ import annotations

from bitsandbytes import functional
from torch import Tensor


def rounded(weight: Tensor) -> Tensor:
    """Return a matrix as the model that an adapter of 4 bits was trained on holds it (`load.nf4`)."""
    packed, state = functional.quantize_4bit(
        weight.contiguous(), compress_statistics=True, quant_type="nf4"
    )
    read: Tensor = functional.dequantize_4bit(packed, state)
    return read.reshape(weight.shape)
