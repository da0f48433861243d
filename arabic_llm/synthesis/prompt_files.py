"""Prompts are files of conf/task/synthesize/: filled once, the paragraph behind a fence."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

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

    @property
    def version(self) -> str:
        """Return what tells this wording from every other one."""
        return f"{self.name}@{fingerprint(self.text)[:8]}"

    def messages(self, fenced: dict[str, str], **values: str) -> list[dict[str, str]]:
        """Return the turns of a request; what is `fenced` stands between marks that it cannot hold.

        The marks are of a hash of all that they fence, so no text can name its own. Only names of the
        template are filled in, once: braces in a paragraph stay what they are.
        """
        nonce = hashlib.sha256("\0".join(fenced.values()).encode()).hexdigest()[:_NONCE]
        marks = {"open": f"<<<{nonce}", "close": f"{nonce}>>>"}
        known = {**values, **fenced, **marks}
        system, _, user = self.text.partition(_BETWEEN)
        return [
            {"role": role, "content": _NAME.sub(lambda name: known.get(name[1], name[0]), part).strip()}
            for role, part in (("system", system), ("user", user))
        ]


def load(kind: str, language: str) -> PromptFile:
    """Return a prompt: pairs, conversation or judge, in a language."""
    name = f"{kind}.{language}"
    return PromptFile(name, files.read_text(FOLDER / f"{name}.txt"))
