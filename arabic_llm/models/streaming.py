"""Frozen 4-bit layers that are not whole on the card: they stream from the host, or are shared out.

The engine is PyTorch's FSDP2. Over a mesh of one process a layer's packed weights lie in (pinned) memory of
the host and visit the card for each pass through it; over several each card holds its part of them. What
is trained is no business of FSDP's: optimiser, clipping, checkpoints and PEFT see ordinary tensors. Scales
(some 3% of the weights), norms and biases stay on the card.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from itertools import pairwise
from typing import Any, cast
from unittest import mock

import torch
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.integrations.bitsandbytes import Bnb4bitQuantize

from arabic_llm import processes
from arabic_llm.errors import ConfigError, HardwareError
from arabic_llm.models import visitors
from arabic_llm.models.placement import Placement


def settle(model: PreTrainedModel, placement: Placement) -> None:
    """Put a model that was read on the host where it runs: packed layers streamed or shared out, the rest.

    Raises ConfigError for more layers than there are, HardwareError where torch has no process groups.
    """
    if not placement.streamed_layers and not placement.shares_packed:
        return
    if not distributed.is_available():
        raise HardwareError(
            "hw.streamed_layers and hw.fsdp need process groups and this torch has none"
            " (torch.distributed.is_available()); install one that has, or set them to 0 and false"
        )
    with _group(alone=not placement.shares_packed) as group:
        mesh = DeviceMesh.from_group(group, torch.device(placement.device).type)
        put(model, mesh, placement.streamed_layers, placement.device)


def put(model: PreTrainedModel, mesh: DeviceMesh, streamed_layers: int, device: str) -> None:
    """Stream so many layers of a model from the host; none: share all of them out over a mesh.

    All else goes to the device. Raises ConfigError for more layers than there are.
    """
    decoder, layers = blocks(model)
    if streamed_layers:
        refuse_more(streamed_layers, len(layers))
        away = [layers[number] for number in visitors.streamed(streamed_layers, len(layers))]
        _move(model, away, device)
        stream(away, mesh)
        Visits(away, mesh.device_type)
    else:
        _move(model, layers, device)
        share_out(decoder, layers, mesh)
    # DistributedDataParallel reads it: what FSDP2 holds is not its own to send round
    model._ddp_params_and_buffers_to_ignore = _names_of_packed(model)


def num_streamed(model: PreTrainedModel) -> int:
    """Return how many layers of a model stream."""
    return sum(_mesh_size(layer) == 1 for layer in blocks(model)[1])


def is_shared_out(model: nn.Module) -> bool:
    """Return whether a pass of a model needs all processes: 4-bit weights are gathered from them."""
    return _mesh_size(model) > 1


def refuse_more(wanted: int, there: int) -> None:
    """Raise ConfigError for more streamed layers than a model has."""
    if wanted > there:
        raise ConfigError(
            f"hw.streamed_layers={wanted} is more than the {there} layers of the model; lower it"
        )


@contextmanager
def packed_one_by_one(device: str) -> Iterator[None]:
    """Let transformers put each weight into 4 bits on the card and hold it on the host.

    What is computed is that of a resident model, and the card holds one unpacked weight at a time.
    """
    convert = Bnb4bitQuantize.convert

    @wraps(convert)
    def on_card(self: Any, input_dict: dict[str, Any], *args: Any, **options: Any) -> dict[str, Any]:
        found = {n: v[0] if isinstance(v, list) else v for n, v in input_dict.items()}
        input_dict.clear()  # nothing else holds what was read
        there = {name: found.pop(name).to(device) for name in list(found)}
        return {name: packed.to("cpu") for name, packed in convert(self, there, *args, **options).items()}

    with mock.patch.object(Bnb4bitQuantize, "convert", on_card):
        yield


def stream(layers: Sequence[nn.Module], mesh: DeviceMesh) -> None:
    """Hold the packed weights of some layers in memory of the host, from where they visit the card."""
    from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard

    policy = CPUOffloadPolicy(pin_memory=mesh.device_type == "cuda")
    for layer in layers:
        rest = _rest(layer)
        fully_shard(
            layer, mesh=mesh, reshard_after_forward=True, offload_policy=policy, ignored_params=rest
        )
        # What FSDP makes at the first visit must be no tensor of inference mode: training would refuse it.
        layer.unshard()  # type: ignore[operator]
        layer.reshard()  # type: ignore[operator]


def share_out(decoder: nn.Module, layers: Sequence[nn.Module], mesh: DeviceMesh) -> None:
    """Leave each process its part of the packed weights of all layers; the next is gathered meanwhile."""
    from torch.distributed.fsdp import fully_shard

    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=_rest(layer))
    rest = {p for p in decoder.parameters() if not isinstance(p, DTensor)}
    fully_shard(decoder, mesh=mesh, ignored_params=rest)  # the streams that layers have in common
    for layer, following in pairwise(layers):
        layer.set_modules_to_forward_prefetch([following])  # type: ignore[operator]
        following.set_modules_to_backward_prefetch([layer])  # type: ignore[operator]


class Visits:
    """Has the next streamed layer fetched while one computes: on a card in a stream of its own.

    torch 2.13 copies a mesh of one only when a layer's turn has come, on the stream that computes, whatever
    is set as FSDP2's prefetch; so a layer's turn is brought forward here, by FSDP2's own `unshard`.
    """

    def __init__(self, layers: Sequence[Any], kind: str) -> None:
        """Take the streamed layers in order, and the kind of device that they visit."""
        self._layers = layers
        self._stream: Any = torch.cuda.Stream() if kind == "cuda" else None  # type: ignore[no-untyped-call]
        self._arrived: dict[int, torch.cuda.Event] = {}
        for number, layer in enumerate(layers):
            # Before FSDP's own hooks, which find the layer there.
            layer.register_forward_pre_hook(partial(self._forth, number), prepend=True)
            layer.register_forward_hook(partial(self._on_the_way_back, number), prepend=True)

    def _forth(self, number: int, *_: Any) -> None:
        self._turn(number, number + 1)

    def _on_the_way_back(self, number: int, _layer: nn.Module, _inputs: Any, output: Any) -> None:
        """Bring a layer's turn forward before it is computed again, when its output has a gradient."""
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        if hidden.requires_grad:
            hidden.register_hook(lambda _: self._turn(number, number - 1))

    def _turn(self, number: int, following: int) -> None:
        """Have a layer there, and the one after it on its way."""
        self._fetch(number)
        if (event := self._arrived.pop(number, None)) is not None:
            torch.cuda.current_stream().wait_event(event)
        if 0 <= following < len(self._layers):
            self._fetch(following)

    def _fetch(self, number: int) -> None:
        """Copy a layer to the card, if it is not there.

        Its blocks were freed by layers whose work the computing stream has been given: the copy waits for
        that, and for no more.
        """
        if number in self._arrived:
            return
        if self._stream is None:
            self._layers[number].unshard()
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._layers[number].unshard()
            self._arrived[number] = self._stream.record_event()


