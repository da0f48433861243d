"""The door to lm-eval: the model in memory is asked the suite's items, each answer is kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from lm_eval.evaluator import evaluate as harness_evaluate
from transformers import PreTrainedModel

from arabic_llm.data.chat import Codec
from arabic_llm.evaluation import local
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.evaluation.scorers import SCORERS
from arabic_llm.evaluation.scores import Evaluation, Item, Score
from arabic_llm.evaluation.statistics import standard_error
from arabic_llm.evaluation.suites import Chosen

_FEWSHOT_SEED = 1234  # lm-eval's own default


def evaluate(
    model: PreTrainedModel,
    codec: Codec,
    chosen: Sequence[Chosen],
    limits: Limits,
    identity: tuple[dict[str, Any], dict[str, Any]],
    kept: Answers | None = None,
) -> Evaluation:
    """Return the scores and items of a model; identity is (model, judged) of the evaluation.

    `kept` holds what the model answered before, and takes what it answers now.
    """
    started = time.monotonic()
    model.eval()
    judge = ChatLM(model, codec, limits, kept)
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
    responses = sample["filtered_resps"]
    if isinstance(responses[0], str):  # generated
        return Item(target=str(sample["target"]), answer=responses[0], **common)
    choices = [continuation.strip() for _, continuation in sample["arguments"]]
    said = int(np.argmax([logprob for logprob, _ in responses]))
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
