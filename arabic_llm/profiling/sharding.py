"""What several processes add to a rehearsal in one: the buckets of gradients, or the shares of weights.

Names that are private to torch are imported where they are used: one process is rehearsed without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel

from arabic_llm.config.hw import MIB, Precision
from arabic_llm.memory.workload import Workload
from arabic_llm.models import streaming

_MIXED = {Precision.bfloat16: "bf16", Precision.float16: "fp16"}  # as accelerate names them
_FIRST_BUCKET, _BUCKET = MIB, 25 * MIB  # dist._DEFAULT_FIRST_BUCKET_BYTES, bucket_cap_mb


def buckets(model: nn.Module, work: Workload) -> list[torch.Tensor]:
    """Return what DistributedDataParallel copies gradients to, to sum them up: its own, for ever.

    Trainer leaves gradient_as_bucket_view off. None for one process, and under FSDP.
    """
    if work.num_cards == 1 or work.shares_all:
        return []
    from torch._C._distributed_c10d import _compute_bucket_assignment_by_size

    trained = [p for p in model.parameters() if p.requires_grad][::-1]
    groups, _ = _compute_bucket_assignment_by_size([*trained], [_FIRST_BUCKET, _BUCKET])
    sizes = [sum(trained[number].numel() for number in group) for group in groups]
    return [
        torch.empty(size, dtype=trained[group[0]].dtype) for size, group in zip(sizes, groups, strict=True)
    ]


def settled(model: PreTrainedModel, work: Workload) -> AbstractContextManager[None]:
    """Share a model on the meta device out, or stream it, as its run does."""
    if work.shares_all:
        return shared_out(model, work)
    return packed(model, work) if work.fsdp or work.streamed_layers else nullcontext()


@contextmanager
def packed(model: PreTrainedModel, work: Workload) -> Iterator[None]:
    """Stream or share out the 4-bit weights of a model on the meta device, by the code of runs."""
    from torch.distributed.fsdp._fully_shard._fsdp_param import FSDPParam

    inputs: Any = vars(FSDPParam)["all_gather_inputs"].fget

    def arrived(self: FSDPParam) -> list[torch.Tensor]:
        return [tensor.clone() for tensor in inputs(self)]  # on meta a copy to the device is none

    with ExitStack() as stack:
        group = stack.enter_context(_nobody(work.num_cards if work.shares_packed else 1))
        stack.enter_context(_on_meta())
        if work.streamed_layers and work.device == "cuda":
            stack.enter_context(mock.patch.object(FSDPParam, "all_gather_inputs", property(arrived)))
        streaming.put(model, DeviceMesh.from_group(group, "cpu"), work.streamed_layers, "meta")
        yield


@contextmanager
def _on_meta() -> Iterator[None]:
    """Let FSDP2 take the meta device for one that it knows."""
    import torch.distributed._tools.fake_collectives  # they then work on the meta device
    from torch.distributed.fsdp._fully_shard import _fsdp_param_group, _fully_shard

    meta, group = torch.device("meta"), _fsdp_param_group.FSDPParamGroup
    with (
        mock.patch.object(torch, "meta", torch.cpu, create=True),  # whose streams do nothing
        mock.patch.object(_fully_shard, "_get_device_from_mesh", lambda _: meta),
        mock.patch.object(group, "_validate_no_meta_params", lambda _: None),
        mock.patch.object(group, "_validate_cpu_offload_params", lambda _: None),
    ):
        yield


@contextmanager
def shared_out(model: PreTrainedModel, work: Workload) -> Iterator[None]:
    """Share a model on the meta device out as accelerate does, with processes that are not there."""
    mixed = _MIXED[work.compute] if work.autocast else "no"
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
        auto_wrap_policy="transformer_based_wrap",
    )
    if work.autocast:
        plugin.set_mixed_precision(mixed)
    with _nobody(work.num_cards) as group, _on_meta():
        accelerator = SimpleNamespace(
            state=SimpleNamespace(fsdp_plugin=plugin),
            torch_device_mesh={("shares",): DeviceMesh.from_group(group, "cpu")},
            parallelism_config=SimpleNamespace(fsdp_dim_names=("shares",)),
            mixed_precision=mixed,
            is_main_process=False,
        )
        fsdp2_prepare_model(accelerator, model)
        yield


@contextmanager
def _nobody(count: int) -> Iterator[distributed.ProcessGroup]:
    """Open a group in which this process talks to nobody; a group of the run stays as it is."""
    from torch.testing._internal.distributed.fake_pg import FakeStore  # which registers the backend

    if distributed.is_initialized():
        group = distributed.new_group(list(range(count)), backend="fake", use_local_synchronization=True)
    else:
        distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
        group = distributed.group.WORLD
    try:
        yield group
    finally:
        distributed.destroy_process_group(group)
