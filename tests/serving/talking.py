"""A run that has trained, which all tests of this room talk to."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import compose_config, finished

from arabic_llm.config.chat_task import Show
from arabic_llm.serving.talk import Talk

BRIEF = (
    *("task.max_steps=6", "task.effective_batch_size=8", "task.held_out.num_bytes=0", "hw=cpu"),
    *("data.max_rows=60", "task.learning_rate=3e-3"),
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that has trained."""
    return finished(tmp_path_factory.mktemp("chat"), *BRIEF)[1]


@pytest.fixture(scope="session")
def voices(trained: Path):
    """Return base and tuned, on one copy of the weights."""
    from arabic_llm.workflows import talkers

    config = chat_config(trained)
    return talkers.voices(config, talkers.talker(config, config.task), Show.both)


@pytest.fixture
def talk(trained: Path, voices) -> Talk:
    """Return a talk with both, of at most 24 tokens an answer, in which nothing was said yet."""
    from arabic_llm.workflows import talkers

    config = chat_config(trained)
    return Talk(voices, talkers.sampling(config, config.task))


@pytest.fixture(scope="session")
def configure(trained: Path):
    """Return a function: overrides of a talk with the run -> its configuration."""
    return lambda *overrides, run=trained: chat_config(run, *overrides)


@pytest.fixture(scope="session")
def brief() -> tuple[str, ...]:
    """Return the overrides of a short training."""
    return BRIEF


def chat_config(trained: Path, *overrides: str):
    """Return the configuration of a talk with a run."""
    folder = f"cache_dir={trained.parent / 'cache'}"
    return compose_config(
        "task=chat", f"task.run={trained}", "hw=cpu", "task.max_new_tokens=24", folder, *overrides
    )
