"""What an evaluation found: scores with their items, and what made them, as values and as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from arabic_llm import files
from arabic_llm.analysis import intervals, power, scores_check
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import KAPPA
from arabic_llm.errors import CheckpointError, DamagedError

_RESULT, _ITEMS = "result.json", "items.jsonl"
_OF_ITEMS = "items_sha256"  # in the result
FIRST = ""
_RIGHT = ("acc", "acc_norm")  # of one score of a task it goes without saying


@dataclass(frozen=True)
class Item:
    """One answered item of one task: what was asked, wanted, said, and its scores by metric."""

    task: str
    id: str
    question: str
    target: str
    answer: str
    scores: dict[str, float]
    subject: str = ""
    num_choices: int = 0  # 0: the answer was generated
    target_index: int = -1
    answer_index: int = -1
    prompt_hash: str = ""  # of what the task asks, without examples
    is_shot: bool = False  # it stands among those that the few-shot examples are drawn from
    context: str = ""  # the paragraph that is asked about
    level: str = ""  # of school, where the benchmark has one
    options: tuple[str, ...] = ()  # the choices in words, where the answer is a letter too
    lacked: tuple[float, ...] = ()  # nats more by which each choice would have been the answer
    is_cut: bool = False  # the limit of tokens ended the answer
    lost_tokens: int = 0  # of its prompt, which began before what the model can see

    @property
    def is_right(self) -> bool:
        """Return whether the first metric gives it all there is."""
        return next(iter(self.scores.values())) >= 1

    @property
    def first(self) -> float:
        """Return its score in the first metric of its task."""
        return next(iter(self.scores.values()))

    @property
    def level_said(self) -> tuple[int, int, int]:
        """Return which level was wanted and which was said, of how many."""
        return self.target_index, self.answer_index, self.num_choices

    def value(self, metric: str) -> float:
        """Return its score in a metric, which may be the first of its task."""
        return self.first if metric == FIRST else self.scores[metric]


@dataclass(frozen=True)
class Score:
    """One metric of a task, or of a group of tasks, over all its items or as a weighted mean of its tasks.

    `random` is the score of drawing an answer, `constant` that of the test's most frequent answer given to
    every item (of choices, its position), and `majority` that of the most frequent one among the rows that
    few-shot examples are drawn from: known without the test. Without such rows it is `constant`.
    `balanced` and `macro_f1` (of choices) are what those cannot buy: the mean over the positions of the
    right answer, however often each is right; of F1, and over those that are answered.
    `low` and `high` bound its 95% interval, and `smallest_difference` is what another model must score more
    (less, below 0) to be found better 4 times of 5; None: so few items cannot show any.
    """

    name: str
    metric: str  # FIRST: of each of its tasks the first
    n: int
    value: float
    stderr: float
    random: float
    constant: float | None
    tasks: tuple[str, ...]  # whose items are counted
    version: str
    weights: tuple[float, ...] = ()  # of the tasks; none: by their items
    balanced: float | None = None
    macro_f1: float | None = None
    num_repeated: int = 0  # items that ask what another of the same task asks
    num_shots: int = 0  # items among the examples that few-shot prompts are drawn from
    seen_in_training: bool = False
    majority: float | None = None
    num_shortened: int = 0  # items whose prompt lost its beginning: it is longer than the model can see
    low: float | None = None
    high: float | None = None
    smallest_difference: float | None = None
    is_one_of_several: bool = False  # its task has other metrics too
    prompts: tuple[tuple[str, float], ...] = ()  # (prompt, score) of the same items asked otherwise

    @property
    def by_prompt(self) -> tuple[float, float] | None:
        """Return the lowest and the highest score of its items in any prompt, or None: one was asked."""
        values = [self.value, *(value for _, value in self.prompts)]
        return (min(values), max(values)) if self.prompts else None

    @property
    def is_alike(self) -> bool:
        """Return whether graded items all have one score: what the interval says is but their number."""
        return self.stderr == 0 and not self.weights and self.value not in (0.0, 1.0)

    @property
    def label(self) -> str:
        """Return how tables name it."""
        is_plain = self.metric == FIRST or (self.metric in _RIGHT and not self.is_one_of_several)
        name = self.name if is_plain else f"{self.name} {self.metric}"
        return f"{name} (seen in training)" if self.seen_in_training else name


@dataclass(frozen=True)
class Evaluation:
    """A model on a suite. `judged` tells what was done how; `model` what was judged.

    `traits` (language and skill of each task of the suite) only describe: two evaluations that differ in
    them, or that have none, are as comparable as without.
    """

    model: dict[str, Any]
    judged: dict[str, Any]
    scores: list[Score]
    items: list[Item]
    seconds: float = field(default=0.0, compare=False)
    traits: dict[str, dict[str, str | None]] = field(default_factory=dict, compare=False)

    @property
    def fingerprint(self) -> str:
        """Return what tells this evaluation apart."""
        return fingerprint({"model": self.model, "judged": self.judged})

    def is_whole(self, score: Score) -> bool:
        """Return whether a score stands by itself: a group, or a task that is in none."""
        groups = [
            one for one in self.scores if len(one.tasks) > 1 and one.name != self.judged.get("overall")
        ]
        return len(score.tasks) > 1 or all(score.name not in group.tasks for group in groups)

    def values(self, score: Score) -> dict[tuple[str, str], float]:
        """Return (task, item id) -> value of one score's items."""
        chosen = set(score.tasks)
        return {(i.task, i.id): i.value(score.metric) for i in self.items if i.task in chosen}

    def levels(self, score: Score) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Return (task, item id) -> which level was wanted and said, of how many, in one score."""
        chosen = set(score.tasks)
        return {(i.task, i.id): i.level_said for i in self.items if i.task in chosen}


def certainty(parts: Sequence[intervals.Values], weights: Sequence[float]) -> dict[str, Any]:
    """Return what a score says of how sure it is: from the values of the items of each part."""
    low, high = intervals.mean(parts, weights)
    return {"low": low, "high": high, "smallest_difference": power.smallest_difference(parts, weights)}


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write items.jsonl, then result.json: a folder with a result has all its items."""
    files.write_json_lines(folder / _ITEMS, (asdict(item) for item in evaluation.items))
    result = {"fingerprint": evaluation.fingerprint, _OF_ITEMS: files.sha256(folder / _ITEMS)}
    result |= asdict(evaluation)
    del result["items"]
    files.write_state(folder / _RESULT, result)


