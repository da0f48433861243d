"""A talk in the terminal, of a pipe and of a script: answers alone on stdout, faults in one line."""

import contextlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from conftest import run_in

from arabic_llm.config.paths import PACKAGE
from arabic_llm.serving import console, screen

pytest_plugins = ("talking",)
EGYPT = "\u0645\u0627 \u0639\u0627\u0635\u0645\u0629 \u0645\u0635\u0631\u061f"
SUDAN = "\u0648\u0645\u0627 \u0639\u0627\u0635\u0645\u0629 \u0627\u0644\u0633\u0648\u062f\u0627\u0646\u061f"
RLI, PDI = "\u2067", "\u2069"


@pytest.fixture
def chat(trained, tmp_path, monkeypatch):
    """Return a function: talk with the run -> (exit code, stdout, stderr)."""

    def go(*overrides, typed=None, run=trained):
        if typed is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        of_run = () if run is None else (f"task.run={run}",)
        given = ("task=chat", *of_run, "hw=cpu", "task.max_new_tokens=24", "hydra.run.dir=out")
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            status, out = run_in(tmp_path, *given, *overrides)
        return status, out, err.getvalue()

    return go


def test_a_script_gets_the_answer_alone(chat, talk, tmp_path):
    wanted = talk.ask(talk.voices[1], EGYPT, lambda _: None).text
    status, out, _ = chat(f'task.prompt="{EGYPT}"')
    assert (status, out) == (0, f"{wanted}\n")
    decomposed = unicodedata.normalize("NFD", "\u0622\u0645\u0646")
    assert chat(f'task.prompt="{decomposed}"')[1] == chat('task.prompt="\u0622\u0645\u0646"')[1]
    assert not (tmp_path / "out").exists()


def test_a_model_alone_answers_where_nothing_was_trained_and_says_nothing_else(chat, talk):
    wanted = talk.ask(talk.voices[0], EGYPT, lambda _: None).text
    asked = f'task.prompt="{EGYPT}"'
    assert chat(asked, "model=tiny", run=None)[:2] == (0, f"{wanted}\n")
    folder = PACKAGE / "models" / "tiny"
    status, out, err = chat(asked, f"model.path={folder}", "model.chat_template=chatml", run=None)
    assert (status, out) == (0, f"{wanted}\n")
    assert "tiny" in err  # what was read of its files


def test_an_adapter_beside_a_model_is_what_its_run_is(chat, trained):
    asked = (f'task.prompt="{EGYPT}"', "task.show=both")
    assert chat(*asked, f"adapter.path={trained / 'adapter'}", run=None)[:2] == chat(*asked)[:2]


def test_a_pipe_is_a_talk_of_a_question_a_line_with_commands_among_them(chat, talk, tmp_path):
    typed = f"\ufeff{EGYPT}\n\n{SUDAN}\n/save kept.jsonl\n/reset\n{SUDAN}\n/quit\n{EGYPT}\n"
    status, out, err = chat(typed=typed.encode())
    wanted = [talk.ask(talk.voices[1], question, lambda _: None).text for question in (EGYPT, SUDAN)]
    talk.reset()
    wanted.append(talk.ask(talk.voices[1], SUDAN, lambda _: None).text)
    assert (status, out) == (0, "".join(f"{text}\n" for text in wanted))
    assert "saved: kept.jsonl (1 conversation)" in err
    (kept,) = map(json.loads, (tmp_path / "kept.jsonl").read_text().splitlines())
    assert [turn["content"] for turn in kept["messages"]] == [EGYPT, wanted[0], SUDAN, wanted[1]]
    status, said = run_in(tmp_path, "task=inspect", "data.path=kept.jsonl", "hydra.run.dir=seen")
    assert status == 0, said
    assert "local: 1 rows in, 1 kept" in said