def packed_bytes(layer: nn.Module) -> int:
    """Return the bytes of a layer's packed weights, which move when it visits the card."""
    return sum(each.weight.nbytes for each in _four_bit(layer))


def blocks(model: PreTrainedModel) -> tuple[nn.Module, list[nn.Module]]:
    """Return a model's decoder and its blocks in order."""
    number = model.config.get_text_config().num_hidden_layers
    return next(
        (model.get_submodule(name.rpartition(".")[0]), list(each))
        for name, each in model.named_modules()
        if isinstance(each, nn.ModuleList) and len(each) == number
    )


def _four_bit(layer: nn.Module) -> list[Linear4bit]:
    return [each for each in layer.modules() if isinstance(each, Linear4bit)]


def _rest(layer: nn.Module) -> set[nn.Parameter]:
    """Return the parameters of a layer that are no packed weights."""
    return {*layer.parameters()} - {each.weight for each in _four_bit(layer)}


def _move(model: PreTrainedModel, away: Sequence[nn.Module], device: str) -> None:
    """Put all but the packed weights of some layers on the device, and leave those plain, on the host.

    FSDP2 knows plain tensors; bitsandbytes finds the state of one that it no longer knows in its layer.
    """
    held = [(linear, cast(Params4bit, linear.weight)) for layer in away for linear in _four_bit(layer)]
    for linear, _ in held:
        del linear._parameters["weight"]
    nn.Module.to(model, device)
    for linear, weight in held:
        linear.quant_state = weight.quant_state
        linear.quant_state.to(device)
        linear.weight = nn.Parameter(weight.data, requires_grad=False)


def _mesh_size(module: nn.Module) -> int:
    """Return how many processes hold parts of a module's packed weights; 0: they are whole here."""
    own = (p for p in module.parameters() if isinstance(p, DTensor) and p.dtype is torch.uint8)
    return next((p.device_mesh.size() for p in own), 0)


def _names_of_packed(model: nn.Module) -> list[str]:
    """Return the names of the weights that FSDP2 holds."""
    return [name for name, each in model.named_parameters() if isinstance(each, DTensor)]


@contextmanager
def _group(*, alone: bool) -> Iterator[distributed.ProcessGroup]:
    """Yield the group of all processes, or one of this alone, in which nothing is said.

    A group opened for that closes again: FSDP2 has read from it that there is nobody to ask.
    """
    if distributed.is_initialized():
        own = [processes.rank()] if alone else None
        yield distributed.new_group(own, use_local_synchronization=alone)
        return
    store = distributed.HashStore()  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        yield distributed.new_group()
    finally:
        distributed.destroy_process_group()
