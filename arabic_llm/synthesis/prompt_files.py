"""Prompts are files of conf/task/synthesize/: filled once, the paragraph behind a fence."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from arabic_llm import files
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.paths import CONF

FOLDER = CONF / "task" / "synthesize"
_BETWEEN = "\n===\n"  # what the system says, and what the user gives
_NAME = re.compile(r"\{([a-z]+)\}")
_NONCE = 16


@dataclass(frozen=True)
class PromptFile:
    """A prompt as its file has it; its hash stands in every row that was made with it."""

    name: str
    text: str
    examples: list[dict[str, Any]] = field(default_factory=list)  # paragraphs with what is made of them

    @property
    def version(self) -> str:
        """Return what tells this wording from every other one."""
        told = [self.text, self.examples] if self.examples else self.text
        return f"{self.name}@{fingerprint(told)[:8]}"

    def messages(self, fenced: dict[str, str], **values: str) -> list[dict[str, str]]:
        """Return the turns of a request; what is `fenced` stands between marks that it cannot hold.

        The marks are of a hash of all that they fence, so no text can name its own. Only names of the
        template are filled in, once: braces in a paragraph stay what they are. Each worked example is a
        turn as the last one is, with the reply that is wanted.
        """
        nonce = hashlib.sha256("\0".join(fenced.values()).encode()).hexdigest()[:_NONCE]
        known = {**values, "open": f"<<<{nonce}", "close": f"{nonce}>>>"}
        system, _, user = self.text.partition(_BETWEEN)
        turns = [("system", _filled(system, {**known, **fenced}))]
        for example in self.examples:
            shown = {name: example[name] for name in fenced}
            reply = json.dumps({"exchanges": example["exchanges"]}, ensure_ascii=False)
            turns += [("user", _filled(user, {**known, **shown})), ("assistant", reply)]
        turns.append(("user", _filled(user, {**known, **fenced})))
        return [{"role": role, "content": content} for role, content in turns]


def _filled(text: str, known: dict[str, str]) -> str:
    return _NAME.sub(lambda name: known.get(name[1], name[0]), text).strip()


def load(kind: str, language: str, num_examples: int = 0) -> PromptFile:
    """Return a prompt: pairs, conversation or judge, in a language, after so many worked examples of it.

    There are no more than the file of examples has of the kind.
    """
    name = f"{kind}.{language}"
    text = files.read_text(FOLDER / f"{name}.txt")
    if not num_examples:
        return PromptFile(name, text)
    lines = files.read_text(FOLDER / f"examples.{language}.jsonl").splitlines()
    examples = [one for one in map(json.loads, lines) if one["kind"] == kind]
    return PromptFile(name, text, examples[:num_examples])
