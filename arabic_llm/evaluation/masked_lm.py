"""A masked language model as lm-eval asks it: answers scored by pseudo-log-likelihood, word by word.

A token is scored where it and the later tokens of its word are masked and all else stands (Kauf and Ivanova
2023, 2305.10588): with the rest of the word in sight a rare word of many pieces would look likely.
Shapes: R rows of a pass, T tokens of the longest, V vocabulary.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from lm_eval.api.model import LM
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arabic_llm import processes
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.errors import ConfigError, DataError, HardwareError
from arabic_llm.evaluation import generating, rotary
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.chat_lm import Limits
from arabic_llm.evaluation.requests import Lost, named
from arabic_llm.evaluation.suites import SuiteEntry
from arabic_llm.models.batching import TOKENS_OF_A_SEQUENCE
from arabic_llm.text.normalize import normalize

log = logging.getLogger(__name__)
# Part of what was judged: such a score is never held against that of a causal model.
SCORING = "pseudo-log-likelihood, words from left to right (2305.10588); plain prompts, encoder profile"
NOT_APPLICABLE = "a masked language model scores given answers and says none of its own"
_SCORED_TASKS = ("multiple_choice", "loglikelihood")
Answer = tuple[float, bool]  # summed log-probability, and whether each token is the likeliest in its place


@dataclass(frozen=True)
class MaskedRequest:
    """Ids with their special tokens, and for each token of the answer the places masked when it is scored.

    The first of the places is the token's own.
    """

    ids: tuple[int, ...]
    masked: tuple[range, ...]


class MaskedRow(NamedTuple):
    """One input of the model, with its masks, and the place where a token is asked for."""

    ids: bytes  # of int64
    place: int


def applicable(chosen: Sequence[SuiteEntry], name: str) -> tuple[list[SuiteEntry], dict[str, str]]:
    """Return the tasks with given answers, without chat, and the names of the others with the reason.

    Raises ConfigError when no task is left.
    """
    kept, others = [], {}
    for entry in chosen:
        leaves = {n: task for n, task in entry.leaves.items() if task.OUTPUT_TYPE in _SCORED_TASKS}
        if not leaves:
            others[entry.name] = NOT_APPLICABLE
            continue
        others.update(dict.fromkeys(entry.leaves.keys() - leaves.keys(), NOT_APPLICABLE))
        groups = {group: tuple(n for n in names if n in leaves) for group, names in entry.groups.items()}
        groups = {group: names for group, names in groups.items() if names}
        plain = replace(entry.settings, chat=False)
        kept.append(replace(entry, settings=plain, leaves=leaves, groups=groups))
    if not kept:
        raise ConfigError(
            f"all tasks of this suite generate text ({', '.join(others)}) and model={name} cannot:"
            f" {NOT_APPLICABLE}; choose a suite with choices, or a causal model"
        )
    return kept, dict(sorted(others.items()))


def likelihoods(
    logits_rv: torch.Tensor, at: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities of tokens in rows of logits, and whether each is the likeliest."""
    normalisers = logits_rv.logsumexp(-1)
    return logits_rv[at, tokens] - normalisers[at], logits_rv.argmax(-1)[at] == tokens


