"""The door to lm-eval: the model in memory is asked the suite's items, each answer is kept."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate as harness_evaluate
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from arabic_llm.analysis import aggregate, kappa
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import KAPPA
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.evaluation import examples, foreign, made_up, variants
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.evaluation.masked_lm import MaskedLM
from arabic_llm.evaluation.question import Question
from arabic_llm.evaluation.suites import SuiteEntry


def evaluate(
    model: PreTrainedModel,
    codec: Codec | PreTrainedTokenizerBase,
    chosen: Sequence[SuiteEntry],
    limits: Limits,
    identity: tuple[dict[str, Any], dict[str, Any]],
    kept: Answers | None = None,
) -> Evaluation:
    """Return the scores and items of a model; identity is (model, judged) of the evaluation.

    A causal model comes with its codec, a masked one with its tokenizer.

    judged["overall"], where there is one, names the mean over all that was chosen.
    `kept` holds what the model answered before, and takes what it answers now.
    """
    started = time.monotonic()
    model.eval()
    asked = ChatLM if isinstance(codec, Codec) else MaskedLM
    judge = asked(model, codec, limits, kept)
    for entry in chosen:
        with foreign.benchmark(entry.name):
            for task in entry.leaves.values():
                made_up.score(task)
    items: list[Item] = []
    for entry in chosen:
        with foreign.benchmark(entry.name):
            items += _ask(judge, entry, entry.limit(limits.items))
    benchmarks = [entry.benchmark() for entry in chosen]
    scores = [score for benchmark in benchmarks for score in aggregate.scores(benchmark, items)]
    if identity[1].get("prompt_variants"):
        scores = variants.beside(scores, chosen, _in_other_prompts(judge, chosen, limits.items))
    if overall := identity[1].get("overall"):
        scores.append(aggregate.overall(overall, benchmarks, items))
    return Evaluation(*identity, scores, items, round(time.monotonic() - started, 1))


def _in_other_prompts(
    judge: LM, chosen: Sequence[SuiteEntry], limit: int | None
) -> dict[str, list[tuple[str, float]]]:
    """Return what each task and group scores in each other prompt that it can be asked in."""
    prompts: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for entry in chosen:
        for prompt, asked_so in variants.of(entry):
            with foreign.benchmark(entry.name):
                items = list(_ask(judge, asked_so, entry.limit(limit)))
            for name, value in variants.add_up(entry, items).items():
                prompts[name].append((prompt, value))
    return prompts


def _ask(judge: LM, entry: SuiteEntry, limit: int | None) -> Iterator[Item]:
    with ExitStack() as drawn:
        for task in entry.leaves.values():
            drawn.enter_context(examples.of_others(task, entry.settings.num_fewshot))
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
        task = entry.leaves[name]
        has_shots = entry.settings.num_fewshot > 0
        shots = set(examples.shown(task)) if has_shots else set()
        by_document: dict[int, dict[str, Any]] = defaultdict(dict)
        for sample in samples:
            by_document[sample["doc_id"]][sample["filter"]] = sample
        for filtered in by_document.values():
            sample = next(iter(filtered.values()))
            question = entry.questions[name][sample["doc_id"]]
            item = _item(task, filtered, question, entry.settings.metrics)
            asked = examples.asked(task, sample["doc"])
            is_generated = not item.num_choices
            is_cut = is_generated and judge.reached_limit(sample["resps"][0][0], sample["arguments"][0])
            yield replace(
                item,
                prompt_hash=fingerprint(asked),
                is_shot=asked in shots,
                is_cut=is_cut,
                lost_tokens=judge.lost.of(sample["arguments"]),
            )


def _item(task: Any, filtered: dict[str, dict[str, Any]], question: Question, metrics: list[str]) -> Item:
    """Return what is kept of lm-eval's samples of one document, one for each filter of the task's."""
    sample = _of_filter(filtered, metrics[0])
    common: dict[str, Any] = {
        "task": task.config.task,
        "id": f"{sample['doc_id']}-{sample['doc_hash'][:12]}",
        "question": question.text,
        "subject": question.subject,
        "context": question.context,
        "level": question.level,
        "scores": {m: float(_of_filter(filtered, m)[m.partition(",")[0]]) for m in metrics if m != KAPPA},
    }
    responses = sample["filtered_resps"]
    if isinstance(responses[0], str):  # generated
        return Item(target=str(sample["target"]), answer=responses[0], **common)
    choices = [continuation.strip() for _, continuation in sample["arguments"]]
    as_asked = choices if getattr(task, "multiple_input", False) else task.doc_to_choice(sample["doc"])
    lacked = _lacked(metrics[0], as_asked, [logprob for logprob, _ in responses])
    said = int(np.argmin(lacked))
    target = sample["target"]
    right = [
        choices.index(one.strip()) if isinstance(one, str) else int(one)
        for one in (target if isinstance(target, list) else [target])
    ]
    wanted = said if said in right else right[0]
    if KAPPA in metrics:
        close = kappa.closeness(wanted, said, len(choices))
        common["scores"] = {m: close if m == KAPPA else common["scores"][m] for m in metrics}
    return Item(
        target=choices[wanted],
        answer=choices[said],
        num_choices=len(choices),
        target_index=wanted,
        answer_index=said,
        options=question.options if len(question.options) == len(choices) else tuple(choices),
        lacked=tuple(lacked.round(4).tolist()),
        **common,
    )


def _of_filter(filtered: dict[str, dict[str, Any]], metric: str) -> dict[str, Any]:
    """Return the sample that a metric is read from: "exact_match,strict-match", or that of the first."""
    _, _, name = metric.partition(",")
    return filtered[name] if name else next(iter(filtered.values()))


def _lacked(metric: str, choices: Sequence[str], logprobs: list[float]) -> npt.NDArray[np.float64]:
    """Return the nats that each choice lacked to be the answer; the first that lacked none is the answer.

    That is the likeliest choice, for acc_norm the likeliest by letter, as lm-eval has it.
    """
    lengths = np.array([len(choice) if metric == "acc_norm" else 1 for choice in choices])
    weights = np.array(logprobs) / lengths
    return np.asarray((weights.max() - weights) * lengths, np.float64)
