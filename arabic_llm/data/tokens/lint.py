"""What the model really trains on, counted from the token rows themselves before the first step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from arabic_llm.data.rows import Row
from arabic_llm.data.tokens import chat
from arabic_llm.data.tokens.chat import IGNORED
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.data.tokens.token_rows import TokenRows, data_hash
from arabic_llm.errors import DataError
from arabic_llm.text.normalize import normalize
from arabic_llm.text.words import count_words

_NUM_NAMED = 5  # rows whose question stands in the suite


@dataclass(frozen=True)
class Lint:
    """Counts over the training rows; `hash` is of every id and label in order."""

    rows: int
    tokens: int
    supervised_share: float  # of tokens
    longest: int  # tokens
    cut: int
    dropped: dict[str, int]  # reason -> rows
    without_stop: int  # must be 0
    duplicates: int
    in_suite: int | None  # train rows whose question stands in the suite; None: not looked for
    tokens_a_word: float  # of what is supervised, stop tokens left out
    hash: str
    suite_note: str = field(default="", compare=False)
    suite_rows: tuple[str, ...] = ()  # ids of the first few of them
    template_notes: tuple[str, ...] = field(default=(), compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON holds them."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the counts as the user reads them."""
        dropped = ", ".join(f"{n:,} {reason}" for reason, n in self.dropped.items()) or "0"
        overlap = f"{self.in_suite:,}" if self.in_suite is not None else f"unknown ({self.suite_note})"
        if self.in_suite:
            named, more = ", ".join(self.suite_rows), self.in_suite - len(self.suite_rows)
            overlap += f" ({named}{f' and {more:,} more' if more > 0 else ''}), which are trained on"
            overlap += "; data.cleaning.drop_test_items=true leaves them out"
        return [
            f"trains on {self.rows:,} rows, {self.tokens:,} tokens, {self.supervised_share:.1%} of them"
            f" supervised; longest {self.longest:,}; {self.tokens_a_word:.2f} tokens a word",
            f"rows cut {self.cut:,}, dropped {dropped}, without a supervised stop token"
            f" {self.without_stop}, copies {self.duplicates:,}, found in the suite {overlap}"
            f" (hash {self.hash})",
        ]


def lint(codec: Codec, rows: Sequence[Row], encoded: TokenRows, suite_questions: set[str] | str) -> Lint:
    """Return the counts of the training rows.

    `suite_questions` are the questions of the test, normalised for matching; or the reason why they
    could not be read. Raises DataError when a row would not teach the model to stop.
    """
    if unstopped := [row.id for row in encoded.rows if not chat.stops(codec, row)]:
        raise DataError(
            f"{unstopped[0]}: no supervised stop token (and {len(unstopped) - 1} more rows like it);"
            " the chat template must end every answer with model.stop_token inside its generation block"
        )
    tokens = sum(len(ids) for row in encoded.rows for ids, _ in row.sides())
    supervised = sum(_num_supervised(labels) for row in encoded.rows for _, labels in row.sides())
    ends = [row for row in encoded.rows if row.kind != "part"]  # a piece of a text has no stop token
    stops = sum(1 for row in ends for learned, _ in chat.spans(row) if learned)
    seen = {row.id for row in encoded.rows}
    rows = [row for row in rows if row.id in seen]
    copies = Counter((tuple(row.input_ids), tuple(row.rejected_ids)) for row in encoded.rows)
    if isinstance(suite_questions, set) and not all(row.messages for row in rows):
        suite_questions = "raw text is not searched for questions"
    if isinstance(suite_questions, set) and not suite_questions:
        suite_questions = "its documents have no question"
    known = isinstance(suite_questions, set)
    asked = [row.id for row in rows if _asks(row, suite_questions)] if known else []
    is_last_only = encoded.rows[0].kind in ("pair", "rated")
    return Lint(
        rows=len(encoded.rows),
        tokens=tokens,
        supervised_share=supervised / tokens,
        longest=max(len(ids) for row in encoded.rows for ids, _ in row.sides()),
        cut=sum(row.was_cut for row in encoded.rows),
        dropped=dict(encoded.ledger.dropped.most_common()),
        without_stop=len(unstopped),
        duplicates=sum(count - 1 for count in copies.values()),
        in_suite=len(asked) if known else None,
        tokens_a_word=(supervised - stops) / max(1, sum(_num_words(row, is_last_only) for row in rows)),
        hash=data_hash(encoded.rows),
        suite_rows=tuple(asked[:_NUM_NAMED]),
        suite_note="" if known else str(suite_questions),
        template_notes=codec.notes,
    )


def question_key(question: str) -> str:
    """Return the form under which two questions are the same."""
    return normalize(question, "matching")


def _num_supervised(labels: list[int]) -> int:
    return len(labels) - labels.count(IGNORED)


def _num_words(row: Row, is_last_only: bool) -> int:
    answers = [m.content for m in row.messages if m.role == "assistant" and m.supervised]
    answers = [row.messages[-1].content, row.rejected] if is_last_only else answers
    said = answers if row.messages else [row.text]
    return sum(map(count_words, said))


def _asks(row: Row, questions: set[str] | str) -> bool:
    return any(question_key(m.content) in questions for m in row.messages if m.role == "user")
