"""The terminal shows our lines alone; run.log has them too, and what libraries remark."""

import logging
import os
import platform
import signal
import sys
import warnings

import pytest
from conftest import run_in

from arabic_llm import terminal
from arabic_llm.errors import DataError


@pytest.fixture
def library():
    """Return a logger as transformers makes its own: a line on stderr, nothing for others, errors only."""
    logger = logging.getLogger("a_library")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.setLevel(logging.ERROR)
    yield logger
    logging.getLogger().manager.loggerDict.pop("a_library")


def test_what_libraries_remark_reaches_the_log_and_not_the_terminal(tmp_path, capfd, library):
    ours = logging.getLogger("arabic_llm.test")
    own, level = list(library.handlers), library.level
    with terminal.ours():
        logging.getLogger("arabic_llm").setLevel(logging.INFO)
        with terminal.copied_to(tmp_path / "run.log"):
            ours.info("a line of ours")
            library.warning("LOAD REPORT")
            logging.getLogger("a_library.inside").warning("a remark inside it")
            logging.getLogger("another").warning("a remark")
            warnings.warn("deprecated", FutureWarning, stacklevel=1)
        logging.getLogger("another").warning("later")
        logging.getLogger("another").error("an error")
    said = capfd.readouterr()
    assert said.out.splitlines() == ["a line of ours", "an error"]
    assert said.err == ""
    written = (tmp_path / "run.log").read_text(encoding="utf-8")
    for line in ("a line of ours", "a_library: LOAD REPORT", "a_library.inside: a remark inside it"):
        assert written.count(line) == 1
    assert "another: a remark" in written
    assert "FutureWarning: deprecated" in written
    assert (library.handlers, library.level) == (own, level)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("my.csv:2: no text"), " error: my.csv:2: no text\n"),
        (ZeroDivisionError(), "ZeroDivisionError\n"),
    ],
)
def test_the_log_holds_why_a_run_did_not_end_well(tmp_path, error, line):
    with pytest.raises(type(error)), terminal.copied_to(tmp_path / "run.log"):
        raise error
    assert (tmp_path / "run.log").read_text(encoding="utf-8").endswith(line)


def test_a_run_that_is_refused_late_leaves_its_error_in_its_log(tmp_path):
    (tmp_path / "bad.jsonl").write_text(
        '{"prompt": "a", "response": "b"}\n{"prompt": 1\n', encoding="utf-8"
    )
    status, said = run_in(tmp_path, "task=inspect", "data.path=bad.jsonl", "task.ids=[nothing]")
    assert status == 2
    (log,) = tmp_path.glob("outputs/inspect/*/run.log")
    assert said.splitlines()[-1] in log.read_text(encoding="utf-8").splitlines()[-1]


def test_a_request_to_end_is_heeded_outside_of_training_too_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    status, said = run_in(tmp_path, "task=prepare", "data.max_rows=10")
    assert (status, said) == (130, "interrupted (SIGTERM); the same command carries on\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_half_a_character_of_a_library_stands_in_the_log_and_ends_nothing(tmp_path, capsys, library):
    with terminal.copied_to(tmp_path / "run.log"):
        library.warning("what is %s", "\ud83d")  # of one that propagates pytest would make a report
    assert "what is \\ud83d" in (tmp_path / "run.log").read_text(encoding="utf-8")
    assert "Traceback" not in capsys.readouterr().err
