"""What many tests need: the program in this process, the tiny model, the real data if it is there."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import io
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of torch, read when it is imported: tests run side by side

import pytest

from arabic_llm.config.model import ModelConfig
from arabic_llm.data.tokens import chat_template
from arabic_llm.data.tokens.chat_template import Codec

if TYPE_CHECKING:
    from warm import Nursery

gc.set_threshold(50_000, 20, 20)  # beside what torch imports, to look through all takes a sixth of a test

DATA = Path(os.environ.get("ARABIC_LLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (set ARABIC_LLM_DATA)")

# Runs that are about something else than their rows: the sample's 404 of dev take longer than the steps.
ROWS = Path(__file__).with_name("few_rows.jsonl")
FEW_ROWS = ("data=local", f"data.path={ROWS}")
Program = Callable[..., tuple[int, str]]


def run_in(folder: Path, *overrides: str) -> tuple[int, str]:
    """Run `python -m arabic_llm.run` in this process, in a folder: (exit code, what it said).

    Nothing is told to W&B where an override does not say so.
    """
    from arabic_llm import run

    untold = () if any(one.startswith("tracking=") for one in overrides) else ("tracking=none",)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.delenv("ARABIC_LLM_DATA", raising=False)
        patch.setattr(sys, "argv", ["arabic_llm.run", *overrides, *untold])
        with pytest.raises(SystemExit) as end:
            run.main()
    return int(end.value.code or 0), said.getvalue()


def finished(folder: Path, *overrides: str) -> tuple[str, Path]:
    """Run it in a folder to its end: (what it said, the run's directory)."""
    status, said = run_in(folder, *overrides, "hydra.run.dir=mine")
    assert status == 0, said
    return said, folder / "mine"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return the program, to be run in an empty folder."""
    return functools.partial(run_in, tmp_path)


@pytest.fixture
def offline(monkeypatch):
    """Ask the hub nothing: where there is no network it would be asked again and again."""
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def model_config(name: str) -> ModelConfig:
    """Return conf/model/<name>.yaml as the program reads it."""
    return compose_config(f"model={name}", "task=evaluate").model


def compose_config(*overrides: str):
    """Return a composed configuration as dataclasses, with its output under outputs/."""
    reads_files = any(
        word in override for override in overrides for word in ("path", "auto", "local", "hub")
    )
    compose = _composed.__wrapped__ if reads_files else _composed
    return copy.deepcopy(compose(overrides, os.environ.get("ARABIC_LLM_DATA")))


@functools.cache  # composing takes 0.1 s, and many tests want the same
def _composed(overrides: tuple[str, ...], _data_root: str | None):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from arabic_llm.config import compose, paths
    from arabic_llm.workflows import auto

    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        composed = hydra_compose("config", ["output_dir=out", *overrides])
    return compose.to_config(composed, complete=auto.fill)


@pytest.fixture(scope="session")
def tiny_codec() -> Codec:
    """Return the codec of the built-in model."""
    from arabic_llm.models import bases, tokenization

    config = model_config("tiny")
    return chat_template.prepare(tokenization.load(bases.locate(config, None)), config)


@pytest.fixture(scope="session")
def tiny_bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny masked model; tiny_bert.OVERRIDES choose its shape."""
    import tiny_bert

    return tiny_bert.save(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Return a warm process whose forks run the program: importing what trains takes longer than a run."""
    from warm import Nursery

    warm = Nursery()
    yield warm
    warm.close()


@contextlib.contextmanager
def files_of_up_to(size: int) -> Iterator[None]:
    """Let no file grow larger while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