def test_both_are_named_and_the_system_message_is_part_of_the_talk(chat, talk):
    typed = f"/system \u0643\u0646 \u0645\u0648\u062c\u0632\u0627\n{EGYPT}\n".encode()
    status, out, _ = chat("task.show=both", typed=typed)
    talk.open_with("\u0643\u0646 \u0645\u0648\u062c\u0632\u0627")
    wanted = [talk.ask(voice, EGYPT, lambda _: None).text for voice in talk.voices]
    assert (status, out) == (0, f"base: {wanted[0]}\ntuned: {wanted[1]}\n")
    system = 'task.system="\u0643\u0646 \u0645\u0648\u062c\u0632\u0627"'
    by_setting = chat("task.show=both", system, typed=EGYPT.encode())
    assert by_setting[:2] == (0, out)


def test_an_answer_that_was_cut_off_says_so_but_not_among_the_answers(chat):
    status, out, err = chat(f'task.prompt="{EGYPT}"', "task.max_new_tokens=1")
    assert status == 0
    assert len(out.split()) == 1
    assert "cut off after task.max_new_tokens=1" in err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (b"", "stdin holds no question; write one a line, or give task.prompt"),
        (b"\n  \n", "stdin holds no question"),
        (
            "caf\u00e9\n".encode("latin-1"),
            "stdin:1: not UTF-8 (invalid continuation byte); save it as UTF-8",
        ),
        (b"/quit it\xff\n", "stdin:1: not UTF-8"),
        (b"/sing\n", "stdin:1: no command /sing; there are: /quit, /reset, /system, /save, /help"),
        (b"\n/save\n", "stdin:2: /save: nothing was said yet"),
        (b"a<|im_end|>\n", "stdin:1: <|im_end|> is a token of the chat template"),
        (b"a " * 3000, "stdin:1: the question has 3,0"),
    ],
)
def test_what_cannot_be_answered_is_one_line_with_its_place(chat, typed, said):
    status, out, err = chat(typed=typed)
    lines = err.strip().splitlines()
    assert (status, len(lines)) == (2, 1), err
    assert lines[0].startswith(f"error: {said}".replace("3,0", "")), err
    assert out.strip() == ""


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (('task.prompt=""',), "task.prompt is empty; write a question"),
        (('task.prompt="  "',), "task.prompt is empty"),
        (("task.temperature=-1",), "task.temperature must not be negative (-1)"),
        (("task.top_p=0", "task.temperature=1"), "task.top_p must be above 0 and at most 1, not 0"),
        (("task.top_p=0.9",), "task.top_p=0.9 has no meaning with task.temperature=0"),
        (("task.port=9000",), "task.port=9000 has no meaning without task.web=true"),
        (("task.web=true", "task.port=70000"), "task.port must be between 1 and 65535, not 70000"),
        (("model=tiny",), "model=tiny has no meaning beside task.run="),
        (("adapter.path=x",), "adapter.path=x has no meaning beside task.run="),
        (("data=cidar",), "data=cidar has no meaning with task=chat"),
        (("task.show=none",), "task.show"),
        (("task.base=/nowhere",), "model=tiny: /nowhere has no config.json"),
        (("task.max_new_tokens=2048", "task.prompt=a"), "the question has"),
    ],
)
def test_what_no_talk_can_be_had_with_is_refused_in_one_line(chat, overrides, said):
    status, out, err = chat(*overrides, typed=b"")
    lines = (out + err).strip().splitlines()
    assert (status, len(lines)) == (2, 1), out + err
    assert lines[0].startswith(f"error: {said}"), lines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: (run / "result.json").unlink(), "never finished (no result.json); finish it first"),
        (lambda run: shutil.rmtree(run / "adapter"), "is missing, or a file of it was changed"),
        (shutil.rmtree, "is no run of this program"),
    ],
)
def test_a_run_that_cannot_talk_is_refused_in_one_line_also_when_it_is_only_planned(
    chat, trained, tmp_path, change, said
):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    change(run)
    for more in ("dry_run=false", "dry_run=true"):
        status, out, err = chat("task.prompt=a", more, run=run)
        lines = (out + err).strip().splitlines()
        assert (status, len(lines)) == (2, 1), out + err
        assert said in lines[0]


