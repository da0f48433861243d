"""A model without its weights: transformers', PEFT's and bitsandbytes' own modules on the meta device.

Every shape and type is the real one, no byte is held, and no file is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from bitsandbytes.functional import QuantState
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.memory import weights
from arabic_llm.memory.workload import Attention, Objective, Workload
from arabic_llm.models import adapter, adapter_layers, families, head, load, new_rows
from arabic_llm.models.shape import refuse_recomputing, to_transformers

ATTENTION_KINDS = ("chunked_attention", "full_attention", "sliding_attention")  # which a mask tells apart
_RECURRENT_KINDS = ("conv", "linear_attention")  # whose mask says of each token whether it is padding
_BLOCK, _BLOCK_OF_SCALES = 64, 256  # weights a scale, scales a scale (QLoRA, 2305.14314, section 3)


def build(work: Workload) -> PreTrainedModel:
    """Return the model of a workload in training mode, with its adapter, on the meta device."""
    is_classifier = work.objective is Objective.classify
    config = to_transformers(
        work.architecture,
        pad_token_id=0,  # the default may lie outside a small vocabulary
        num_labels=work.num_labels,
    )
    config.use_cache = False
    config._attn_implementation = "eager" if work.attention is Attention.eager else _fused(work)
    with torch.device("meta"):
        auto_class = AutoModelForSequenceClassification if is_classifier else AutoModelForCausalLM
        if families.is_masked(work.architecture.model_type) and not is_classifier:
            auto_class = AutoModelForMaskedLM
        model = auto_class.from_config(config, dtype=getattr(torch, work.weights.name))
        if work.nf4:
            _quantise(model, work)
        if work.head_on_host:
            head.to_host(model, "meta")
        if work.rank is not None:
            model = _adapted(model, work)
    if work.checkpointing:
        enable_checkpointing(model)
    model.train()
    return model


def bare(a: ArchitectureConfig) -> PreTrainedModel:
    """Return a model of a shape, of tokens, as it is before anything is done to it."""
    auto_class = AutoModelForMaskedLM if families.is_masked(a.model_type) else AutoModelForCausalLM
    with torch.device("meta"):
        model: PreTrainedModel = auto_class.from_config(to_transformers(a, pad_token_id=0))
    return model


def parameters(a: ArchitectureConfig) -> weights.Parameters:
    """Return the counts of a model: by its family's row, or where there is none of its own code."""
    if families.known(a.model_type) is not None:
        return weights.count(a)
    model = bare(a)
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    embedding = sum({id(end.weight): end.weight.numel() for end in ends if end is not None}.values())
    linear = sum(
        m.weight.numel()
        for m in model.modules()
        if isinstance(m, nn.Linear) and all(m is not e for e in ends)
    )
    return weights.Parameters(linear, embedding, model.num_parameters() - linear - embedding)


