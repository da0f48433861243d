"""A small real training run: the built-in model, forty rows, a few steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from conftest import compose_config

from arabic_llm.config.data import DataConfig
from arabic_llm.data.preparing import held_out, sources
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.tokens import chat_template, token_rows
from arabic_llm.models import adapter, bases, load, placement, streaming
from arabic_llm.profiling.training_memory import watch
from arabic_llm.tracking import NoTracker
from arabic_llm.training import batches, held_out_loss, schedule, sft
from arabic_llm.training.observer import Nobody
from arabic_llm.workflows import new_tokens

SHORT = (
    *(
        "hw=cpu",
        "task.max_steps=6",
        "task.effective_batch_size=8",
        "task.eval_steps=3",
        "task.save_steps=2",
    ),
    *("task.learning_rate=1e-3", "task.warmup_ratio=0"),
)

_LOADED: dict[str, sources.Rows] = {}


def rows_of(data: DataConfig) -> sources.Rows:
    """Return the rows of a data set, read once."""
    if (described := repr(data)) not in _LOADED:
        _LOADED[described] = sources.load(data, Path(), 17)
    return _LOADED[described]


@dataclass
class Lab:
    """The parts of a run, so that a test can change one."""

    overrides: tuple[str, ...] = ()
    rows: int = 40
    tracker: Any = field(default_factory=NoTracker)
    mix: Mix = field(default_factory=Mix)
    follows: bool = False  # the loss on held-out texts
    is_watched: bool = False  # for its memory: that takes longer than the steps

    def __post_init__(self) -> None:
        self.config = compose_config(*SHORT, *self.overrides)
        self.base = bases.locate(self.config.model, None)
        self.data = data = rows_of(self.config.data)
        tokenizer, new = new_tokens.of_run(self.config, self.base, data, None)
        self.codec = chat_template.prepare(tokenizer, self.config.model)
        self.train_rows = self._encode(data.train[:: len(data.train) // self.rows][: self.rows])
        self.dev_rows = self._encode(data.dev[:12])
        self.place = placement.resolve(self.config.hw)
        model = load.base_model(self.config.model, self.base, self.config.adapter, self.place)
        self.model = adapter.attach(model, self.config.adapter, self.base, self.config.seed, new)
        streaming.settle(self.model, self.place)

    def _encode(self, rows):
        return token_rows.encode(self.codec, rows, self.config.data, self.config.task.max_length, None).rows

    def plan(self) -> schedule.Schedule:
        """Return which rows each step sees."""
        task, data = self.config.task, batches.sequences(self.train_rows, self.config.task.max_length)
        names = batches.sources(data, self.train_rows)
        return schedule.plan(schedule.sampler(task, names, data["seq_lengths"], self.mix, self.config.seed))

    def train(self, directory: Path):
        """Train and return (model, outcome)."""
        rows_hash = token_rows.data_hash(self.train_rows)
        texts = held_out.load(self.config.task.held_out, Path(), []) if self.follows else {}
        followed = partial(held_out_loss.encode, self.codec, texts)
        material = sft.Material(self.train_rows, self.dev_rows, rows_hash, self.mix, followed)
        observer = watch(directory) if self.is_watched else Nobody()
        run = sft.Run(directory, self.config.seed, self.tracker, observer)
        return sft.train(self.model, self.codec.tokenizer, material, self.config.task, self.place, run)


def learned(model) -> dict[str, bytes]:
    """Return the bytes of every trained tensor."""
    return {n: p.detach().float().numpy().tobytes() for n, p in model.named_parameters() if p.requires_grad}
