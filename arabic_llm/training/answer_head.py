"""Log-probabilities of a batch's labels, computed where there is a label and at no other position.

Of real rows a fifth of the positions has one; the rest is prompt and padding. B sequences of T tokens, of
which S = T - 1 predict one; N labels; H hidden size, V vocabulary.
"""

from __future__ import annotations

import functools
import types
from typing import Any
from unittest import mock

import torch
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy, linear
from transformers import PreTrainedModel
from transformers.modeling_outputs import MoeModelOutputWithPast
from transformers.utils import is_triton_available
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer.utils import FusedCausalLMOutput

from arabic_llm.data.tokens.chat import IGNORED
from arabic_llm.models.head import weight_and_bias
from arabic_llm.models.host_head import HostTable
from arabic_llm.training.tiled_head import Logits, TiledLogProbs

_TILE_WORDS = 32768  # of TRL's kernels
_LOOKED_AT, _ROUNDING = 256, 0.05  # words of a head, and how far apart 16 bits may put its logits


def install(model: PreTrainedModel) -> None:
    """Let a forward pass that is asked for `fused_lm_head`, as TRL's trainers ask, score labels alone.

    TRL's own scores every position where Triton is not. Asked for nothing, the pass is the model's own.
    A mixture of experts is left to TRL, whose loss has a part for their balance.
    """
    model = getattr(model, "get_base_model", lambda: model)()
    inner, logits, text = model.forward, Logits.of(model.config), model.config.get_text_config()
    is_product = _is_product(model, logits)

    @functools.wraps(type(model).forward)  # generate() reads the signature
    def forward(self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, **options: Any) -> Any:
        if not fused_lm_head:
            return inner(*args, **options)
        if getattr(text, "output_router_logits", False):
            return inner(*args, fused_lm_head=True, **options)
        labels, count = options.pop("labels")[:, 1:], options.pop("num_items_in_batch", None)
        options["use_cache"] = False
        # Looked up at each call: PEFT and FSDP replace them.
        head = weight_and_bias(self.get_output_embeddings()) if is_product else None
        if head is None:
            log_probs = _of_logits(inner(*args, **options).logits, labels)
        else:
            hidden = self.base_model(*args, **options).last_hidden_state
            log_probs = of_labels(hidden, head, labels, logits)
        count = torch.as_tensor((labels != IGNORED).sum() if count is None else count)
        return FusedCausalLMOutput(loss=-log_probs.sum() / count.clamp(min=1), log_probs=log_probs)

    model.forward = types.MethodType(forward, model)


def _is_product(model: PreTrainedModel, logits: Logits) -> bool:
    """Return whether logits are the head's product with the last hidden states, and what `logits` knows.

    Asked of the model's own code, with a state that was drawn in place of its layers'. Where it is not so,
    as with ModernBERT's decoder, which has one layer more, or cannot be seen, logits are the model's own.
    """
    head = weight_and_bias(model.get_output_embeddings())
    if head is None or model.base_model is model:
        return False
    weight, bias = head[0][:_LOOKED_AT], head[1]  # as they are where they are used
    if weight.device.type == "meta":  # a rehearsal, which has no values
        return True
    state = torch.randn(1, 1, weight.shape[1], generator=torch.Generator().manual_seed(0)).to(weight)
    passed = MoeModelOutputWithPast(last_hidden_state=state)
    label = torch.zeros(1, 1, dtype=torch.long, device=weight.device)
    with torch.no_grad(), mock.patch.object(model.base_model, "forward", lambda *_, **__: passed):
        try:
            own = model(input_ids=label).logits.flatten()
        except (AttributeError, LookupError, TypeError, ValueError, RuntimeError):
            return False
        found = linear(state, weight, None if bias is None else bias[:_LOOKED_AT]).flatten() * logits.factor
    found = found if logits.cap is None else logits.cap * torch.tanh(found / logits.cap)
    return bool((own[: len(found)] - found).abs().max() <= _ROUNDING * found.abs().max())


def of_labels(
    hidden: torch.Tensor,
    head: tuple[torch.Tensor, torch.Tensor | None],
    labels: torch.Tensor,
    logits: Logits,
) -> torch.Tensor:
    """Return the log-probability of each label [B, S], with its gradient; 0 where there is none.

    Of hidden states [B, T, H], the head's weight [V, H] and bias [V], and labels of what comes next [B, S].
    """
    weight, bias = _whole(head[0]), None if head[1] is None else _whole(head[1])
    device = weight.goes_to if isinstance(weight, HostTable) else weight.device
    labels = labels.to(device)
    places = _places(labels)
    kept = _at(hidden.to(device), places, labels)
    targets = labels.flatten().index_select(0, places)
    if _has_kernels(hidden.device):
        how = (1.0, _TILE_WORDS, logits.cap, logits.factor, ())  # a temperature of 1, and no more outputs
        found = ChunkedLogProbFunction.apply(kept, weight, bias, targets, *how)[0]
    else:
        learns = torch.is_grad_enabled()
        weight = weight[:] if isinstance(weight, HostTable) else weight
        found = TiledLogProbs.apply(kept, weight, bias, targets, (logits, learns))  # type: ignore[no-untyped-call]
    return _spread(found, places, labels)


def _whole(part: torch.Tensor) -> torch.Tensor:
    """Return a weight, or where FSDP has shared it out all of it."""
    return part.full_tensor() if isinstance(part, DTensor) else part


def num_labels(labels: torch.Tensor) -> int:
    """Return how many labels [B, T] the loss counts: of tokens, not the first one of a row."""
    return int((labels[:, 1:] != IGNORED).sum())


def _of_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the same of all logits [B, T, V]: of a head that is more than a product."""
    labels = labels.to(logits.device)
    places = _places(labels)
    targets = labels.flatten().index_select(0, places)
    kept = _at(logits, places, labels)
    kept = kept.to(torch.promote_types(kept.dtype, torch.float32))
    found = -cross_entropy(kept, targets, reduction="none")
    return _spread(found, places, labels)


def _places(labels: torch.Tensor) -> torch.Tensor:
    """Return which of the positions [B x S] have a label [N]."""
    return (labels != IGNORED).flatten().nonzero().squeeze(1)


def _at(states: torch.Tensor, places: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the states [N, ...] at these of the positions [B x S], of all [B, T, ...]."""
    return states.flatten(0, 1).index_select(0, places + places // labels.shape[1])


def _spread(found: torch.Tensor, places: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return what was found at these places [N], and 0 elsewhere [B, S]; also of none it has a gradient."""
    return found.new_zeros(labels.numel()).index_copy(0, places, found).view(labels.shape)


def _has_kernels(device: torch.device) -> bool:
    """Return whether TRL's kernels run there: they fold a tile in one pass, and need no tensor for it."""
    return device.type == "cuda" and bool(is_triton_available())
