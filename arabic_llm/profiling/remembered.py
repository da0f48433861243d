"""What operations on meta make, remembered: torch works it out in Python, for each layer anew."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_leaves

_Made = tuple[torch.Size, tuple[int, ...], torch.dtype] | None  # size, strides and type of a result


class Remembered:
    """An operation that was asked of tensors of the same shapes and types makes the same again."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._made: dict[object, tuple[_Made, ...]] = {}
        self._only_makes: dict[Any, bool] = {}

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return new tensors, or what torch gives where that is not known."""
        if func not in self._only_makes:
            self._only_makes[func] = _only_makes(func)
        if not self._only_makes[func]:
            return func(*args, **kwargs)
        try:
            with torch._C.DisableTorchFunction():  # or modes are asked of every size
                key = (func, _told(args), tuple((name, _told(value)) for name, value in kwargs.items()))
                if (made := self._made.get(key)) is not None:
                    found = tuple(each and _empty(*each) for each in made)
                    return found if len(func._schema.returns) > 1 else found[0]
        except TypeError:  # of a GPU's tensors, or of what knows more than its shape
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        outs = out if isinstance(out, tuple) else (out,)
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if _is_tensor(leaf)}
        if all(each is None or _is_new(each, given) for each in outs):
            self._made[key] = tuple(each if each is None else _shape(each) for each in outs)
        return out


def _only_makes(func: Any) -> bool:
    """Return whether an operation returns tensors alone, and none is said to be a view or to be changed."""
    schema = func._schema
    returns = [(str(each.type), each.alias_info) for each in schema.returns]
    return not schema.is_mutable and bool(returns) and all(each == ("Tensor", None) for each in returns)


def _told(value: Any) -> object:
    """Return what tells an argument apart. Raises TypeError for what is not told by a few plain values."""
    if _is_tensor(value):
        if type(value) not in (torch.Tensor, torch.nn.Parameter) or not value.is_meta:
            raise TypeError
        return _shape(value)
    if isinstance(value, (list, tuple)):
        return tuple(_told(each) for each in value)
    hash(value)
    return type(value), value  # 1 is not 1.0: they make other types


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _shape(tensor: torch.Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    return tensor.shape, tensor.stride(), tensor.dtype


def _empty(size: torch.Size, stride: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device="meta")


def _is_new(made: torch.Tensor, given: set[int]) -> bool:
    """Return whether a result is a tensor of its own, with as many bytes as its shape needs."""
    if type(made) is not torch.Tensor or not made.is_meta:
        return False
    storage = made.untyped_storage()
    return (
        storage._cdata not in given and storage.nbytes() == _empty(*_shape(made)).untyped_storage().nbytes()
    )
