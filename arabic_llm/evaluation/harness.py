"""The door to lm-eval: the model in memory is asked the suite's items, each answer is kept."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lm_eval.evaluator import evaluate as harness_evaluate
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from arabic_llm.data import chat
from arabic_llm.data.chat import Codec
from arabic_llm.data.rows import Message
from arabic_llm.errors import DataError
from arabic_llm.evaluation import local, scoring
from arabic_llm.evaluation.prefixes import Request
from arabic_llm.evaluation.scorers import SCORERS
from arabic_llm.evaluation.scores import Evaluation, Item, Score
from arabic_llm.evaluation.statistics import standard_error
from arabic_llm.evaluation.suites import Chosen

log = logging.getLogger(__name__)
_FEWSHOT_SEED = 1234  # lm-eval's own default
_TOKENS_A_SEQUENCE = 64  # of a batch: what a pass of the scorer may take is counted in tokens


@dataclass(frozen=True)
class Limits:
    """How many sequences at once, how many tokens each, how many items of each task (None: all)."""

    batch_size: int
    max_length: int
    items: int | None


class ChatLM(HFLM):  # type: ignore[misc]
    """lm-eval's model class, with prompts rendered where training renders its rows."""

    def __init__(self, model: PreTrainedModel, codec: Codec, limits: Limits) -> None:
        """Take a model in memory and its codec."""
        super().__init__(
            pretrained=model,
            tokenizer=codec.tokenizer,
            batch_size=limits.batch_size,
            max_length=limits.max_length,
        )
        self._codec = codec
        opening = codec.tokenizer("", add_special_tokens=True)["input_ids"]
        self._opening = codec.tokenizer.decode(opening)
        self._answer_opening = chat.answer_opening(codec)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the conversation as data/chat.py renders it (lm-eval calls this)."""
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
        if not scoring.can_share(self.model):
            own: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, **options)
            return own
        asked = [self._request(*request) for request in requests]
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(asked)
        tokens = int(self.batch_size) * _TOKENS_A_SEQUENCE
        for scored in scoring.score(self.model, asked, range(len(asked)), tokens):
            answers[scored.request] = scored.answer
        return answers

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


def evaluate(
    model: PreTrainedModel,
    codec: Codec,
    chosen: Sequence[Chosen],
    limits: Limits,
    identity: tuple[dict[str, Any], dict[str, Any]],
) -> Evaluation:
    """Return the scores and items of a model; identity is (model, judged) of the evaluation."""
    started = time.monotonic()
    model.eval()
    judge = ChatLM(model, codec, limits)
    items: list[Item] = []
    for entry in chosen:
        items += _ask(judge, entry, limits.items)
    scores = [score for entry in chosen for score in _scores(entry, items)]
    return Evaluation(*identity, scores, items, round(time.monotonic() - started, 1))


def _ask(judge: ChatLM, entry: Chosen, limit: int | None) -> Iterator[Item]:
    for task in entry.leaves.values():
        task.set_config(key="num_fewshot", value=entry.settings.num_fewshot)
        task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    results = harness_evaluate(
        lm=judge,
        task_dict={"tasks": entry.leaves, "groups": {}, "group_map": {}},
        limit=limit,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=entry.settings.chat,
        fewshot_as_multiturn=entry.settings.chat,
    )
    for name, samples in results["samples"].items():
        for sample in samples:
            yield _item(name, sample, entry.settings.metrics)


def _item(task: str, sample: dict[str, Any], metrics: list[str]) -> Item:
    """Return what is kept of a sample of lm-eval."""
    common: dict[str, Any] = {
        "task": task,
        "id": f"{sample['doc_id']}-{sample['doc_hash'][:12]}",
        "question": local.question_of(sample["doc"]),
        "subject": local.subject_of(sample["doc"]),
        "scores": {metric: float(sample[metric]) for metric in metrics},
    }
    answers = sample["filtered_resps"]
    if isinstance(answers[0], str):  # generated
        return Item(target=str(sample["target"]), answer=answers[0], **common)
    choices = [continuation.strip() for _, continuation in sample["arguments"]]
    said = int(np.argmax([logprob for logprob, _ in answers]))
    target = sample["target"]
    wanted = choices.index(target) if isinstance(target, str) else int(target)
    return Item(
        target=choices[wanted],
        answer=choices[said],
        num_choices=len(choices),
        target_index=wanted,
        answer_index=said,
        **common,
    )


def _scores(entry: Chosen, items: list[Item]) -> Iterator[Score]:
    """Yield the score of each group, then of each task, in each metric of the suite.

    A group is the mean over all its items (micro), as lm-eval's own groups of these tasks are.
    """
    wholes = {**dict(reversed(entry.groups.items())), **{name: (name,) for name in entry.leaves}}
    for name, tasks in wholes.items():
        own = [item for item in items if item.task in tasks]
        versions = sorted({str(entry.leaves[task].VERSION) for task in tasks})
        for metric in entry.settings.metrics:
            values = np.array([item.scores[metric] for item in own])
            random, constant = _baselines(own, metric)
            yield Score(
                name,
                metric,
                n=len(own),
                value=float(values.mean()),
                stderr=standard_error(values),
                random=random,
                constant=constant,
                tasks=tasks,
                version=", ".join(versions),
            )


def _baselines(items: list[Item], metric: str) -> tuple[float, float | None]:
    """Return the scores of random answers and of the best constant one (None: it cannot be scored)."""
    if items[0].num_choices:
        random = float(np.mean([1 / item.num_choices for item in items]))
        position, _ = Counter(item.target_index for item in items).most_common(1)[0]
        return random, float(np.mean([item.target_index == position for item in items]))
    answer, _ = Counter(item.target for item in items).most_common(1)[0]
    if metric not in SCORERS:
        return 0.0, None
    return 0.0, float(np.mean([SCORERS[metric](answer, item.target) for item in items]))
