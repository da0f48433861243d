"""Whether a benchmark's own code scores at all: tried on made-up answers before a model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LIKELY, _UNLIKELY = (-1.0, True), (-2.0, False)  # log-probability, whether greedy decoding says it
_KINDS = ("multiple_choice", "loglikelihood", "generate_until")


def score(task: Any) -> None:
    """Score a task's first document on a few made-up answers, until one of them has a score.

    Raises what the task's code raises where none has: a scorer that cannot do with one answer, the empty
    one or a wrong one, may never meet it.
    """
    document = next(iter(task.eval_docs), None)
    if document is None or task.OUTPUT_TYPE not in _KINDS:
        return
    if task.OUTPUT_TYPE == "generate_until":
        texts = (str(task.doc_to_target(document)), "1", "")
        answers: list[tuple[Any, Any]] = [(text, text) for text in texts]
    else:
        answers = [(_LIKELY, _UNLIKELY), (_UNLIKELY, _LIKELY)]
    _any_of(task, document, answers)


def _any_of(task: Any, document: Any, answers: Sequence[tuple[Any, Any]]) -> None:
    try:
        _score(task, document, answers[0])
    except Exception:
        if len(answers) == 1:
            raise
        _any_of(task, document, answers[1:])


def _score(task: Any, document: Any, answer: tuple[Any, Any]) -> None:
    """Score a document as lm-eval does; its first request has the first answer, the others the second."""
    text = task.doc_to_text(document)
    made = task.construct_requests(
        doc=document,
        ctx=text if isinstance(text, str) else "",
        metadata=(task.config.task, 0, 1),
        apply_chat_template=False,
        chat_template=None,
    )
    requests = made if isinstance(made, list) else [made]
    for at, request in enumerate(requests):
        request.resps = [answer[min(at, 1)]]
    for each in task._filters:
        each.apply(requests)
    for name in requests[0].filtered_resps:
        task.process_results(document, [request.filtered_resps[name] for request in requests])
