"""Every module of tasks/ is a Task, and one that is added needs a YAML and a module."""

import inspect
from pathlib import Path

import pytest

from arabic_llm import tasks
from arabic_llm.config import paths

NAMES = sorted(p.stem for p in (paths.PACKAGE / "tasks").glob("*.py") if p.stem != "__init__")


def test_every_task_has_a_yaml_and_every_yaml_a_task():
    assert [p.stem for p in sorted((paths.CONF / "task").glob("*.yaml"))] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_what_the_protocol_says(name):
    task = tasks.load(name)
    assert isinstance(task.shares_work, bool)
    for verb in ("inputs", "dry_run", "run"):
        wanted = inspect.signature(getattr(tasks.Task, verb)).parameters
        assert list(inspect.signature(getattr(task, verb)).parameters) == list(wanted)[1:], verb


@pytest.mark.parametrize("name", NAMES)
def test_a_task_reads_like_a_story(name):
    lines = Path(tasks.load(name).__file__).read_text(encoding="utf-8").count("\n")
    assert lines <= 150, f"tasks/{name}.py has {lines} lines; what others could use goes to workflows/"
