"""What a training row is: a conversation or a raw text, with a name that leads back to its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn: role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Row:
    """One training row: either `messages` or `text` is filled.

    `id` leads back to the source: "file:line", or "sample/<fact>/<variety>". `rejected` is the worse
    last answer of a preference: fine-tuning learns the one in `messages`. `label` is the class of a
    labelled text; without an answer to learn, fine-tuning reads the text as any other raw text.
    `source` is the name of the data set it came from, also in a mix.
    """

    id: str
    messages: tuple[Message, ...] = ()
    text: str = ""
    subject: str = ""
    rejected: str = ""
    label: str = ""
    source: str = ""

    def words(self) -> str:
        """Return everything that is learned from or answered, one turn a line; not what is rejected."""
        return "\n".join(m.content for m in self.messages) if self.messages else self.text


def question_answer(row_id: str, question: str, answer: str, subject: str = "") -> Row:
    """Return the row of one question and its answer."""
    return Row(row_id, (Message("user", question), Message("assistant", answer)), subject=subject)
