"""The one place where rows become token ids and labels; training, inspection, evaluation come here."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from transformers import PreTrainedTokenizerBase

from arabic_llm.config.data import Overflow
from arabic_llm.data.rows import DOWN, Message, Row
from arabic_llm.data.tokens import chat_template, template_checks
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.data.tokens.rendering import RefusedChatError
from arabic_llm.errors import ConfigError

IGNORED = -100  # the label that torch's cross-entropy leaves out of the loss
RATED_DOWN = "its answer is rated down"  # why nothing is to be said as it says


@dataclass(frozen=True)
class TokenRow:
    """Ids and labels of one sequence; a label is the id itself, or IGNORED. Both have one length."""

    id: str
    input_ids: list[int]
    labels: list[int]
    kind: str  # chat; text; part: a piece of a text whose end stands in another one; labelled; pair; rated
    was_cut: bool = False
    source: str = ""  # the data set its row came from; none: there is only one
    was_changed: bool = False  # the template says an answer otherwise than the row: trimmed
    rejected_ids: list[int] = field(default_factory=list)  # of a pair: the same prompt, the worse answer
    rejected_labels: list[int] = field(default_factory=list)
    is_desirable: bool = True  # of a rated one: the answer is to become likelier

    def sides(self) -> tuple[tuple[list[int], list[int]], ...]:
        """Return ids and labels of what the model is fed: of a pair the better side, then the worse."""
        better = (self.input_ids, self.labels)
        return (better, (self.rejected_ids, self.rejected_labels)) if self.kind == "pair" else (better,)

    def as_bytes(self) -> bytes:
        """Return every id and label, in order, for a hash."""
        parts = [part for side in self.sides() for part in side]
        return json.dumps([*parts, self.is_desirable] if self.kind == "rated" else parts).encode()


def encode_prompt(codec: Codec, messages: Sequence[Message]) -> list[int]:
    """Return the conversation up to where its next answer begins, in the tokens that training gives it.

    Raises ConfigError for a token of the protocol in what is said, and what the template raises.
    """
    if control := control_token(codec, Row("", tuple(messages))):
        raise ConfigError(f"{control} is a token of the chat template: it would end or begin a turn")
    text = chat_template.render(codec, messages, add_generation_prompt=True)
    ids: list[int] = codec.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encode(codec: Codec, row: Row, max_length: int, overflow: Overflow) -> list[TokenRow] | str:
    """Return the row's sequences of at most max_length tokens, or the reason why it has none.

    A conversation gives one sequence, or one for each answer where the template writes earlier ones
    otherwise than it asks for them. A text gives as many as it fills: none of it is lost.
    """
    if control := control_token(codec, row):
        return f"control token {control} in the text"
    if row.rating == DOWN:
        return RATED_DOWN
    if not row.messages:
        return _encode_text(codec, row, max_length)
    whole = encode_chat(codec, row)
    if isinstance(whole, str):
        return _encode_apart(codec, row, max_length, overflow) or whole
    return _within(codec, row, whole, max_length, overflow)


def encode_labelled(
    tokenizer: PreTrainedTokenizerBase, row: Row, label_class: int, max_length: int
) -> TokenRow:
    """Return the text as the tokenizer opens and closes one, its end cut off; the last label is its class.

    Nothing is asked and no chat template opens it: the head reads its class off the last token of a
    decoder, which has seen the whole text, and off the first one of an encoder. An end of text would
    hide from the head, which looks for the last token that is no padding: to many decoders both are one
    token. For the same reason a control token in the text is spelt out, as the words it stands there for.
    """
    ids = tokenizer(row.text, split_special_tokens=True)["input_ids"]
    if was_cut := len(ids) > max_length:
        ids = tokenizer(row.text, split_special_tokens=True, truncation=True, max_length=max_length)[
            "input_ids"
        ]
    labels = [*[IGNORED] * (len(ids) - 1), label_class]
    return TokenRow(row.id, ids, labels, "labelled", was_cut, row.source)


def encode_unseen(codec: Codec, text: str, language: str) -> TokenRow:
    """Return a text that is never trained on as one sequence; each of its tokens is predicted.

    It opens as the tokenizer opens a text, or else after an end of text, so that the first token counts
    too. Its own end does not: it has no bytes.
    """
    opening = _opening(codec) or [codec.end_of_text_id]
    ids = codec.tokenizer(text, add_special_tokens=False)["input_ids"]
    return TokenRow(language, opening + ids, [IGNORED] * len(opening) + ids, "text", source=language)


def spans(token_row: TokenRow) -> Iterator[tuple[bool, list[int]]]:
    """Yield (is supervised, ids) for each run of like tokens, in order; of a pair, of both its sides."""
    for ids, labels in token_row.sides():
        start = 0
        flags = [label != IGNORED for label in labels]
        for end in range(1, len(flags) + 1):
            if end == len(flags) or flags[end] != flags[start]:
                yield flags[start], ids[start:end]
                start = end


def prompt_length(row: TokenRow) -> int:
    """Return how many tokens stand before the first one that is learned."""
    return next((n for n, label in enumerate(row.labels) if label != IGNORED), len(row.labels))


def stops(codec: Codec, token_row: TokenRow) -> bool:
    """Return whether the row has supervised runs and each of them teaches the model to stop."""
    last = codec.stop_id if token_row.kind in ("chat", "pair", "rated") else codec.end_of_text_id
    runs = [ids for supervised, ids in spans(token_row) if supervised]
    return bool(runs) and (token_row.kind == "part" or all(ids[-1] == last for ids in runs))


def encode_chat(codec: Codec, row: Row) -> TokenRow | str:
    """Return the whole conversation as one sequence, or why it cannot be one."""
    render, frame = chat_template.rendering(codec), chat_template.frame(codec)
    try:
        text, said = render(row.messages, add_generation_prompt=False)
        fault = template_checks.fault(
            render, frame, row.messages, (text, said), was_asked=not codec.is_marked
        )
    except RefusedChatError as error:
        return f"the chat template refuses it: {str(error).partition(': ')[2]}"
    if fault is not None:
        return fault
    answers = [m for m in row.messages if m.role == "assistant"]
    learned = [(span, m.content) for span, m in zip(said, answers, strict=True) if m.supervised]
    said = [span for span, _ in learned]
    was_changed = any(frame.changes(text[start:end], answer) for (start, end), answer in learned)
    encoding = codec.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = [end for _, end in said]
    ids, labels, previous_end = encoding["input_ids"], [], 0
    for token_id, (start, end) in zip(ids, encoding["offset_mapping"], strict=True):
        # Some tokenizers leave white space out of a token's offsets: it begins where the last one ended.
        begin, previous_end = min(start, previous_end), end
        near = bisect_left(ends, begin + 1)  # the first span that ends after this token begins
        inside = near < len(said) and said[near][0] <= begin
        if near < len(said) and begin < said[near][0] < end:
            return "its first token is half prompt, half answer"
        labels.append(token_id if inside else IGNORED)
    return TokenRow(row.id, ids, labels, "chat", source=row.source, was_changed=was_changed)


def _encode_apart(codec: Codec, row: Row, max_length: int, overflow: Overflow) -> list[TokenRow] | str:
    """Return a sequence for each answer, as it is asked for, or why not; nothing where that is no cure."""
    found = []
    for messages in template_checks.answers_apart(row.messages):
        part = replace(row, messages=messages)
        whole = encode_chat(codec, part)
        fitting = "" if isinstance(whole, str) else _within(codec, part, whole, max_length, overflow)
        if isinstance(fitting, str):
            return fitting
        found += fitting
    return found


def _within(
    codec: Codec, row: Row, whole: TokenRow, max_length: int, overflow: Overflow
) -> list[TokenRow] | str:
    """Return a conversation where it fits, what is left of it where it may be cut, or why it is lost."""
    if len(whole.input_ids) <= max_length:
        return [whole]
    if overflow is Overflow.drop:
        return f"longer than task.max_length={max_length}"
    return _cut(codec, row, max_length)


def _encode_text(codec: Codec, row: Row, max_length: int) -> list[TokenRow]:
    """Return the text in pieces: each opens as the tokenizer opens a text, the last one ends it."""
    opening = _opening(codec)
    body = codec.tokenizer(row.text, add_special_tokens=False)["input_ids"] + [codec.end_of_text_id]
    size = max_length - len(opening)
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    last = len(pieces) - 1
    return [
        TokenRow(
            row.id,
            opening + piece,
            [IGNORED] * len(opening) + piece,
            "text" if number == last else "part",
            source=row.source,
        )
        for number, piece in enumerate(pieces)
    ]


def _opening(codec: Codec) -> list[int]:
    """Return what the tokenizer puts before a text."""
    opening = codec.tokenizer("", add_special_tokens=True)["input_ids"]
    return [i for i in opening if i not in (codec.stop_id, codec.end_of_text_id)]


def _cut(codec: Codec, row: Row, max_length: int) -> list[TokenRow] | str:
    """Leave out early turns, then the start of the question; never a word of the last answer."""
    system = [m for m in row.messages if m.role == "system"]
    turns = [m for m in row.messages if m.role != "system"]

    def fitting(turns: Sequence[Message]) -> TokenRow | None:
        shorter = encode_chat(codec, replace(row, messages=(*system, *turns)))
        if isinstance(shorter, str) or len(shorter.input_ids) > max_length:
            return None
        if all(label == IGNORED for label in shorter.labels):
            return None  # what is learned was cut
        return replace(shorter, was_cut=True)

    while sum(m.role == "user" for m in turns) > 1:
        second = next(i for i, m in enumerate(turns) if i and m.role == "user")
        turns = turns[second:]
        if shorter := fitting(turns):
            return [shorter]
    question = turns[0].content
    best, low = None, 0
    high = len(question)  # the longest end of the question that still fits lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        shorter = fitting([Message("user", question[len(question) - middle :]), *turns[1:]])
        best, low, high = (shorter, middle, high) if shorter else (best, low, middle)
    return [best] if best else f"answer alone fills task.max_length={max_length}"


def control_token(codec: Codec, row: Row) -> str | None:
    """Return a token of the chat protocol that stands in the text as if it were a word."""
    words = row.words()
    return next((token for token in codec.control_tokens if token in words), None)
