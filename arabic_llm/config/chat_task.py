"""Types of conf/task/ for talking: what is asked, how answers are drawn, where a server listens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from omegaconf import MISSING

from arabic_llm.config.model import ModelKind
from arabic_llm.config.task import Area, TaskConfig

_PORTS = 2**16


class Show(Enum):
    """Whose answers are shown."""

    tuned = "tuned"
    base = "base"
    both = "both"  # one beside the other, each in a talk of its own


@dataclass
class SpeakingConfig(TaskConfig):
    """What every task needs that lets a model answer."""

    model_kinds: ClassVar[tuple[ModelKind, ...]] = (ModelKind.causal,)
    base: str | None = None  # folder of the run's base model, where it is another one than it was
    max_new_tokens: int = MISSING  # of an answer, at most
    port: int | None = MISSING  # of this machine alone; null: a free one

    def __post_init__(self) -> None:
        """Refuse answers of nothing, and ports that there are none of."""
        if isinstance(self.max_new_tokens, int) and self.max_new_tokens < 1:
            raise ValueError(f"task.max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if isinstance(self.port, int) and not 0 < self.port < _PORTS:
            raise ValueError(f"task.port must be between 1 and {_PORTS - 1}, not {self.port}")


@dataclass
class ChatConfig(SpeakingConfig):
    """Schema of conf/task/chat.yaml."""

    reads = frozenset({Area.model, Area.template, Area.talking})
    answers = True

    run: str | None = None  # folder of a finished run that has trained; none: model=..., adapter.path=...
    show: Show | None = None  # default: what was trained, where something was; on the page both
    prompt: str | None = None  # one question: its answer alone is written, for scripts
    system: str | None = None  # what a talk opens with
    temperature: float = MISSING  # 0: the likeliest token each time; above, drawn with `seed`
    top_p: float = MISSING  # the likeliest tokens that have so much of the probability together
    top_k: int = MISSING  # so many of the likeliest tokens; 0: all
    repetition_penalty: float = MISSING  # above 1: what was said is less likely (1909.05858)
    web: bool = MISSING  # a page in the browser instead of the terminal

    def __post_init__(self) -> None:
        """Refuse questions of nothing, and what no answer can be drawn with."""
        super().__post_init__()
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("task.prompt is empty; write a question")
        if self.system is not None and not self.system.strip():
            raise ValueError("task.system is empty; leave it out, or write what a talk opens with")
        if isinstance(self.temperature, float) and not 0 <= self.temperature < math.inf:
            raise ValueError(f"task.temperature must not be negative ({self.temperature:g})")
        if isinstance(self.top_p, float) and not 0 < self.top_p <= 1:
            raise ValueError(f"task.top_p must be above 0 and at most 1, not {self.top_p:g}")
        if isinstance(self.top_k, int) and self.top_k < 0:
            raise ValueError(f"task.top_k must not be negative ({self.top_k}); 0: all tokens")
        if isinstance(self.repetition_penalty, float) and not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"task.repetition_penalty must be positive, not {self.repetition_penalty:g}")


@dataclass
class ServeConfig(SpeakingConfig):
    """Schema of conf/task/serve.yaml."""

    reads = frozenset()  # which model and adapter: the run says it

    run: str = MISSING  # folder of a finished run that has trained
    exported: str | None = None  # folder of its task=export; default: the newest of outputs/export
    start: bool = MISSING  # start transformers serve, ask it one question, and end it
    prompt: str = MISSING  # that question

    def __post_init__(self) -> None:
        """Refuse a question of nothing."""
        super().__post_init__()
        if self.prompt != MISSING and not self.prompt.strip():
            raise ValueError("task.prompt is empty; write a question")
