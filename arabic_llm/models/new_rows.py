"""Rows of new tokens in a model: the mean of what each is made of, trained beside a table that stays.

PEFT keeps them (trainable_token_indices) and copies the whole table in every pass to put them in; here they
are written into it, so that a pass takes no second table. V words, N new ones, H hidden size, B batch,
T tokens.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils.other import TrainableTokensWrapper
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from arabic_llm.errors import ConfigError
from arabic_llm.models.load import HostEmbedding
from arabic_llm.models.vocabulary import NewTokens


def make(model: PreTrainedModel, new: NewTokens) -> None:
    """Give a model rows for new tokens, in its table and in its head, each the mean of its pieces' rows.

    Raises ConfigError for a table that is looked up in the host's memory.
    """
    if isinstance(model.get_input_embeddings(), HostEmbedding):
        raise ConfigError(
            "hw.embedding_on_host: new tokens train rows of the table, on the card; leave it out"
        )
    end = new.first + len(new)
    if model.get_input_embeddings().weight.shape[0] < end:
        model.resize_token_embeddings(end, mean_resizing=False)  # else drawn at random
    for module in _ends(model).values():
        for values in (
            module.weight.data,
            *(b.data for b in [getattr(module, "bias", None)] if b is not None),
        ):
            rows = [values[list(own)].float().mean(0) for own in new.pieces]
            values[new.first : end] = torch.stack(rows).to(values.dtype)


def indices(model: PreTrainedModel, ids: list[int]) -> dict[str, list[int]]:
    """Return which rows PEFT trains, by the name of the module: of a tied head those of its table."""
    return dict.fromkeys(_ends(model), ids)


def count(model: PreTrainedModel) -> int:
    """Return how many new tokens a model has whose rows are trained."""
    rows = (module.token_indices["default"] for module in model.modules() if isinstance(module, _Rows))
    return len(next(rows, ()))


def settle(model: PeftModel) -> None:
    """Let a model with rows of new tokens train them without a copy of its table, and save them alone."""
    own = {TrainableTokensLayer: _Rows, TrainableTokensWrapper: _Wrapped}
    for module in model.modules():
        module.__class__ = own.get(type(module), type(module))
    # PEFT would save the whole table with every checkpoint, since it is larger than the base model's.
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)


def _ends(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the modules with rows of tokens, by name: the table, and a head with weights of its own."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {id(module): name for name, module in model.named_modules()}
    found = {names[id(table)]: table}
    if head is not None and head.weight is not table.weight:
        found[names[id(head)]] = head
    return found


class _Wrapped(TrainableTokensWrapper):  # type: ignore[misc]
    """PEFT's wrapper of a table or a head, with all that the module in it has: of a head its bias."""

    def _hasattr_wrapped(self, name: str, modules: dict[str, nn.Module]) -> bool:
        return name == "weight" or hasattr(self.token_adapter.base_layer, name)

    def _getattr_wrapped(self, name: str, modules: dict[str, nn.Module]) -> Any:
        if name == "weight":
            return super()._getattr_wrapped(name, modules)
        return getattr(self.token_adapter.base_layer, name)


class _Rows(TrainableTokensLayer):  # type: ignore[misc]
    """PEFT's rows of tokens, where they are neighbours: in a table, or in the head that is tied to it."""

    def get_merged_weights(self, active_adapters: list[str]) -> torch.Tensor:
        """Return the table with the rows in it [V, H]; their gradient is its own."""
        table: torch.Tensor = self.base_layer.weight
        for name in active_adapters:
            table = _Written.apply(  # type: ignore[no-untyped-call]
                self.trainable_tokens_delta[name], table, self.token_indices[name][0]
            )
        return table

    def forward_adapters(
        self, x: torch.Tensor, active_adapters: list[str], *_: Any, **__: Any
    ) -> torch.Tensor:
        """Return vectors of tokens [B, T, H], or logits [B, T, V] where it is the head."""
        base: Any = self.base_layer
        if self.merged or self.disable_adapters or not active_adapters:
            for name, rows in self.trainable_tokens_original.items() if not self.merged else ():
                _write(base.weight, rows, self.token_indices[name][0])
        elif isinstance(base, nn.Linear):
            return functional.linear(x, self.get_merged_weights(active_adapters), base.bias)
        else:
            name = active_adapters[0]
            rows, first = self.trainable_tokens_delta[name], self.token_indices[name][0]
            _write(base.weight, rows, first)
            if torch.is_grad_enabled() and rows.requires_grad:
                return self._looked_up(x, rows, first)
        looked_up: torch.Tensor = base(x)
        return looked_up

    def _looked_up(self, ids_BT: torch.Tensor, rows_NH: torch.Tensor, first: int) -> torch.Tensor:  # noqa: N803
        """Return the vectors of tokens, with a gradient where they are of the rows."""
        old_BTH: torch.Tensor = self.base_layer(ids_BT)  # noqa: N806 (shape)
        number = ids_BT - first
        is_new = ((number >= 0) & (number < len(rows_NH)))[..., None]
        new_BTH = functional.embedding(number.clamp(0, len(rows_NH) - 1), rows_NH)  # noqa: N806 (shape)
        if (scale := self._get_embed_scale()) is not None:  # Gemma's
            new_BTH = new_BTH * scale.to(new_BTH.dtype)  # noqa: N806 (shape)
        return torch.where(is_new, new_BTH.to(old_BTH.dtype), old_BTH)


class _Written(torch.autograd.Function):
    """Rows written into a table: the table itself comes back, and of its gradient the rows get theirs."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, table: torch.Tensor, first: int) -> torch.Tensor:
        """Return the table."""
        _write(table, rows, first)
        ctx.span = slice(first, first + len(rows))
        ctx.dtype = rows.dtype
        return table.detach()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Return the gradient of the rows."""
        return gradient[ctx.span].to(ctx.dtype), None, None


def _write(table: torch.Tensor, rows: torch.Tensor, first: int) -> None:
    """Put rows into a table, past autograd: a pass that has read it reads the same ones on its way back."""
    with torch.no_grad():
        table.data[first : first + len(rows)] = rows.detach().to(table.dtype)
