"""The model as lm-eval asks it: our prompts and our scorer, answers kept, batches that fit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm
from transformers import PreTrainedModel

from arabic_llm import processes
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import chat
from arabic_llm.data.tokens.chat import Codec
from arabic_llm.errors import DataError, HardwareError
from arabic_llm.evaluation import answers, scoring
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.prefixes import Request
from arabic_llm.models.batching import TOKENS_OF_A_SEQUENCE

log = logging.getLogger(__name__)


class Room(Protocol):
    """What fits where a model is asked."""

    def at_once(self, context: int, *, generates: bool) -> int:
        """Return how many sequences fit whose longest has so many tokens."""


@dataclass(frozen=True)
class Limits:
    """How many sequences at once, how many tokens each, how many items of each task (None: all)."""

    batch_size: int
    max_length: int
    items: int | None
    room: Room | None = None  # what fits; none: always the batch

    def at_once(self, context: int, *, generates: bool) -> int:
        """Return how many sequences are run at once whose longest has so many tokens."""
        return self.room.at_once(context, generates=generates) if self.room else self.batch_size


class ChatLM(HFLM):  # type: ignore[misc]
    """lm-eval's model class, with prompts rendered where training renders its rows."""

    def __init__(
        self, model: PreTrainedModel, codec: Codec, limits: Limits, kept: Answers | None = None
    ) -> None:
        """Take a model in memory, its codec, and what it answered before."""
        super().__init__(
            pretrained=model,
            tokenizer=codec.tokenizer,
            batch_size=limits.batch_size,
            max_length=limits.max_length,
        )
        self._codec, self._limits = codec, limits
        self._answers = kept or Answers()
        opening = codec.tokenizer("", add_special_tokens=True)["input_ids"]
        self._opening = codec.tokenizer.decode(opening)
        self._answer_opening = chat.answer_opening(codec)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the conversation as data/tokens/chat.py renders it (lm-eval calls this)."""
        messages = [Message(turn["role"], turn["content"]) for turn in chat_history]
        return chat.render(self._codec, messages, add_generation_prompt=add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:
        """Return the ids of a text; what a template has opened is not opened again.

        lm-eval looks for a BOS token there, and GLM-4 opens with two tokens that are none.
        """
        if add_special_tokens is None and self._is_opened(string):
            add_special_tokens = False
        ids: list[int] = super().tok_encode(string, add_special_tokens, **options)
        return ids

    def tok_batch_encode(self, strings: list[str], *args: Any, **options: Any) -> Any:
        """Return the padded ids and mask of texts, as tok_encode makes each of them."""
        before = self.add_bos_token
        self.add_bos_token: bool | None = False if self._is_opened(strings[0]) else before
        try:
            return super().tok_batch_encode(strings, *args, **options)
        finally:
            self.add_bos_token = before

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the ids of a prompt and of an answer to it, the answer as the template writes it."""
        if self._answer_opening and self._is_opened(context) and not continuation[:1].isspace():
            continuation = self._answer_opening + continuation
        pair: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
        return pair

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **options: Any
    ) -> list[tuple[float, bool]]:
        """Return (log-probability, whether greedy decoding says it) of ids after ids, as HFLM does."""
        asked = [self._request(*request) for request in requests]
        keys = [answers.key_of_scoring(request) for request in asked]
        missing = self._answers.missing([[key] for key in keys])
        missing.sort(key=lambda index: tuple(asked[index].read))  # neighbours share what they read
        missing = processes.share(missing, [len(asked[index].read) for index in missing])
        if scoring.can_share(self.model):
            longest = max((len(request.read) for request in asked), default=0)
            tokens = self._limits.at_once(longest, generates=False) * TOKENS_OF_A_SEQUENCE
            scored = scoring.score(self.model, asked, missing, tokens)
        else:
            scored = self._scored_by_lm_eval(requests, missing, options)
        is_hidden = bool(options.get("disable_tqdm")) or not processes.is_main()
        for request, answer in tqdm(scored, "scoring", len(missing), unit="answer", disable=is_hidden):
            self._answers.add({keys[request]: answer})
        self._answers.exchange([keys[index] for index in missing])
        return [(logprob, greedy) for logprob, greedy in (self._answers[key] for key in keys)]

    def _scored_by_lm_eval(
        self, requests: list[tuple[Any, list[int], list[int]]], missing: list[int], options: dict[str, Any]
    ) -> Iterator[tuple[int, tuple[float, bool]]]:
        """Yield (index, answer) from lm-eval's own class, for models that cannot share."""
        for some in _runs(missing, int(self.batch_size)):
            yield from zip(
                some,
                super()._loglikelihood_tokens(
                    [requests[i] for i in some], **options | {"disable_tqdm": True}
                ),
                strict=True,
            )

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the texts that the model says after each prompt, the longest prompts first."""
        prompts = [request.args for request in requests]  # (text, settings)
        keys = [answers.key_of_generation(text, how, self.max_length) for text, how in prompts]
        times: Counter[str] = Counter()
        for index, key in enumerate(keys):  # one asked twice is answered twice: it may be drawn at random
            keys[index] = f"{key}-{times[key]}"
            times[key] += 1
        lengths = [len(self.tok_encode(text)) for text, _ in prompts]
        order = sorted(range(len(requests)), key=lambda index: (-lengths[index], prompts[index][0]))
        # Batches are those of a run in one process that was never stopped: padding may tip a word.
        batches = list(self._batches(order, lengths, [how for _, how in prompts]))
        missing = self._answers.missing([[keys[index] for index in batch] for batch in batches])
        mine = [batches[at] for at in missing[processes.rank() :: processes.count()]]
        for batch in tqdm(mine, "generating", disable=disable_tqdm or not processes.is_main()):
            said = self._generate([requests[index] for index in batch])
            self._answers.add({keys[index]: text for index, text in zip(batch, said, strict=True)})
        self._answers.exchange([keys[index] for batch in mine for index in batch])
        return [self._answers[key] for key in keys]

    def _batches(
        self, order: list[int], lengths: list[int], settings: list[dict[str, Any]]
    ) -> Iterator[list[int]]:
        """Yield prompts, the longest first, in batches that fit with all that may be said to them."""
        start = 0
        while start < len(order):
            first = order[start]
            new: int = settings[first].get("max_gen_toks") or self.max_gen_toks
            context = min(lengths[first] + new, self.max_length)
            end = start + self._limits.at_once(context, generates=True)
            yield order[start:end]
            start = end

    def reached_limit(self, said: str, prompt: Any) -> bool:
        """Return whether the limit of tokens ended what was said to a prompt (text, settings).

        A text may be spelled in fewer tokens than it was said in: one short of the limit is at it.
        """
        limit = int(prompt[1].get("max_gen_toks", self.max_gen_toks))
        return len(self.tok_encode(said)) >= limit - 1

    def _generate(self, requests: list[Any]) -> list[str]:
        try:
            texts: list[str] = super().generate_until(requests, disable_tqdm=True)
        except torch.OutOfMemoryError as error:
            if len(requests) == 1:
                raise HardwareError(
                    "no memory to answer one prompt; take a smaller model or nf4"
                ) from error
            half = len(requests) // 2
            log.info("out of memory: going on with %s prompts at once", half)
            return self._generate(requests[:half]) + self._generate(requests[half:])
        return texts

    def _request(self, said: Any, context: list[int], continuation: list[int]) -> Request:
        """Return what is read for an answer; a context too long loses its beginning, as lm-eval has it."""
        if not 0 < len(continuation) <= self.max_length:
            raise DataError(
                f"an answer has {len(continuation)} tokens; it must have between 1 and {self.max_length}:"
                f" {said}"
            )
        return Request((context + continuation)[-(self.max_length + 1) : -1], continuation)

    def _is_opened(self, text: str) -> bool:
        return bool(self._opening) and text.startswith(self._opening)


def _runs(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
