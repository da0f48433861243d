"""Every tensor of code that runs on the meta device, replayed through the caching allocator.

The tensors are those of the real code. What CUDA's kernels allocate inside, and meta's do not, is listed
here with its source.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self
from unittest import mock

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    is_traceable_wrapper_subclass,
    is_traceable_wrapper_subclass_type,
)
from torch.utils._pytree import tree_leaves

from arabic_llm.memory.allocator import Block, CachingAllocator
from arabic_llm.profiling.remembered import Remembered

_QUERY_BLOCK = 64  # kBlockSizeI of the efficient kernel's backward
_FLASH_ROWS, _FLASH_COLUMNS = 128, 32  # flash_bwd rounds tokens and head size up to multiples


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Give every new storage to an allocator, and take it back when the storage dies."""

    def __init__(self, allocator: CachingAllocator, *, of_a_run: bool = False) -> None:
        """Take the allocator that is asked; of a run that goes on by itself, nothing here may stop it."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.allocator = allocator
        self.failure: Exception | None = None  # what ended the count of a run; the run knows nothing of it
        self._is_of_a_run = of_a_run
        self._live: dict[int, Block] = {}
        self._remembered = None if of_a_run else Remembered()

    def __enter__(self) -> Self:
        """Begin, and hear of storages that are filled and emptied: no operation says so."""
        resize = torch.UntypedStorage.resize_

        def heard(storage: torch.UntypedStorage, num_bytes: int) -> Any:
            self._count(self._emptied, storage)
            out = resize(storage, num_bytes)
            self._count(self._filled, storage)
            return out

        self._hearing = mock.patch.object(torch.UntypedStorage, "resize_", heard)
        self._hearing.start()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """End."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._hearing.stop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, then account for what it made and what its CUDA kernel needs meanwhile."""
        if any(is_traceable_wrapper_subclass_type(kind) for kind in types):
            return NotImplemented  # a process's share of a weight (DTensor): asked again for what is inside
        self._count(self._before, func, args, kwargs)
        if self._remembered is None:
            out = func(*args, **(kwargs or {}))
        else:
            out = self._remembered(func, args, kwargs or {})
        self._count(self._after, func, args, out)
        return out

    def _count(self, account: Callable[..., None], *about: Any) -> None:
        """Account for something; what goes wrong there ends the count of a run, and not the run."""
        if self.failure is not None:
            return
        try:
            account(*about)
        except Exception as error:
            if not self._is_of_a_run:
                raise
            self.failure = error

    def _before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        """Note what is about to run."""

    def _after(self, func: Any, args: tuple[Any, ...], out: Any) -> None:
        """Account for what an operation made, and for what its CUDA kernel needs meanwhile."""
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        if (needs := _INSIDE.get(str(func.overloadpacket))) is not None:
            blocks = [self.allocator.malloc(size) for size in needs(args) if size]
            for block in blocks:
                self.allocator.release(block)

    def see(self, tensor: torch.Tensor, block: Block | None = None) -> None:
        """Account for a tensor; a block that it has been given already is taken as it is."""
        for inner in held_by(tensor):
            self._take(inner.untyped_storage(), block)

    def _emptied(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._live:
            self._gone(storage._cdata)

    def _filled(self, storage: torch.UntypedStorage) -> None:
        self._take(storage)

    def _take(self, storage: torch.UntypedStorage, block: Block | None = None) -> None:
        key = storage._cdata
        if key in self._live or storage.nbytes() == 0:
            return
        self._live[key] = block or self.allocator.malloc(storage.nbytes())
        weakref.finalize(storage, self._count, self._gone, key)

    def _gone(self, key: int) -> None:
        if key in self._live:  # not emptied before it died
            self.allocator.release(self._live.pop(key))


def held_by(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the tensors that hold a tensor's bytes: itself, or of a DTensor the share of this process."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        if isinstance(inner := getattr(tensor, name), torch.Tensor):
            yield from held_by(inner)


class LikeCuda(TorchFunctionMode):
    """What torch does above the kernels for CUDA tensors and not for those on meta: autocast, half softmax.

    Autocast casts the operands of products to 16 bits, and keeps its casts of trained float32 weights
    until it ends: with the forward pass, or with the layer that is computed again. On a CPU there is only
    autocast.
    """

    def __init__(self, autocast: torch.dtype | None, device: str = "cuda") -> None:
        """Take the type autocast casts to (none: it is off), and the device: cuda or cpu."""
        super().__init__()
        self._dtype = autocast
        self._is_cuda = device == "cuda"
        # PEFT's 4-bit layers ask for cuda wherever they are.
        self._pretended = ("cuda", "meta") if self._is_cuda else ("meta",)
        self._casts: dict[int, torch.Tensor] = {}
        self._is_forward = False

    def __enter__(self) -> Self:
        """Say that autocast is on, where PEFT and TRL ask."""
        enabled, dtype, own = torch.is_autocast_enabled, torch.get_autocast_dtype, self._dtype
        self._answers = mock.patch.multiple(
            torch,
            is_autocast_enabled=lambda on="cuda": own is not None if on in self._pretended else enabled(on),
            get_autocast_dtype=lambda on: own if on in self._pretended else dtype(on),
            autocast=self._autocast(torch.autocast),
        )
        self._answers.start()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave torch to answer for itself."""
        self._answers.stop()
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def _autocast(self, real: Any) -> Callable[..., Any]:
        """Return a torch.autocast that knows the meta device, for code that asks for none of it."""

        @contextmanager
        def without() -> Iterator[None]:
            before, self._dtype = self._dtype, None
            yield
            self._dtype = before

        def autocast(device_type: str, *args: Any, **options: Any) -> Any:
            if device_type == "meta" and not options.get("enabled", True):
                return without()
            return real(device_type, *args, **options)

        return autocast

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Hold the casts of the forward pass until its end."""
        self._is_forward = True
        yield
        self._is_forward = False
        self._casts.clear()

    def checkpointed(self, checkpoint: Callable[..., Any]) -> Callable[..., Any]:
        """Return a checkpoint function whose layers, computed again, forget their casts when they end."""

        def function(run: Callable[..., Any], *args: Any, **how: Any) -> Any:
            def layer(*inputs: Any, **options: Any) -> Any:
                try:
                    return run(*inputs, **options)
                finally:  # computing again stops with an exception where nothing more is needed
                    if not self._is_forward:
                        self._casts.clear()

            return checkpoint(layer, *args, **how)

        return function

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Cast where autocast would, then run."""
        kwargs = kwargs or {}
        if (
            self._is_cuda
            and func is functional.softmax
            and args[0].dtype is torch.float16
            and kwargs.get("dtype")
        ):
            # SoftMax.cpp: for float16 one kernel casts to float32 too; bfloat16 is cast before
            return torch.ops.aten._softmax(args[0], kwargs["dim"], True)
        if self._is_cuda and func is functional.dropout and kwargs["training"] and kwargs["p"]:
            return torch.native_dropout(args[0], kwargs["p"], True)[
                0
            ]  # Dropout.cpp: on a GPU the mask is bool
        if self._dtype is not None and func in _PRODUCTS:
            args = tuple(self._cast(value) for value in args)
        return func(*args, **kwargs)

    def _cast(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dtype is not torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(self._dtype)
        if id(value) not in self._casts:
            self._casts[id(value)] = value.to(self._dtype)
        return self._casts[id(value)]


def _softmax_backward(args: tuple[Any, ...]) -> list[int]:
    # softmax_backward_cuda_out, aten/src/ATen/native/cuda/SoftMax.cu: `Tensor tmp = grad * output`
    return [args[0].numel() * args[0].element_size()]


def _logsumexp(args: tuple[Any, ...]) -> list[int]:
    # logsumexp_out_impl, aten/src/ATen/native/ReduceOps.cpp: `(self - maxes_squeezed).exp_()`
    return [args[0].numel() * args[0].element_size()]


def _gemm_4bit(args: tuple[Any, ...]) -> list[int]:
    # bitsandbytes 0.50.2, backends/cuda/ops.py: above some 1500 rows it dequantises, then multiplies
    return [args[2][0] * args[2][1] * args[0].element_size()]


def _efficient_backward(args: tuple[Any, ...]) -> list[int]:
    # _efficient_attention_backward, transformers/cuda/attention_backward.cu: the gradient of the query is
    # added up in float32 (kNeedsAccumGradQ), in 16 bits that of key and value too where a head is wider
    # than 64; for float32 the kernel leaves delta = sum(grad_out * out) to ATen.
    query = args[1]
    batch, heads, tokens, size = query.shape
    rows = -(-tokens // _QUERY_BLOCK) * _QUERY_BLOCK
    one = 4 * batch * heads * rows * size
    if query.dtype is torch.float32:
        return [one, 4 * batch * heads * tokens * size]
    return [one] if size <= _QUERY_BLOCK else [one, one, one]


def _flash_backward(args: tuple[Any, ...]) -> list[int]:
    # mha_bwd, transformers/cuda/flash_attn/flash_api.cpp: dq_accum and softmax_d in float32, and with
    # grouped heads dk and dv of every head, added up afterwards
    query, key = args[1], args[2]
    batch, heads, tokens, size = query.shape
    rows = -(-tokens // _FLASH_ROWS) * _FLASH_ROWS
    columns = -(-size // _FLASH_COLUMNS) * _FLASH_COLUMNS
    expanded = 0 if key.shape[1] == heads else batch * tokens * heads * size * query.element_size()
    return [4 * batch * heads * rows, 4 * batch * heads * rows * columns, expanded, expanded]


_PRODUCTS = (functional.linear, torch.matmul, torch.Tensor.matmul, torch.mm, torch.bmm)  # of our models
_INSIDE: dict[str, Callable[[tuple[Any, ...]], list[int]]] = {
    "aten._softmax_backward_data": _softmax_backward,
    "aten._scaled_dot_product_efficient_attention_backward": _efficient_backward,
    "aten._scaled_dot_product_flash_attention_backward": _flash_backward,
    "aten.logsumexp": _logsumexp,
    "bitsandbytes.gemm_4bit": _gemm_4bit,
}