class MaskedLM(LM):  # type: ignore[misc]
    """lm-eval's model class: what it asks of a causal model, answered by one that sees both sides."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        limits: Limits,
        kept: Answers | None = None,
    ) -> None:
        """Take a model in memory, its fast tokenizer, and what it answered before."""
        super().__init__()
        self._model, self._tokenizer = model, tokenizer
        self._room = limits.max_length - 2  # for CLS and SEP
        self._limits, self._tokens = limits, 0  # of a pass
        self._answers = kept or Answers()
        self.lost = Lost()

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Answer]:
        """Return (pseudo-log-likelihood, whether each token is the likeliest) of answers after contexts.

        Raises ModelError, naming the item, where it is not finite.
        """
        questions = [self.question(*request.args) for request in requests]
        keys = [fingerprint([q.ids, [[m.start, m.stop] for m in q.masked]]) for q in questions]
        longest = max((len(question.ids) for question in questions), default=0)
        self._tokens = self._limits.at_once(longest, generates=False) * TOKENS_OF_A_SEQUENCE
        missing = self._answers.missing([[key] for key in keys])
        mine = processes.share(missing, [len(questions[index].ids) for index in missing])
        is_hidden = disable_tqdm or not processes.is_main()
        scored = self._score(questions, set(mine))
        for index, answer in tqdm(scored, "scoring", len(mine), unit="answer", disable=is_hidden):
            generating.refuse(answer[0], named(requests[index]))
            self._answers.add({keys[index]: answer})
        self._answers.exchange([keys[index] for index in mine])
        return [(logprob, greedy) for logprob, greedy in (self._answers[key] for key in keys)]

    def loglikelihood_rolling(self, requests: list[Any]) -> NoReturn:
        """Refuse (lm-eval demands the method; `applicable` has left such tasks out)."""
        raise ConfigError(NOT_APPLICABLE)

    def generate_until(self, requests: list[Any]) -> NoReturn:
        """Refuse (lm-eval demands the method; `applicable` has left such tasks out)."""
        raise ConfigError(NOT_APPLICABLE)

    def question(self, context: str, answer: str) -> MaskedRequest:
        """Return what is read and masked for an answer; a context too long loses its beginning.

        Raises DataError for an answer without tokens, or with more than the model can see.
        """
        # Whitespace stays: it is what parts the answer from its context, and the tokenizer drops it.
        said = context, answer
        context, answer = (normalize(text, "encoder", ("single_spaces",)) for text in (context, answer))
        encoded = self._tokenizer(context + answer, add_special_tokens=False, return_offsets_mapping=True)
        ids, words = encoded["input_ids"], encoded.word_ids()
        num = sum(end > len(context) for _, end in encoded["offset_mapping"])
        if not 0 < num <= self._room:
            raise DataError(
                f"an answer has {num} tokens; it must have between 1 and {self._room}: {context}{answer}"
            )
        kept = ids[-self._room :]
        self.lost.note(said, len(ids) - len(kept))
        shift = 1 + len(kept) - len(ids)  # of places: CLS comes first, the beginning may go
        masked = []
        for place in range(len(ids) - num, len(ids)):
            end = next((at for at in range(place, len(ids)) if words[at] != words[place]), len(ids))
            masked.append(range(place + shift, end + shift))
        around = (self._tokenizer.cls_token_id, *kept, self._tokenizer.sep_token_id)
        return MaskedRequest(around, tuple(masked))

    def _score(self, questions: Sequence[MaskedRequest], asked: set[int]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) of the asked questions as they come.

        Rows that several questions share are run once: answers of one token differ in nothing else. The
        rows of all questions make the batches, so that they are those of a run that was never stopped.
        """
        wanted: dict[MaskedRow, list[tuple[int, int]]] = defaultdict(list)  # (question, token asked for)
        for index, question in enumerate(questions):
            for row, token in self._rows(question):
                wanted[row].append((index, token))
        left = {index: len(questions[index].masked) for index in asked}
        logprobs: dict[int, list[float]] = defaultdict(list)
        greedy = dict.fromkeys(asked, True)
        for batch in self._batches(sorted(wanted, key=lambda row: (-len(row.ids), row))):
            pairs = [(at, *one) for at, row in enumerate(batch) for one in wanted[row] if one[0] in asked]
            if not pairs:
                continue
            for (_, index, _), (logprob, is_likeliest) in zip(pairs, self._run(batch, pairs), strict=True):
                logprobs[index].append(logprob)
                greedy[index] &= is_likeliest
                left[index] -= 1
                if not left[index]:
                    yield index, (math.fsum(logprobs.pop(index)), greedy.pop(index))

    def _rows(self, question: MaskedRequest) -> Iterator[tuple[MaskedRow, int]]:
        """Yield, for each token of the answer, the input in which it is masked, and the token."""
        for masked in question.masked:
            ids = np.array(question.ids, dtype=np.int64)
            ids[masked.start : masked.stop] = self._tokenizer.mask_token_id
            yield MaskedRow(ids.tobytes(), masked.start), question.ids[masked.start]

    def _batches(self, rows: Sequence[MaskedRow]) -> Iterator[list[MaskedRow]]:
        """Yield the rows, the longest first, in batches of at most so many tokens with their padding."""
        start = 0
        while start < len(rows):
            is_alone = rotary.follow_length(self._model, _length(rows[start]))
            end = start + (1 if is_alone else max(1, self._tokens // _length(rows[start])))
            yield list(rows[start:end])
            start = end

    def _run(self, rows: Sequence[MaskedRow], pairs: Sequence[tuple[int, int, int]]) -> list[Answer]:
        """Return (log-probability, whether it is the likeliest) of tokens; pairs are (row, _, token).

        Raises HardwareError when not even one row fits into the memory.
        """
        try:
            logits_rv = self._logits(rows)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise HardwareError(
                    f"no memory to score {_length(rows[0])} tokens at once; free some, or take a smaller"
                    " model"
                ) from error
            log.info("out of memory: going on with %s rows at once", len(rows) // 2)
        else:
            at, tokens = torch.tensor([(row, token) for row, _, token in pairs], device=logits_rv.device).T
            logprobs, is_likeliest = likelihoods(logits_rv, at, tokens)
            return list(zip(logprobs.tolist(), is_likeliest.tolist(), strict=True))
        half = len(rows) // 2
        first = [pair for pair in pairs if pair[0] < half]
        rest = [(row - half, index, token) for row, index, token in pairs if row >= half]
        return self._run(rows[:half], first) + self._run(rows[half:], rest)

    def _logits(self, rows: Sequence[MaskedRow]) -> torch.Tensor:
        """Return the logits at the asked place of each row (R, V), in float32."""
        ids_rt = np.full((len(rows), _length(rows[0])), self._tokenizer.pad_token_id, dtype=np.int64)
        is_read_rt = np.zeros_like(ids_rt)
        for at, row in enumerate(rows):
            ids_rt[at, : _length(row)] = np.frombuffer(row.ids, dtype=np.int64)
            is_read_rt[at, : _length(row)] = 1
        device = self._model.device
        rotary.forget_lengths(self._model)
        with torch.inference_mode(), head_only_at(self._model, [row.place for row in rows]):
            logits = self._model(
                input_ids=torch.from_numpy(ids_rt).to(device),
                attention_mask=torch.from_numpy(is_read_rt).to(device),
            ).logits
        return torch.as_tensor(logits).float()


@contextmanager
def head_only_at(model: PreTrainedModel, places: Sequence[int]) -> Iterator[None]:
    """Give the decoder one place of each row: over all of them it costs more than half of BERT-base."""
    rows = torch.arange(len(places), device=model.device)
    at = torch.tensor(places, device=model.device)
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0][rows, at],))
    try:
        yield
    finally:
        hook.remove()


def _length(row: MaskedRow) -> int:
    return len(row.ids) // np.dtype(np.int64).itemsize