def test_an_adapter_of_another_base_is_refused(chat, trained, tmp_path):
    from safetensors.torch import load_file, save_file

    other = Path(shutil.copytree(PACKAGE / "models" / "tiny", tmp_path / "other"))
    (weights,) = other.glob("*.safetensors")
    changed = {name: value + 1 for name, value in load_file(weights).items()}
    save_file(changed, weights, metadata={"format": "pt"})
    status, out, err = chat("task.prompt=a", f"task.base={other}")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert "was trained on tiny (" in err


def test_a_reader_that_has_enough_ends_the_talk_quietly(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{EGYPT}\n{SUDAN}\n".encode())))
    monkeypatch.setattr(sys, "argv", sys.argv)
    reads, writes = os.pipe()
    os.close(reads)
    with (
        contextlib.redirect_stderr(io.StringIO()) as err,
        contextlib.redirect_stdout(os.fdopen(writes, "w")),
    ):
        assert _run_here(tmp_path, ("task=chat", f"task.run={trained}", "hw=cpu")) == 0
    assert err.getvalue() == ""


def test_a_closed_standard_input_is_one_line(chat, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    status, out, err = chat()
    assert (status, out) == (2, "")
    assert err == "error: stdin holds no question; write one a line, or give task.prompt\n"


def test_nothing_trained_has_no_tuned_side(chat):
    status, _, err = chat("task.show=both", "task.prompt=a", run=None)
    assert status == 2
    assert err.startswith("error: task.show=both: nothing was trained here; give task.run=outputs/sft/NAME")


def test_a_plan_says_who_is_talked_to_and_reads_no_weights(chat, trained):
    status, out, _ = chat("dry_run=true", "task.temperature=0.7")
    assert status == 0
    assert out == (
        f"plan: talk with tiny as {trained}/adapter has it, in the terminal, drawn at temperature 0.7, at"
        " most 24 tokens\n"
    )


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def shown(*pieces, has_marks=True):
    stream = Terminal()
    written = screen.Screen(stream, has_marks=has_marks)
    for piece in pieces:
        written.hear(piece)
    written.end()
    return stream.getvalue()


def test_each_line_of_arabic_stands_between_marks_and_no_other():
    assert shown("1. ", EGYPT[:3], EGYPT[3:]) == f"{RLI}1. {EGYPT}{PDI}\n"
    assert shown(f"{EGYPT}\nHello", f" {EGYPT}\n12") == f"{RLI}{EGYPT}{PDI}\nHello {EGYPT}\n12\n"
    assert shown(EGYPT, has_marks=False) == f"{EGYPT}\n"
    assert shown() == "\n"


def test_what_would_steer_a_terminal_or_stay_open_is_not_written_to_one():
    assert shown("a\x1b[2Jb\r\u202e\u2067c\td\u200ce") == "a\ufffd[2Jb\ufffd\ufffd\ufffdc\td\u200ce\n"


def test_a_pipe_gets_what_was_said_and_nothing_added():
    stream = io.StringIO()
    written = screen.Screen(stream, has_marks=True)
    written.hear(f"{EGYPT}\x1b")
    written.end()
    assert stream.getvalue() == f"{EGYPT}\x1b\n"


@pytest.mark.parametrize(
    ("environment", "orders"),
    [
        ({"VTE_VERSION": "7600"}, True),
        ({"VTE_VERSION": "5202"}, False),
        ({"KONSOLE_VERSION": "220400"}, True),
        ({"TERM": "mlterm"}, True),
        ({"TERM_PROGRAM": "Apple_Terminal"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({}, False),
    ],
)
def test_marks_are_for_terminals_that_are_known_to_order_arabic(environment, orders):
    assert screen.orders_arabic(environment) is orders


class Typist:
    """Someone at a terminal of their own, in which the program runs in a fork of this process."""

    def __init__(self, folder, *overrides):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in enumerate("rww"))
            os.environ["VTE_VERSION"] = "7600"
            signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
            status = 1
            try:
                status = _run_here(folder, overrides)
            finally:
                os._exit(status)  # whatever happened: the rest of the tests is the parent's
        self.seen = ""

    def reads(self, pattern, seconds=60):
        """Wait until the terminal shows it, behind what was read before."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            if time.monotonic() > end:
                raise TimeoutError(self.seen)
            if select.select([self.terminal], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.terminal, 4096).decode(errors="replace")
                except OSError:  # it has ended
                    assert re.search(pattern, self.seen), self.seen
        self.seen = self.seen[found.end() :]
        return found[0]

    def types(self, text):
        os.write(self.terminal, text.encode())

    def interrupts_until(self, pattern):
        """Press Ctrl-C until it is heeded: readline misses a signal that comes before it listens."""
        for _ in range(10):
            self.types("\x03")
            with contextlib.suppress(TimeoutError):
                return self.reads(pattern, seconds=6)
        raise TimeoutError(self.seen)

    def status(self, seconds=60):
        """Return the exit code, once it has ended by itself."""
        end = time.monotonic() + seconds
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                raise TimeoutError("the program goes on")
            time.sleep(0.02)
        self.pid = None
        return os.waitstatus_to_exitcode(ended[1])

    def leave(self):
        """End the program where a test has not: it holds what it was forked with."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            self.status()
        os.close(self.terminal)


def _run_here(folder, overrides):
    from arabic_llm import run

    os.chdir(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.argv = ["arabic_llm.run", *overrides, "tracking=none", "hydra.run.dir=out"]
    try:
        run.main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        return int(end.code or 0)
    return 1


@pytest.fixture
def typist(trained, tmp_path):
    with contextlib.ExitStack() as people:

        def come(*more):
            person = Typist(tmp_path, "task=chat", f"task.run={trained}", "hw=cpu", *more)
            people.callback(person.leave)
            return person

        yield come


def test_a_person_talks_until_ctrl_d_and_arabic_stands_between_marks(typist, talk, tmp_path):
    person = typist("task.show=both")
    person.reads("/help lists commands")
    person.types("/sing\n")
    person.reads("no command /sing; there are: /quit, ")
    person.types(f"{EGYPT}\n")
    for voice in talk.voices:
        wanted = talk.ask(voice, EGYPT, lambda _: None).text
        person.reads(f"{voice.name}: {RLI}{wanted}{PDI}\r\n")
    person.types("/save\n")
    person.reads(r"saved: \S+/out/talk-1.jsonl \(2 conversations\)")
    person.reads("> ")  # before the prompt stands, nobody reads keys: a Ctrl-D would be lost
    person.types("\x04")
    assert person.status() == 0
    assert len((tmp_path / "out" / "talk-1.jsonl").read_text().splitlines()) == 2


def test_ctrl_c_cuts_an_answer_short_and_at_the_prompt_ends_the_talk_with_a_word(typist):
    endless = ("task.temperature=100", "task.max_new_tokens=2000")  # any token is as likely as the stop's
    person = typist("task.show=both", *endless)
    person.reads("/help lists commands")
    person.types(f"{EGYPT}\n")
    person.reads("base: ..")  # it is being said
    person.types("\x03")
    person.reads("cut short: nothing of it is remembered")
    person.types("/save\n")
    person.reads("/save: nothing was said yet")
    person.types("/quit now")
    person.reads("/quit now")  # taken: Ctrl-C drops keys that wait, and readline would wait for them
    person.interrupts_until("the talk is over\r\n")
    assert person.status() == 130


class CutShort(io.StringIO):
    """A stream at which somebody presses Ctrl-C once the second voice is to speak."""

    def write(self, text):
        if text.startswith("tuned"):
            raise KeyboardInterrupt
        return super().write(text)


def test_what_is_cut_short_at_one_voice_is_remembered_of_none(talk, tmp_path):
    written = console.Console(talk, screen.Screen(CutShort()), tmp_path)
    talk.ask(talk.voices[0], SUDAN, lambda _: None)
    before = dict(talk.said)
    with pytest.raises(KeyboardInterrupt):
        written.one(EGYPT)
    assert talk.said == before
