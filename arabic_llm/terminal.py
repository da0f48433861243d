"""The terminal has our own lines: what libraries remark goes to run.log; a closed one ends no run."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from arabic_llm.errors import UserError

_OURS = "arabic_llm"


class _Lines(logging.StreamHandler):  # type: ignore[type-arg]
    """Our lines on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Go on where nobody reads any longer, or the file that is written to is full: run.log says it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _Log(logging.FileHandler):
    """A run's log."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Raise what kept a line from being written: a full disk ends a run like any other file's."""
        if isinstance(error := sys.exc_info()[1], OSError):
            raise error
        super().handleError(record)


def has_colours() -> bool:
    """Return whether what is said stands on a terminal, and may be coloured there (no-color.org)."""
    return sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


@contextmanager
def ours() -> Iterator[None]:
    """Show our lines alone, of libraries errors only; put back what was there in the end."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # half a character, or one the terminal lacks
    handler = _Lines(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: _is_ours(record) or record.levelno >= logging.ERROR)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        try:
            if sys.stdout is not None:  # closed before we began
                sys.stdout.flush()
        except OSError:  # it would be tried again at the end of the process, and be said there
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def aside() -> None:
    """Say our lines on stderr from here on: what a task answers stands alone on stdout."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Lines):
            handler.setStream(sys.stderr)


@contextmanager
def copied_to(path: Path) -> Iterator[None]:
    """Copy every line that the user sees to a file, and what libraries remark: only there.

    So is why the block ended, where it did not end well: the terminal is told by who catches it.
    """
    handler = _Log(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    others = _Log(path, encoding="utf-8", errors="backslashreplace")
    others.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    others.setLevel(logging.WARNING)
    others.addFilter(lambda record: not _is_ours(record))
    apart = [logger for logger in _libraries() if not logger.propagate]  # with lines of their own on stderr
    kept = [(logger, logger.handlers, logger.level) for logger in apart]
    logging.getLogger(_OURS).addHandler(handler)
    for logger in (logging.getLogger(), *apart):
        if logger in apart:
            logger.handlers = []
            logger.setLevel(logging.WARNING)
        logger.addHandler(others)
    try:
        yield
    except BaseException as error:
        with suppress(OSError):  # a full disk, which may be that very error
            handler.emit(_of_an_end(error))
        raise
    finally:
        logging.getLogger(_OURS).removeHandler(handler)
        logging.getLogger().removeHandler(others)
        for logger, handlers, level in kept:
            logger.handlers = handlers
            logger.setLevel(level)
        handler.close()
        others.close()


def _of_an_end(error: BaseException) -> logging.LogRecord:
    """Return the line that the user reads in the end; of a bug of ours, where it is."""
    if isinstance(error, UserError):
        said = f"error: {error}"
    elif isinstance(error, KeyboardInterrupt):
        said = str(error) or "interrupted"
    else:
        said = "".join(traceback.format_exception(error)).rstrip()
    return logging.makeLogRecord({"name": _OURS, "levelno": logging.ERROR, "msg": "%s", "args": (said,)})


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == _OURS


def _libraries() -> list[logging.Logger]:
    """Return the loggers of what is imported, each library's own."""
    known = logging.getLogger().manager.loggerDict
    found = [logging.getLogger(name) for name in list(known) if "." not in name]
    return [logger for logger in found if logger.name != _OURS]
