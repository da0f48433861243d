"""The schemas of all tasks, wherever they stand."""

from __future__ import annotations

from arabic_llm.config import chat_task, preference_task, study_task, synthesize_task, task
from arabic_llm.config.task import TaskConfig

TASKS: tuple[type[TaskConfig], ...] = tuple(
    dict.fromkeys(
        node
        for module in (task, preference_task, study_task, chat_task, synthesize_task)
        for node in vars(module).values()
        if isinstance(node, type) and issubclass(node, TaskConfig)
    )
)
