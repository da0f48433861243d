"""Answers that somebody preferred or rated as sequences: the whole prompt, and the last answer learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from arabic_llm.config.data import Overflow
from arabic_llm.config.preference_task import KtoConfig, PairConfig
from arabic_llm.config.task import Form, TaskConfig
from arabic_llm.data.rows import UP, Message, Row
from arabic_llm.data.tokens import chat
from arabic_llm.data.tokens.chat import IGNORED, TokenRow, control_token, encode_chat, prompt_length
from arabic_llm.data.tokens.chat_template import Codec

NO_PAIR = "no rejected answer"  # why a row is no pair
NO_RATING = "neither a rating nor a rejected answer"
TOO_LONG = "a side"  # how the reason begins why a row is lost to its length: none is cut
_LEAST_UP, _MOST_UP = 0.99, 1.34  # of what answers that are rated down weigh together, those rated up
_NOT_LEARNED = "its better answer is not to be learned"


def form_of(task: TaskConfig) -> Form:
    """Return what a task learns of a row."""
    if isinstance(task, KtoConfig):
        return Form.ratings
    return Form.pairs if isinstance(task, PairConfig) else Form.answers


def encoder(codec: Codec, form: Form, overflow: Overflow) -> Callable[..., list[TokenRow] | str]:
    """Return what makes a row (and max_length) sequences, or says why it has none."""
    if form is Form.answers:
        return partial(chat.encode, codec, overflow=overflow)
    return partial(as_pair if form is Form.pairs else as_rated, codec)


def num_sequences(task: TaskConfig, rows: Sequence[Row]) -> int:
    """Return how many sequences a task counts in some rows: pairs are two, where each answer is rated."""
    return len(rows) + sum(bool(row.rejected) for row in rows) * isinstance(task, KtoConfig)


def told(task: TaskConfig, rows: Sequence[TokenRow]) -> list[str]:
    """Return what settings of a preference task come to on these rows, before the first step."""
    if isinstance(task, PairConfig) and task.length_penalty:
        moved = [
            task.length_penalty * (_num_learned(one) - _num_learned(two)) for one, two in _labels(rows)
        ]
        mean = sum(moved) / len(moved)
        return [
            f"task.length_penalty={task.length_penalty} moves the margin by {mean:+.2f} on average"
            f" ({min(moved):+.2f} to {max(moved):+.2f})"
        ]
    if isinstance(task, KtoConfig):
        up = sum(row.is_desirable for row in rows)
        down = len(rows) - up
        return [f"rated answers: {up:,} up, {down:,} down{_balance(task, up, down)}"]
    return []


def _balance(task: KtoConfig, up: int, down: int) -> str:
    """Return which weight makes both sides weigh about the same (2402.01306, equation 8)."""
    if not up or not down:
        return ": of one kind alone, all are learned as the same"
    share = task.desirable_weight * up / max(task.undesirable_weight * down, 1e-9)
    if _LEAST_UP <= share <= _MOST_UP:
        return ""
    return (
        ": one side weighs more;"
        f" task.desirable_weight={task.undesirable_weight * down / up:.2g} would balance them"
    )


def _labels(rows: Sequence[TokenRow]) -> list[tuple[list[int], list[int]]]:
    return [(row.labels, row.rejected_labels) for row in rows]


def _num_learned(labels: list[int]) -> int:
    return len(labels) - labels.count(IGNORED)


def as_pair(codec: Codec, row: Row, max_length: int) -> list[TokenRow] | str:
    """Return the last turn's better and worse answer as one pair of sequences, or why there is none.

    Both have the prompt's tokens in common, and of neither is anything cut: one shorter than the other by
    a cut would be likelier for it. Earlier answers are context.
    """
    if not row.rejected or not row.messages[-1].supervised:
        return _NOT_LEARNED if row.rejected else NO_PAIR
    better, worse = (_side(codec, row, answer) for answer in (row.messages[-1].content, row.rejected))
    if isinstance(better, str) or isinstance(worse, str):
        return better if isinstance(better, str) else str(worse)
    length = prompt_length(better)
    if length != prompt_length(worse) or better.input_ids[:length] != worse.input_ids[:length]:
        return "its prompt has other tokens before the other answer"
    if better.input_ids == worse.input_ids:
        return "chosen and rejected are the same tokens"
    if max(len(better.input_ids), len(worse.input_ids)) > max_length:
        return f"{TOO_LONG} longer than task.max_length={max_length}"
    return [
        replace(
            better,
            kind="pair",
            was_changed=better.was_changed or worse.was_changed,
            rejected_ids=worse.input_ids,
            rejected_labels=worse.labels,
        )
    ]


def as_rated(codec: Codec, row: Row, max_length: int) -> list[TokenRow] | str:
    """Return the last answer with its rating, or why there is none; a pair is one rated up and one down."""
    if not row.rejected:
        return _rated_alone(codec, row, max_length)
    found = as_pair(codec, row, max_length)
    if isinstance(found, str):
        return found
    return [
        TokenRow(pair.id, ids, labels, "rated", False, pair.source, pair.was_changed, is_desirable=is_up)
        for pair in found
        for (ids, labels), is_up in zip(pair.sides(), (True, False), strict=True)
    ]


def _rated_alone(codec: Codec, row: Row, max_length: int) -> list[TokenRow] | str:
    if not row.rating or not row.messages[-1].supervised:
        return "its answer is not to be learned" if row.rating else NO_RATING
    whole = _side(codec, row, row.messages[-1].content)
    if isinstance(whole, str):
        return whole
    if len(whole.input_ids) > max_length:
        return f"{TOO_LONG} longer than task.max_length={max_length}"
    return [replace(whole, kind="rated", is_desirable=row.rating == UP)]


def _side(codec: Codec, row: Row, answer: str) -> TokenRow | str:
    """Return the conversation with this last answer, which alone is learned."""
    turns = [replace(turn, supervised=False) if turn.role == "assistant" else turn for turn in row.messages]
    row = replace(row, messages=(*turns[:-1], Message("assistant", answer)))
    if control := control_token(codec, row):
        return f"control token {control} in the text"
    return encode_chat(codec, row)