def read(folder: Path, *, are_shares: bool = False) -> Evaluation:
    """Return a written evaluation; `are_shares`: each score must be a share of 1.

    Raises CheckpointError when the folder holds none, DamagedError when a file of it is not what was
    written: it names what stands there where that cannot be.
    """
    if not holds(folder):
        raise CheckpointError(f"{folder} holds no evaluation (no {_RESULT} with scores)")
    path, of_items = folder / _RESULT, folder / _ITEMS
    if not of_items.is_file():
        raise DamagedError(f"{of_items} is gone; {scores_check.CURE}")
    result, lines = files.read_json(path), files.read_json_lines(of_items)
    for key in ("fingerprint", files.HASH, _OF_ITEMS):  # an older one has no hashes
        result.setdefault(key, None)
    expected, _, items_hash = (result.pop(key) for key in ("fingerprint", files.HASH, _OF_ITEMS))
    try:
        scores, items = list(map(_score, result.pop("scores"))), list(map(_item, lines))
        evaluation = Evaluation(scores=scores, items=items, **result)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise DamagedError(f"{path} or {_ITEMS} is damaged ({error}); {scores_check.CURE}") from error
    scores_check.refuse_impossible(evaluation, path, of_items, are_shares=are_shares)
    files.read_state(path, is_old_too=items_hash is None)
    if evaluation.fingerprint != expected or items_hash not in (None, files.sha256(of_items)):
        raise DamagedError(f"{path} or {_ITEMS} was changed after the evaluation; {scores_check.CURE}")
    return _with_certainty(evaluation)


def _with_certainty(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation whose scores have intervals and their metrics; an older file lacks them."""
    scores, several = [], Counter(score.name for score in evaluation.scores)
    for score in evaluation.scores:
        if score.low is None and score.metric != KAPPA:
            values = evaluation.values(score)
            groups = [[name] for name in score.tasks] if score.weights else [score.tasks]
            parts = [np.array([v for (task, _), v in values.items() if task in own]) for own in groups]
            score = replace(score, **certainty(parts, score.weights or (1.0,)))  # noqa: PLW2901
        scores.append(replace(score, is_one_of_several=several[score.name] > 1))
    return replace(evaluation, scores=scores)


def _score(values: dict[str, Any]) -> Score:
    """Return a score as it was written."""
    several = {name: tuple(values.get(name, ())) for name in ("tasks", "weights")}
    prompts = tuple((str(name), float(value)) for name, value in values.get("prompts", ()))
    return Score(**values | several | {"prompts": prompts})


def _item(values: dict[str, Any]) -> Item:
    """Return an item as it was written; an older file lacks what it did not know."""
    several = {name: tuple(values.get(name, ())) for name in ("options", "lacked")}
    return Item(**values | several)


def folder_of(given: Path) -> Path:
    """Return the folder of an evaluation: the one that is given, or the only one of a run's folder.

    Raises CheckpointError when there is none, and when there are several: a study's.
    """
    inside = given / "evaluation"
    whole = [folder for folder in (given, inside) if holds(folder)]
    sides = [folder / side for folder in (given, inside) for side in ("base", "tuned")]
    found = whole[:1] or [folder for folder in sides if holds(folder)]
    if not found:
        why = "holds no evaluation" if given.is_dir() else "is no folder of a run, nor of an evaluation"
        raise CheckpointError(f"{given} {why}; task=evaluate makes one")
    if len(found) > 1:
        raise CheckpointError(f"{given} holds two evaluations; choose {' or '.join(map(str, found))}")
    return found[0]


def holds(folder: Path) -> bool:
    """Return whether a folder holds an evaluation, whole or damaged; a run's own result has no scores."""
    if not (folder / _RESULT).is_file():
        return False
    try:
        result = files.read_json(folder / _RESULT)
    except DamagedError:
        return (folder / _ITEMS).is_file()
    return isinstance(result, dict) and "scores" in result
