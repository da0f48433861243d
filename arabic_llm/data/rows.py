"""What a training row is: a conversation or a raw text, with a name that leads back to its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

UP, DOWN = "up", "down"  # ratings
_MORE = ("subject", "label", "rating", "source")  # of a row, where it has them


@dataclass(frozen=True)
class Message:
    """One turn: role is system, user or assistant. An answer that is not `supervised` is context alone."""

    role: str
    content: str
    supervised: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return the turn with OpenAI's `weight`: 1 is learned, 0 is read. Every turn has it, see Row."""
        learned = self.role == "assistant" and self.supervised
        return {"role": self.role, "content": self.content, "weight": int(learned)}

    @classmethod
    def from_dict(cls, turn: dict[str, Any]) -> Message:
        """Return the turn that as_dict gave; without a weight, an answer is learned."""
        role = turn["role"]
        return cls(role, turn["content"], role != "assistant" or bool(turn.get("weight", 1)))


@dataclass(frozen=True)
class Row:
    """One training row: either `messages` or `text` is filled.

    `id` leads back to the source: "file:line", or "sample/<fact>/<variety>". `rejected` is the worse
    last answer of a preference: fine-tuning learns the one in `messages`. `label` is the class of a
    labelled text; without an answer to learn, fine-tuning reads the text as any other raw text. `rating` is
    what somebody thought of the last answer, up or down: fine-tuning learns none that is rated down.
    `source` is the name of the data set it came from, also in a mix.
    """

    id: str
    messages: tuple[Message, ...] = ()
    text: str = ""
    subject: str = ""
    rejected: str = ""
    label: str = ""
    rating: str = ""
    source: str = ""

    def turns(self) -> list[str]:
        """Return what is said, turn by turn; a raw text is one."""
        return [m.content for m in self.messages] or [self.text]

    def words(self) -> str:
        """Return everything that is learned from or answered, one turn a line; not what is rejected."""
        return "\n".join(self.turns())

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON holds it and as `datasets` and TRL read it.

        A preference is a prompt (a list of turns), the chosen and the rejected turn. What a row lacks is
        None: rows of one file must have the same keys, or `datasets` refuses it.
        """
        turns = [message.as_dict() for message in self.messages]
        said: dict[str, Any] = {"messages": turns or None, "text": self.text or None}
        if self.rejected:
            worse = [Message("assistant", self.rejected).as_dict()]
            said = {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": worse}
        return {"id": self.id, **said, **{key: getattr(self, key) or None for key in _MORE}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Row:
        """Return the row that as_dict gave. Raises KeyError or TypeError for anything else."""
        turns = values.get("messages") or [*values.get("prompt", ()), *values.get("chosen", ())]
        rejected = values["rejected"][0]["content"] if "rejected" in values else ""
        more = {key: values.get(key) or "" for key in (*_MORE, "text")}
        return cls(values["id"], tuple(map(Message.from_dict, turns)), rejected=rejected, **more)


def question_answer(row_id: str, question: str, answer: str, subject: str = "") -> Row:
    """Return the row of one question and its answer."""
    return Row(row_id, (Message("user", question), Message("assistant", answer)), subject=subject)
