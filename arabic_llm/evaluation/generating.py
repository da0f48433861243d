"""How answers are generated: as the task asks, whatever the checkpoint's generation_config.json says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from arabic_llm.errors import ModelError

_OF_GREEDY = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p"}


@dataclass(frozen=True)
class Wish:
    """What is to be said: at most so many tokens, until one of the ends or one of some texts."""

    most: int
    ends: frozenset[int]
    until: Sequence[str]
    tokenizer: PreTrainedTokenizerBase
    looks_back: int  # tokens in which one of the texts may be

    def has_ended(self, said: Sequence[int]) -> bool:
        """Return whether nothing more is said after these ids."""
        if said[-1] in self.ends or len(said) >= self.most:
            return True
        if not self.until:
            return False
        end = self.tokenizer.decode(said[-self.looks_back :])
        return any(text in end for text in self.until)


def wish(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, most: int, until: Sequence[str]
) -> Wish:
    """Return when an answer has ended: where lm-eval's class ends it that is asked for it alone."""
    own = model.generation_config.eos_token_id
    ends = frozenset([] if own is None else [own] if isinstance(own, int) else own)
    # Two tokens more than a text has: it may be said in others (lm-eval, MultiTokenEOSCriteria).
    lengths = (len(tokenizer.encode(text, add_special_tokens=False)) for text in until)
    return Wish(most, ends, until, tokenizer, 2 + max(lengths, default=0))


def is_greedy(settings: dict[str, Any]) -> bool:
    """Return whether the likeliest token is said each time, and nothing is asked beyond that."""
    given = normalize_gen_kwargs(settings)
    return not given.get("do_sample") and given.keys() <= _OF_GREEDY


@contextmanager
def neutral(model: PreTrainedModel) -> Iterator[None]:
    """Let a model generate without its checkpoint's penalties, limits, forced and forbidden tokens.

    Only the tokens that end an answer stay. A configuration given to generate() would not do: transformers
    fills what it leaves open from the model's own.
    """
    own = model.generation_config
    ends = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    # An adapter hands the configuration on to the model it stands on.
    holders = [module for module in {model, *model.modules()} if "generation_config" in vars(module)]
    before = [vars(module)["generation_config"] for module in holders]
    for module in holders:
        module.generation_config = GenerationConfig(**ends)
    try:
        yield
    finally:
        for module, config in zip(holders, before, strict=True):
            module.generation_config = config


class StopAtNotFinite(LogitsProcessor):  # type: ignore[misc]
    """Ends a generation at logits that are not finite: the likeliest of them would be any token."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take what each row of the batch answers."""
        self._names = names

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the logits [rows, V] as they are. Raises ModelError where none of a row's is the highest.

        An infinity below is no fault: a model may rule tokens out by it.
        """
        highest = scores.amax(-1)  # nan, where any is
        if not highest.isfinite().all():
            row = int((~highest.isfinite()).nonzero()[0])
            refuse(float(highest[row]), self._names[row])
        return scores


def refuse(value: float, name: str) -> None:
    """Refuse an answer's log-probability, or a logit, that is not finite; it is named by task and item."""
    if not math.isfinite(value):
        raise ModelError(
            f"{name}: the model's logits are not finite there ({value}), so it has no answer; its weights,"
            " or hw.precision, are at fault"
        )
