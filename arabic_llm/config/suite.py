"""Types of conf/suite/: what a model is asked, how its answers are scored, and who judges the mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from omegaconf import MISSING

from arabic_llm.config.data import DataConfig

KAPPA = (
    "qwk"  # a metric of ours, of any task that asks for a level: quadratic weighted kappa of all its items
)
JUDGE = "judge"  # a metric that judge.endpoint gives, from 0 to 10, as a share of 10


class Aggregate(Enum):
    """How the subsets of a benchmark become one score."""

    micro = "micro"  # the mean over all items, as lm-eval's own groups
    macro = "macro"  # the unweighted mean over the subsets, as the Open Arabic LLM Leaderboard


@dataclass
class SuiteTask:
    """One lm-eval task or group of a suite."""

    folder: str = MISSING  # of lm_eval/tasks, or of arabic_llm/evaluation/tasks
    language: str | None = None  # ISO 639: ar (standard), arz, ary, apc, en, zh; or dialects, where mixed
    skill: str | None = None  # knowledge, reading, reasoning, ...: the report has means by both
    metrics: list[str] = field(
        default_factory=lambda: ["acc"]
    )  # or metric,filter, or qwk; the first is plotted
    num_fewshot: int = 0  # examples with their answers before each question
    chat: bool = True  # prompts go through the chat template, as in training
    path: str | None = None  # local copy, under data_root; none: what the task's own YAML says
    reader: str | None = None  # function of evaluation/local_copies.py that reads it
    columns: dict[str, str] = field(
        default_factory=dict
    )  # of rows in another schema: {wanted column: its name there}
    data: DataConfig | None = None  # or: a data set whose test split is asked, which data= holds out
    own_rows: bool = False  # that of data= itself, as the run splits it
    seed: int = 0  # of that split
    limit: int | None = None  # items of each of its leaves, beside suite.limit; part of the fingerprint
    aggregate: Aggregate = Aggregate.micro
    seen_in_training: bool = False  # its training split was learned from: every table says so
    compared_with: str | None = None  # of its tasks that ask the same: the one that others are held against

    def __post_init__(self) -> None:
        """Refuse a task without a score, and a local copy that nothing reads."""
        if not self.metrics:
            raise ValueError("a suite's task needs at least one metric")
        self._refuse_two_places()
        if KAPPA in self.metrics and self.aggregate is Aggregate.macro:
            raise ValueError(f"a suite's task in {KAPPA} needs aggregate=micro: kappas have no mean")
        if self.num_fewshot < 0:
            raise ValueError(f"a suite's num_fewshot must not be negative ({self.num_fewshot})")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"a suite's task needs a limit of at least 1, not {self.limit}")

    def _refuse_two_places(self) -> None:
        if (self.path is None) != (self.reader is None):
            raise ValueError("a suite's task needs path and reader together, or neither")
        is_of_data = self.data is not None or self.own_rows
        if self.path is not None and is_of_data:
            raise ValueError("a suite's task is read from path or from data, not from both")
        if self.columns and (self.path is not None or is_of_data):
            raise ValueError("a suite's columns are of what the hub has; path and data name their own")


@dataclass
class SuiteConfig:
    """What the model is judged by."""

    name: str = MISSING
    tasks: dict[str, SuiteTask] = field(default_factory=dict)  # by the name that lm-eval has for each
    overall: str | None = None  # name of the unweighted mean of all its tasks, where it has one
    overall_mixes: bool = False  # its tasks have several first metrics, all of them shares of 1
    limit: int | None = None  # items of each task, for a quick look; part of the fingerprint
    prompt_variants: bool = False  # ask each item in six more prompts, and tell how far they lie apart
    allow_missing: bool = False  # go on without the benchmarks that cannot be had; part of the fingerprint

    def __post_init__(self) -> None:
        """Refuse a suite that asks nothing."""
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"suite.limit must be at least 1, not {self.limit}")


def refuse_secret(
    endpoint: str, setting: str = "judge.endpoint", key: str = "ARABIC_LLM_JUDGE_KEY"
) -> None:
    """Refuse an address that holds a password or a key, without saying it: it would be written to files."""
    if any(sign in endpoint for sign in "@?#;="):
        raise ValueError(
            f"{setting} must not hold a password or a key (nothing with @, ?, #, ; or =); set {key} instead"
        )


def refuse_no_address(endpoint: str, setting: str = "judge.endpoint") -> None:
    """Refuse what is no address of a server."""
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"{setting} must begin with http:// or https:// ({endpoint})")
    try:
        is_named = bool(urlsplit(endpoint).hostname) and urlsplit(endpoint).port != 0
    except ValueError:  # of a port, of brackets
        is_named = False
    if not is_named or not endpoint.isprintable() or " " in endpoint:
        raise ValueError(f"{setting} is no address of a server ({endpoint!r}): http://localhost:8000/v1")


@dataclass
class JudgeConfig:
    """Who is asked about the mistakes that no check explains; its key is ARABIC_LLM_JUDGE_KEY."""

    endpoint: str | None = None  # of an OpenAI-compatible server: http://localhost:8000/v1; none: nobody
    model: str | None = None  # as the server names it

    def __post_init__(self) -> None:
        """Refuse half a judge, and an address that is none or holds a password."""
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("judge.endpoint and judge.model are needed together")
        if self.endpoint is not None:
            refuse_secret(self.endpoint)
            refuse_no_address(self.endpoint)
