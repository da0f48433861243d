"""The model as lm-eval asks it: our prompts and our scorer, answers kept, batches that fit."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from tqdm import tqdm
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel

from arabic_llm import processes
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import chat_template
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError, DataError, HardwareError
from arabic_llm.evaluation import answers, decoding, generating, rotary, scoring
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.decoding import Beginning
from arabic_llm.evaluation.generating import StopAtNotFinite
from arabic_llm.evaluation.prefixes import Request
from arabic_llm.evaluation.prompts import Prompt, PromptBatch, in_batches
from arabic_llm.evaluation.requests import Lost, named
from arabic_llm.models.batching import TOKENS_OF_A_SEQUENCE

log = logging.getLogger(__name__)


class Room(Protocol):
    """What fits where a model is asked."""

    def at_once(self, context: int, *, generates: bool, grows: bool = False) -> int:
        """Return how many sequences fit whose longest has so many tokens, in a cache that grows or not."""


@dataclass(frozen=True)
class Limits:
    """How many sequences at once, how many tokens each, how many items of each task (None: all)."""

    batch_size: int
    max_length: int
    items: int | None
    room: Room | None = None  # what fits; none: always the batch

    def at_once(self, context: int, *, generates: bool, grows: bool = False) -> int:
        """Return how many sequences are run at once whose longest has so many tokens."""
        if self.room is None:
            return self.batch_size
        return self.room.at_once(context, generates=generates, grows=grows)


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
        self._answer_opening = chat_template.answer_opening(codec)
        self._names: list[str] = []  # of the requests that are being answered
        self.lost = Lost()

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the conversation as data/tokens/chat.py renders it (lm-eval calls this)."""
        messages = [Message(turn["role"], turn["content"]) for turn in chat_history]
        return chat_template.render(self._codec, messages, add_generation_prompt=add_generation_prompt)

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
        ids, answer = super()._encode_pair(context, continuation)
        if not answer:  # one token spans the join, and lm-eval cuts behind it
            spaces = context[len(context.rstrip()) :]
            answer = self.tok_encode(spaces + continuation, add_special_tokens=False)
        return ids or [self.prefix_token_id], answer

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return (log-probability, whether greedy decoding says it) of each answer to each prompt.

        Raises ModelError, naming the item, where it is not finite, and DataError for an answer of nothing.
        """
        self._names = list(map(named, requests))
        for request, name in zip(requests, self._names, strict=True):
            if not "".join(request.args):  # lm-eval would look for its first token
                raise DataError(f"{name}: neither a question nor an answer")
        answered: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        return answered

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **options: Any
    ) -> list[tuple[float, bool]]:
        """Return (log-probability, whether greedy decoding says it) of ids after ids, as HFLM does."""
        names = self._names if len(self._names) == len(requests) else [str(said) for said, *_ in requests]
        asked = [self._request(*request, name) for request, name in zip(requests, names, strict=True)]
        keys = [answers.key_of_scoring(request) for request in asked]
        missing = self._answers.missing([[key] for key in keys])
        missing.sort(key=lambda index: tuple(asked[index].read))  # neighbours share what they read
        missing = processes.share(missing, [len(asked[index].read) for index in missing])
        longest = max((len(request.read) for request in asked), default=0)
        if scoring.can_share(self.model, longest):
            tokens = self._limits.at_once(longest, generates=False) * TOKENS_OF_A_SEQUENCE
            scored = scoring.score(self.model, asked, missing, tokens)
        else:
            scored = self._scored_by_lm_eval(requests, missing, options)
        is_hidden = bool(options.get("disable_tqdm")) or not processes.is_main()
        for request, answer in tqdm(scored, "scoring", len(missing), unit="answer", disable=is_hidden):
            if not math.isfinite(answer[0]):
                self._refuse([asked[index] for index in missing], [names[index] for index in missing])
            generating.refuse(answer[0], names[request])
            self._answers.add({keys[request]: answer})
        self._answers.exchange([keys[index] for index in missing])
        return [(logprob, greedy) for logprob, greedy in (self._answers[key] for key in keys)]

    def _refuse(self, asked: list[Request], names: list[str]) -> None:
        """Refuse the first request without a finite answer by itself: what is read in one pass spreads."""
        for request, name in zip(asked, names, strict=True):
            rotary.forget_lengths(self.model)
            for _, (logprob, _) in scoring.score(self.model, [request], [0], len(request.read)):
                generating.refuse(logprob, name)

    def _scored_by_lm_eval(
        self, requests: list[tuple[Any, list[int], list[int]]], missing: list[int], options: dict[str, Any]
    ) -> Iterator[tuple[int, tuple[float, bool]]]:
        """Yield (index, answer) from lm-eval's own class, for models that cannot share."""
        longest = max((len(context) + len(answer) - 1 for _, context, answer in requests), default=0)
        is_alone = rotary.follow_length(self.model, min(longest, self.max_length))
        for some in _runs(missing, 1 if is_alone else int(self.batch_size)):
            rotary.forget_lengths(self.model)
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
        asked = [self._prompt(request, key) for request, key in zip(requests, keys, strict=True)]
        batches = list(self._batches(asked))
        missing = self._answers.missing([[keys[index] for index in batch.prompts] for batch in batches])
        mine = [batches[at] for at in missing[processes.rank() :: processes.count()]]
        beginning = Beginning(self.model)
        for batch in tqdm(mine, "generating", disable=disable_tqdm or not processes.is_main()):
            some = [asked[index] for index in batch.prompts]
            said = self._generate(some, batch.shared, beginning)
            self._answers.add({prompt.key: text for prompt, text in zip(some, said, strict=True)})
        self._answers.exchange([keys[index] for batch in mine for index in batch.prompts])
        return [self._answers[key] for key in keys]

    def _batches(self, asked: Sequence[Prompt]) -> Iterator[PromptBatch]:
        """Yield prompts in batches that fit with all that may be said to them."""

        def fit(first: Prompt) -> int:
            if rotary.follow_length(self.model, first.context):
                return 1
            grows = not self._is_ours(first)
            return self._limits.at_once(first.context, generates=True, grows=grows)

        return in_batches(asked, fit)

    def reached_limit(self, said: str, prompt: Any) -> bool:
        """Return whether the limit of tokens ended what was said to a prompt (text, settings).

        A text may be spelled in fewer tokens than it was said in: one short of the limit is at it.
        """
        return len(self.tok_encode(said)) >= self._most_said(prompt[1]) - 1

    def _most_said(self, settings: dict[str, Any]) -> int:
        """Return the tokens that an answer may have; a task has several names for the limit."""
        return int(normalize_gen_kwargs(settings, self.max_gen_toks)["max_gen_toks"])

    def _generate(self, some: list[Prompt], shared: tuple[int, ...], beginning: Beginning) -> list[str]:
        """Return what is said to some prompts, alike in their settings."""
        longest = max(some, key=lambda prompt: prompt.context)
        try:
            if self._is_ours(longest):
                return self._say(some, len(shared), beginning.read(shared))
            return self._said_by_lm_eval(some)
        except torch.OutOfMemoryError as error:
            if len(some) == 1:
                raise HardwareError(
                    "no memory to answer one prompt; take a smaller model or nf4"
                ) from error
            half = len(some) // 2
            log.info("out of memory: going on with %s prompts at once", half)
            halves = (some[:half], some[half:])
            return [text for each in halves for text in self._generate(each, shared, beginning)]

    def _is_ours(self, prompt: Prompt) -> bool:
        """Return whether we say it: the likeliest tokens, of a model that masks tell who sees whom."""
        return generating.is_greedy(prompt.settings) and scoring.can_share(self.model, prompt.context)

    def _say(self, some: list[Prompt], read: int, beginning: DynamicCache | None) -> list[str]:
        """Return the likeliest words, up to where lm-eval's class would have stopped for a prompt alone."""
        settings = normalize_gen_kwargs(some[0].settings, self.max_gen_toks)
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        until = handle_stop_sequences(settings["until"], eos=eos)
        wish = generating.wish(self.model, self.tokenizer, some[0].most, until)
        ids = [prompt.ids[read:] for prompt in some]
        said = decoding.say(self.model, ids, [prompt.name for prompt in some], wish, beginning)
        return [postprocess_generated_text(self.tok_decode(each), until, None) for each in said]

    def _said_by_lm_eval(self, some: list[Prompt]) -> list[str]:
        """Return what lm-eval's own class says; what is drawn at random is drawn alike each time."""
        self._names = [prompt.name for prompt in some]
        torch.manual_seed(int(fingerprint([prompt.key for prompt in some]), 16) % 2**63)
        rotary.forget_lengths(self.model)
        texts: list[str] = super().generate_until([p.request for p in some], disable_tqdm=True)
        return texts

    def _model_generate(self, context: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        """Return the ids of prompts and of what is said to them (lm-eval calls this)."""
        rows = len(context)
        names = self._names if len(self._names) == rows else [", ".join(self._names)] * rows
        guard = LogitsProcessorList([StopAtNotFinite(names)])
        with generating.neutral(self.model):
            ids: torch.Tensor = super()._model_generate(context, *args, logits_processor=guard, **options)
        return ids

    def _prompt(self, request: Any, key: str) -> Prompt:
        """Return what a request asks; a prompt too long loses its beginning, which is noted.

        Raises ConfigError where nothing would be left of it beside what may be said.
        """
        text, settings = request.args
        ids = self.tok_batch_encode([text])[0][0].tolist()
        new = self._most_said(settings)
        if (room := self.max_length - new) < 1:
            raise ConfigError(
                f"{named(request)}: answers of {new} tokens leave no room for the question in"
                f" model.max_length={self.max_length}; leave the task out, or take a model that sees more"
            )
        self.lost.note(request.args, len(ids) - room)
        return Prompt(request, key, tuple(ids[-room:]), len(ids) > room, new)

    def _request(self, said: Any, context: list[int], continuation: list[int], name: str) -> Request:
        """Return what is read for an answer; a context too long loses its beginning, as lm-eval has it."""
        if not 0 < len(continuation) <= self.max_length:
            raise DataError(
                f"{name}: an answer has {len(continuation)} tokens; it must have between 1 and"
                f" {self.max_length}: {said}"
            )
        self.lost.note(said, len(context) + len(continuation) - self.max_length - 1)
        return Request((context + continuation)[-(self.max_length + 1) : -1], continuation)

    def _is_opened(self, text: str) -> bool:
        return bool(self._opening) and text.startswith(self._opening)


def _runs(indices: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
