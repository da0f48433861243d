"""The code and files of a benchmark, which are not ours: what they raise is named in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from arabic_llm.errors import DataError, UserError, modules_of

FETCH = "where there is a network, python -m arabic_llm.run task=download"
_OURS = "arabic_llm"
_OF_THE_DATA = ("datasets", "huggingface_hub")
_ASKED = (f"{_OURS}.evaluation.chat_lm", f"{_OURS}.evaluation.masked_lm")  # models: lm-eval asks them
_MOST = 200  # characters of a reason
_NAMED = "suite task "


class MissingBenchmarkError(DataError):
    """A benchmark has neither a local copy here nor a hub that answers, or its own code or files fail."""


class OtherSchemaError(MissingBenchmarkError):
    """A benchmark's rows lack columns that its task reads; they have others, which may be those."""

    def __init__(self, absent: list[str], there: list[str]) -> None:
        """Say which are absent, and which there are."""
        lacked, found = ", ".join(map(repr, absent)), ", ".join(there)
        super().__init__(f"it is in another schema: no column {lacked}; it has: {found}")
        self.absent = absent


@contextmanager
def benchmark(name: str, place: str = "") -> Iterator[None]:
    """Raise MissingBenchmarkError for what a benchmark's code, files or the hub raise; ours as it is.

    A task runs whatever Python stands beside its YAML: what that raises is its own to choose. What the
    model raises that is asked, memory that runs out too, is not the benchmark's. `place` says where else
    it was looked for.
    """
    try:
        yield
    except MissingBenchmarkError as error:
        if str(error).startswith(_NAMED):
            raise
        cure = ""
        if isinstance(error, OtherSchemaError):
            said = ", ".join(f"{column}: <its name there>" for column in error.absent)
            cure = f"; '+suite.tasks.{name}.columns={{{said}}}' maps them"
        raise MissingBenchmarkError(f"{_NAMED}{name}: {error}{cure}") from error  # of a task of ours
    except UserError:
        raise
    except Exception as error:
        modules = modules_of(error)
        packages = _packages(modules)
        if packages[-1:] == [_OURS] or any(module in _ASKED for module in modules):
            raise
        reason = " ".join(str(error).split())[:_MOST] or "no reason given"
        if packages[-1:] and packages[-1] in _OF_THE_DATA:
            said = (
                f"{place}the hub's could not be read: {reason}; {FETCH} fetches it (with the same suite=)"
            )
        else:
            said = f"its own code fails: {type(error).__name__}: {reason}"
        raise MissingBenchmarkError(f"suite task {name}: {said}") from error


def _packages(modules: Iterable[str]) -> list[str]:
    """Return whose code these modules are: ours, lm-eval's, the data's, a task's.

    Of a task outside lm-eval the module is named by its path.
    """
    known = (_OURS, "lm_eval", *_OF_THE_DATA)
    return [
        name if name in known else module
        for module in modules
        if (name := module.partition(".")[0]) in known or "/" in module
    ]
