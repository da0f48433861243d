"""What is remembered of an operation on meta is what torch would say of it; views are asked for anew."""

from dataclasses import replace

import pytest
import torch
from test_training_rehearsal import TINY

from arabic_llm.memory.workload import Attention
from arabic_llm.profiling import training_rehearsal
from arabic_llm.profiling.remembered import Remembered
from arabic_llm.profiling.trace import Trace

aten = torch.ops.aten


def meta(*size, dtype=torch.float32):
    return torch.empty(size, dtype=dtype, device="meta")


def shapes(out):
    outs = out if isinstance(out, tuple) else (out,)
    return [(each.shape, each.stride(), each.dtype, each.untyped_storage().nbytes()) for each in outs]


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.mul.Tensor, (meta(3, 4), 2)),
        (aten.mul.Tensor, (meta(3, 4, dtype=torch.int64), 2)),
        (aten.mul.Tensor, (meta(3, 4, dtype=torch.int64), 2.0)),  # 2 and 2.0 are equal, and not alike
        (aten.add.Tensor, (meta(3, 4).t(), meta(4, 3).t().t())),
        (aten.clone.default, (meta(5, 4).t(),)),
        (aten._to_copy.default, (meta(5),)),
        (aten.native_layer_norm.default, (meta(2, 3, 8), [8], meta(8), None, 1e-5)),
        (aten.native_dropout.default, (meta(7), 0.1, True)),
        (aten.cat.default, ([meta(2, 3), meta(4, 3)],)),
    ],
)
def test_an_operation_asked_again_makes_the_same_and_anew(func, args):
    asked = Remembered()
    wanted = shapes(func(*args))
    first, again = asked(func, args, {}), asked(func, args, {})
    assert len(asked._made) == 1
    assert shapes(first) == shapes(again) == wanted
    assert type(first) is type(again)
    first, again = (out if isinstance(out, tuple) else (out,) for out in (first, again))
    assert {one.untyped_storage()._cdata for one in first}.isdisjoint(
        one.untyped_storage()._cdata for one in again
    )


def test_numbers_of_another_type_and_tensors_of_other_strides_are_told_apart():
    asked = Remembered()
    whole = meta(3, 4, dtype=torch.int64)
    kinds = [asked(aten.mul.Tensor, (whole, by), {}).dtype for by in (2, 2.0, True)]
    assert kinds == [torch.int64, torch.float32, torch.int64]
    cast = [asked(aten._to_copy.default, (whole,), {"dtype": each}) for each in (torch.int8, torch.float64)]
    assert [each.dtype for each in cast] == [torch.int8, torch.float64]
    assert [asked(aten.clone.default, (each,), {}).stride() for each in (meta(3, 4), meta(4, 3).t())] == [
        (4, 1),
        (1, 3),
    ]


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (aten.view.default, (meta(3, 4), [12])),
        (aten._unsafe_view.default, (meta(3, 4), [12])),  # a view that its schema keeps to itself
        (aten.add_.Tensor, (meta(3), meta(3))),
        (aten.split.Tensor, (meta(4), 2)),
        (aten.mul.Tensor, (torch.ones(3), 2)),  # of values
    ],
)
def test_views_changes_and_values_are_asked_of_torch_each_time(func, args):
    asked = Remembered()
    for _ in range(2):
        out = asked(func, args, {})
        assert asked._made == {}
    if func is aten._unsafe_view.default:
        assert out.untyped_storage()._cdata == args[0].untyped_storage()._cdata
    if not args[0].is_meta:
        assert out.tolist() == [2, 2, 2]


@pytest.mark.parametrize("attention", [Attention.flash, Attention.eager])
def test_a_rehearsal_that_remembers_counts_every_byte_that_one_without_does(attention, monkeypatch):
    layer = replace(TINY.architecture, num_hidden_layers=1)
    work = replace(TINY, architecture=layer, attention=attention, accumulates=False)
    remembered = training_rehearsal.peak(work)
    begin = Trace.__init__

    def forgetful(self, *args, **options):
        begin(self, *args, **options)
        self._remembered = None

    monkeypatch.setattr(Trace, "__init__", forgetful)
    assert training_rehearsal.peak(work) == remembered
