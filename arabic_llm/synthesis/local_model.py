"""A model on this machine, asked many things at once: batches by length, the same after a kill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.synthesize_task import SamplingConfig
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.evaluation import generating, rotary
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.generating import StopAtNotFinite
from arabic_llm.models import placement

# Shapes: B prompts of a batch, T tokens of the longest with padding before each.
_CURE = "lower task.sampling.batch_tokens or task.sampling.max_new_tokens"


@dataclass(frozen=True)
class Speaker:
    """A model in memory, how it talks, which tokens end what it says, and how much it sees."""

    model: PreTrainedModel
    codec: Codec
    ends: tuple[int, ...]
    max_length: int


def answer(
    speaker: Speaker, prompts: Sequence[tuple[str, list[int]]], sampling: SamplingConfig, kept: Answers
) -> None:
    """Answer (key, ids) of prompts that were not answered; each batch is on the disk before the next.

    Batches are of all prompts, answered or not, and each is drawn with a seed of its own: a run that was
    killed draws the same.
    """
    lengths = [len(ids) for _, ids in prompts]
    batches = list(by_length(lengths, sampling.batch_tokens, sampling.max_new_tokens))
    for batch in tqdm(batches, "asking the model", unit="batch"):
        some = [prompts[place] for place in batch]
        if all(key in kept for key, _ in some):
            continue
        said = _generated(speaker, some, sampling)
        kept.add({key: text for (key, _), text in zip(some, said, strict=True)})
        kept.flush()


def by_length(lengths: Sequence[int], batch_tokens: int, more: int = 0) -> Iterator[list[int]]:
    """Yield places of like lengths, the longest first, so that a batch with padding has so many tokens.

    `more` tokens come to each. What alone has more than that is a batch of its own.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        longest = lengths[batch[0]] if batch else 0
        if batch and (len(batch) + 1) * (longest + more) > batch_tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _generated(
    speaker: Speaker, some: Sequence[tuple[str, list[int]]], sampling: SamplingConfig
) -> list[str]:
    """Return what a model says to each prompt, without what ends it."""
    tokenizer = speaker.codec.tokenizer
    width = max(len(ids) for _, ids in some)
    pad = int(tokenizer.pad_token_id)
    ids_BT = torch.tensor([[pad] * (width - len(ids)) + ids for _, ids in some])  # noqa: N806 (shape suffix)
    mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for _, ids in some])  # noqa: N806
    torch.manual_seed(int(fingerprint([key for key, _ in some]), 16) % 2**63)
    rotary.forget_lengths(speaker.model)
    with (
        generating.neutral(speaker.model),
        placement.enough_memory("answering", _CURE),
        torch.inference_mode(),
    ):
        whole_BT = speaker.model.generate(  # noqa: N806
            input_ids=ids_BT.to(speaker.model.device),
            attention_mask=mask_BT.to(speaker.model.device),
            generation_config=_how(speaker, sampling, int(sampling.max_new_tokens)),
            logits_processor=LogitsProcessorList([StopAtNotFinite([key for key, _ in some])]),
        )
    return [_text(speaker, ids) for ids in whole_BT[:, width:].tolist()]


def _how(speaker: Speaker, sampling: SamplingConfig, most: int) -> GenerationConfig:
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=most,
        do_sample=bool(sampling.temperature),
        eos_token_id=list(speaker.ends),
        pad_token_id=speaker.codec.tokenizer.pad_token_id,
        **(drawn if sampling.temperature else {}),
    )


def _text(speaker: Speaker, ids: list[int]) -> str:
    end = next((at for at, token in enumerate(ids) if token in speaker.ends), len(ids))
    text: str = speaker.codec.tokenizer.decode(
        ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return text.strip()