def enable_checkpointing(model: PreTrainedModel) -> None:
    """Let blocks be computed again on the way back, as TRL and transformers 5 do."""
    refuse_recomputing(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()


def scales(parameter: nn.Parameter | nn.Module) -> Iterator[torch.Tensor]:
    """Yield what lies beside a 4-bit weight: its scales, theirs, and the tables of values."""
    state = getattr(parameter, "quant_state", None)
    for holder in (state, getattr(state, "state2", None)):
        for name in ("absmax", "code", "offset"):
            if isinstance(tensor := getattr(holder, name, None), torch.Tensor):
                yield tensor


def tensors(model: PreTrainedModel) -> Iterator[torch.Tensor]:
    """Yield all that a model holds; what is tied comes twice."""
    for module in model.modules():  # FSDP2 holds plain weights, and the layer their state
        yield from scales(module)
    for parameter in model.parameters():
        yield from scales(parameter)
        yield parameter
    yield from model.buffers()


def on_card(model: PreTrainedModel, work: Workload) -> Iterator[torch.Tensor]:
    """Yield what goes to the card of a model that was read on the host; a CPU has but one memory."""
    table = model.get_input_embeddings().weight if work.looks_up_on_host else None
    for tensor in tensors(model):
        is_on_host = isinstance(tensor, DTensor) and work.streamed_layers and work.device == "cuda"
        if tensor is not table and not is_on_host:
            yield tensor


def masks(config: Any, make: Callable[[], torch.Tensor | None]) -> Any:
    """Return masks as a model's layers take them: one for each kind of attention that config.json names.

    One made beforehand is taken as it is; transformers would look at the (absent) values for it. It makes
    the one of full attention whether a layer takes it or not.
    """
    kinds = {*(getattr(config, "layer_types", None) or ())} & {*ATTENTION_KINDS, *_RECURRENT_KINDS}
    if not kinds:
        return make()
    kinds.add("full_attention")
    return {kind: _padding(make()) if kind in _RECURRENT_KINDS else make() for kind in sorted(kinds)}


def _padding(mask_b1tt: torch.Tensor | None) -> torch.Tensor | None:
    """Return which tokens are padding (BT), as a tokenizer says it; None: it is not said."""
    if mask_b1tt is None:
        return None
    return torch.zeros(mask_b1tt.shape[0], mask_b1tt.shape[2], dtype=torch.long, device=mask_b1tt.device)


def _adapted(model: PreTrainedModel, work: Workload) -> PreTrainedModel:
    found = adapter_layers.find(model, work.target_modules)
    config = LoraConfig(
        r=work.rank,
        lora_alpha=work.rank,
        lora_dropout=work.dropout,
        use_dora=work.dora,
        target_modules=found.modules,
        target_parameters=found.parameters or None,
        task_type=adapter.task_type(model),
        modules_to_save=adapter.drawn_anew(model),
        trainable_token_indices=_new_rows(model, work),
    )
    adapted = get_peft_model(model, config)
    if work.new_tokens:
        new_rows.settle(adapted)
    adapter.cast(adapted, work.adapter)
    return adapted


def _new_rows(model: PreTrainedModel, work: Workload) -> dict[str, list[int]] | None:
    end = work.architecture.vocab_size
    return new_rows.indices(model, list(range(end - work.new_tokens, end))) if work.new_tokens else None


def _quantise(model: PreTrainedModel, work: Workload) -> None:
    """Replace every linear layer but the head by bitsandbytes' own, as transformers does when it loads."""
    compute = getattr(torch, work.compute.name)
    kept = (
        "lm_head",
        "predictions.decoder",
        *load.HEADS,
        "pooler.dense",
    )  # what no file holds is drawn in 16 bits
    for name, module in list(model.named_modules()):
        if not isinstance(module, (nn.Linear, Conv1D)) or name.endswith(kept):
            continue
        outputs, inputs = (
            module.weight.shape if isinstance(module, nn.Linear) else module.weight.shape[::-1]
        )
        count = inputs * outputs
        four_bit = Linear4bit(  # type: ignore[no-untyped-call]
            *(inputs, outputs, module.bias is not None),
            compute_dtype=compute,
            compress_statistics=work.double_quant,
            quant_type="nf4",
        )
        four_bit.weight = Params4bit(
            torch.empty((count + 1) // 2, 1, dtype=torch.uint8),
            requires_grad=False,
            quant_state=_quant_state(torch.Size((outputs, inputs)), work.double_quant, compute),
            compress_statistics=work.double_quant,
            quant_type="nf4",
            bnb_quantized=True,
            module=four_bit,
        )
        if module.bias is not None:
            four_bit.bias = nn.Parameter(module.bias, requires_grad=False)
        model.set_submodule(name, four_bit)
    model.is_loaded_in_4bit = True  # PEFT looks for it


def _quant_state(shape: torch.Size, nested: bool, compute: torch.dtype) -> QuantState:
    blocks = -(-shape.numel() // _BLOCK)
    options: dict[str, Any] = {
        "shape": shape,
        "code": torch.empty(16),
        "blocksize": _BLOCK,
        "quant_type": "nf4",
        "dtype": compute,
    }
    if not nested:
        return QuantState(absmax=torch.empty(blocks), **options)  # type: ignore[no-untyped-call]
    inner = QuantState(  # type: ignore[no-untyped-call]
        absmax=torch.empty(-(-blocks // _BLOCK_OF_SCALES)),
        code=torch.empty(256),
        blocksize=_BLOCK_OF_SCALES,
        dtype=torch.float32,
    )
    outer = torch.empty(blocks, dtype=torch.uint8)
    options |= {"offset": torch.empty(()), "state2": inner}
    return QuantState(absmax=outer, **options)  # type: ignore[no-untyped-call]


def _grouped(query_bhtd: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> list[torch.Tensor]:
    """Return queries, keys and values of as many heads; where a token is said, packed (pack_gqa)."""
    groups = query_bhtd.shape[1] // key.shape[1]
    if groups > 1 and query_bhtd.shape[2] == 1:
        return [query_bhtd.reshape(query_bhtd.shape[0], -1, groups, query_bhtd.shape[3]), key, value]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    return [query_bhtd, key, value]


def _fused(work: Workload) -> str:
    """Return the name of an attention function that calls the kernel itself.

    On the meta device torch's choice falls on the plain formula, which allocates what no GPU does.
    """

    def attend(
        module: nn.Module,
        query_bhtd: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, None]:
        dropout = options.get("dropout", 0.0)
        if work.attention is Attention.flash:
            # It reads grouped heads as they are, so nothing is repeated (enable_gqa).
            out = torch.ops.aten._scaled_dot_product_flash_attention(
                query_bhtd, key, value, dropout, True, False, scale=scaling
            )[0]
        elif work.device == "cpu" and dropout:  # no kernel of a CPU drops: the plain formula, as on meta
            out = nn.functional.scaled_dot_product_attention(
                query_bhtd, key, value, attention_mask, dropout, scale=scaling
            )
        else:
            query_bhtd, key, value = _grouped(query_bhtd, key, value)
            bias = None
            if attention_mask is not None:  # bool -> what is added to the scores, in the query's type
                bias = torch.zeros_like(attention_mask, dtype=query_bhtd.dtype)
            if work.device == "cpu":
                out = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                    query_bhtd, key, value, 0.0, bias is None, attn_mask=bias, scale=scaling
                )[0]
                return out.transpose(1, 2).contiguous(), None
            if bias is not None:
                bias = bias.expand(-1, query_bhtd.shape[1], -1, -1)
            out = torch.ops.aten._scaled_dot_product_efficient_attention(
                query_bhtd, key, value, bias, True, dropout, bias is None, scale=scaling
            )[0]
        return out.transpose(1, 2).contiguous(), None

    name = f"rehearsed_{work.attention.name.replace('flash', 'fast')}"  # transformers reads "flash"
    AttentionInterface.register(name, attend)
    return name
