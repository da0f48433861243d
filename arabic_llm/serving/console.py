"""A talk in the terminal, or of the lines of a pipe: questions, answers as they come, commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from arabic_llm import files
from arabic_llm.errors import ConfigError, DataError, UserError
from arabic_llm.serving.screen import Screen
from arabic_llm.serving.talk import Talk
from arabic_llm.serving.voices import Answer

log = logging.getLogger(__name__)
_HELP = """\
/reset          begin anew; the system message stays
/system TEXT    open the talk with TEXT; /system alone: with nothing
/save [FILE]    write the talk as rows that data=local reads
/quit           end (Ctrl-D too); Ctrl-C cuts an answer short
"""


@dataclass
class Console:
    """A talk with a screen to write on, and a folder to save in."""

    talk: Talk
    screen: Screen
    folder: Path

    def one(self, question: str) -> None:
        """Write the answer to one question."""
        self._ask(question)

    def of_pipe(self) -> None:
        """Answer each line of standard input. Raises UserError naming the line, DataError for no line."""
        is_empty = True
        given = () if sys.stdin is None else sys.stdin.buffer  # none: it was closed
        for number, line in enumerate(given, start=1):
            try:
                text = line.decode("utf-8").lstrip("\ufeff").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"stdin:{number}: not UTF-8 ({error.reason}); save it as UTF-8") from error
            if not text:
                continue
            is_empty = False
            try:
                if not self._take(text):
                    return
            except UserError as error:
                raise type(error)(f"stdin:{number}: {error}") from error
        if is_empty:
            raise DataError("stdin holds no question; write one a line, or give task.prompt")

    def with_person(self) -> None:
        """Talk with who sits at the terminal, until they have enough; Ctrl-C raises KeyboardInterrupt."""
        try:
            for line in _typed("> " if self.screen.is_terminal else ""):
                if not self._take_of_person(line):
                    return
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(*(error.args or ("the talk is over",))) from None

    def _take_of_person(self, line: str) -> bool:
        """Take a line; what is wrong with it, or Ctrl-C, ends its answer and not the talk."""
        try:
            return self._take(line)
        except UserError as error:
            log.info("%s", error)
        except KeyboardInterrupt as error:
            if error.args:  # SIGTERM
                raise
            log.info("cut short: nothing of it is remembered")
        return True

    def _take(self, text: str) -> bool:
        """Answer a line, or obey it; return whether the talk goes on."""
        if not text.startswith("/"):
            self._ask(text)
            return True
        name, _, rest = text[1:].partition(" ")
        if name == "quit":
            return False
        commands: dict[str, Callable[[str], None]] = {
            "reset": self._reset,
            "system": self._system,
            "save": self._save,
            "help": lambda _: log.info("%s", _HELP.rstrip()),
        }
        if name not in commands:
            raise ConfigError(f"no command /{name}; there are: /quit, /{', /'.join(commands)}")
        commands[name](rest.strip())
        return True

    def _ask(self, question: str) -> None:
        before = dict(self.talk.said)
        try:
            self._ask_each(question)
        except (UserError, KeyboardInterrupt):
            self.talk.said = before  # of no voice, or the talks would part
            raise

    def _ask_each(self, question: str) -> None:
        voices = self.talk.voices
        for voice in voices:
            if len(voices) > 1:
                self.screen.say(f"{voice.name}: ")
            try:
                answer = self.talk.ask(voice, question, self.screen.hear)
            finally:
                self.screen.end()
            for line in remarks(answer, self.talk.sampling.max_new_tokens):
                log.info("%s%s", f"{voice.name}: " if len(voices) > 1 else "", line)

    def _reset(self, _: str) -> None:
        self.talk.reset()
        log.info("begun anew")

    def _system(self, text: str) -> None:
        self.talk.open_with(text or None)
        log.info("the talk opens with: %s", text or "nothing")

    def _save(self, name: str) -> None:
        if not (rows := self.talk.rows()):
            raise ConfigError("/save: nothing was said yet")
        path = Path(name).expanduser() if name else _unused(self.folder)
        if path.exists():
            raise ConfigError(f"/save: {path} is there already; give another name")
        try:
            files.write_json_lines(path, rows)
        except OSError as error:
            raise ConfigError(f"/save: {path}: {error.strerror}") from error
        log.info("saved: %s (%s conversation%s)", path, len(rows), "s" if len(rows) > 1 else "")


def remarks(answer: Answer, most: int) -> Iterator[str]:
    """Yield what a person should know of an answer: what it did not see, that it is no whole one."""
    if answer.num_dropped:
        s = "s" if answer.num_dropped > 1 else ""
        yield (
            f"the talk is longer than the model sees: the first {answer.num_dropped} question{s}, with what"
            " was answered, were left out"
        )
    if not answer.has_ended:
        yield f"cut off after task.max_new_tokens={most}"
    elif not answer.text:
        yield "the answer is empty: the model ended it at once"


def _typed(prompt: str) -> Iterator[str]:
    """Yield the lines that are typed, until Ctrl-D."""
    import readline  # noqa: F401 (input() then edits lines, and remembers them)

    while True:
        try:
            line = input(prompt)
            line.encode()
        except EOFError:
            return
        except UnicodeError:
            log.info("what was typed is not UTF-8; set the terminal to it")
            continue
        if line.strip():
            yield line.strip()


def _unused(folder: Path) -> Path:
    """Return a name that no earlier talk has been saved under."""
    number = 1
    while (path := folder / f"talk-{number}.jsonl").exists():
        number += 1
    return path
