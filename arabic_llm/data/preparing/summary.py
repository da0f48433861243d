"""What a prepared data set holds, counted: rows, tokens, words and lengths of each source, and its plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from arabic_llm.data.ledger import Ledger

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Bins of the length histogram: rows of at most so many tokens, half an octave apart, so that every power
# of two (what people set task.max_length to) ends one; the last bin holds what is longer than all of them.
LENGTH_BINS = tuple(round(2 ** (half_octaves / 2)) for half_octaves in range(8, 31))


@dataclass(frozen=True)
class Counts:
    """What rows hold together; the counts of two parts add up to those of the whole.

    Tokens are those of what the rows say, without the chat template's own, which belong to a model.
    Answers are what is learned: all turns of the assistant, and raw text whole.
    """

    rows: dict[str, int] = field(default_factory=dict)  # by split
    instruction_tokens: int = 0
    answer_tokens: int = 0
    words: int = 0  # as text/words.py counts them
    lengths: tuple[int, ...] = (0,) * (len(LENGTH_BINS) + 1)  # rows by tokens, in LENGTH_BINS
    labels: dict[str, int] = field(default_factory=dict)  # rows by label, of those that have one
    subjects: dict[str, int] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Return the rows of all splits."""
        return sum(self.rows.values())

    @property
    def tokens(self) -> int:
        """Return instruction and answer tokens together."""
        return self.instruction_tokens + self.answer_tokens

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both parts together, in whatever order they are added."""
        return Counts(
            _sum(self.rows, other.rows),
            self.instruction_tokens + other.instruction_tokens,
            self.answer_tokens + other.answer_tokens,
            self.words + other.words,
            tuple(a + b for a, b in zip(self.lengths, other.lengths, strict=True)),
            _sum(self.labels, other.labels),
            _sum(self.subjects, other.subjects),
        )


def count(
    split: str,
    instruction_tokens_R: ArrayLike,  # noqa: N803 (shape suffix)
    answer_tokens_R: ArrayLike,  # noqa: N803
    words_R: ArrayLike,  # noqa: N803
    labels: Iterable[str] = (),
    subjects: Iterable[str] = (),
) -> Counts:
    """Return the counts of R rows of one split. An empty label or subject is none."""
    import numpy as np

    given = (instruction_tokens_R, answer_tokens_R, words_R)
    instruction, answer, words = (np.asarray(numbers, np.int64) for numbers in given)
    bins = np.searchsorted(LENGTH_BINS, instruction + answer)
    return Counts(
        {split: len(words)},
        int(instruction.sum()),
        int(answer.sum()),
        int(words.sum()),
        tuple(np.bincount(bins, minlength=len(LENGTH_BINS) + 1).tolist()),
        _sum(Counter(filter(None, labels)), {}),
        _sum(Counter(filter(None, subjects)), {}),
    )


def word_unit(language: str | None) -> str:
    """Return what words are called in this language: of Chinese, each character is one."""
    return "Han character" if language == "zh" else "word"


@dataclass(frozen=True)
class SourceShare:
    """What part of a mix a source was asked to be and is, as shares of 1."""

    asked: float
    achieved: float  # of the rows
    achieved_tokens: float


@dataclass(frozen=True)
class SourceSummary:
    """One source: what it is, what became of its rows, what those that were kept hold."""

    name: str
    language: str | None
    license: str | None
    origin: str  # "hub/id @ revision", or the names of the files
    ledger: Ledger
    counts: Counts = field(default_factory=Counts)
    seen_in_training: tuple[str, ...] = ()  # benchmarks that the source is made from
    filters: tuple[str, ...] = ()  # that were on, with their bounds: "max_chars=2048"
    share: SourceShare | None = None  # None: not part of a mix


@dataclass(frozen=True)
class SplitFile:
    """One file of rows beside the card: train.jsonl, pref_dev.jsonl..."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class StepCount:
    """What training on the train split would take."""

    epochs: float
    effective_batch: int  # sequences an optimiser step
    num_steps: int
    padding: float | None = None  # share of a batch's positions, as planned
    padding_without_buckets: float | None = None
    tokens: int | None = None  # of the rows, in an epoch, without a chat template's own


@dataclass(frozen=True)
class Summary:
    """Everything that the card of a prepared data set says."""

    name: str
    command: str  # that made it
    tokenizer: str
    seed: int
    sources: tuple[SourceSummary, ...]
    files: tuple[SplitFile, ...]
    plan: StepCount | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as JSON holds it."""
        values = asdict(self)
        for written, source in zip(values["sources"], self.sources, strict=True):
            written["ledger"] = (
                source.ledger.as_dict()
            )  # asdict takes a Counter's items for things to count
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Summary:
        """Return the summary that as_dict gave, also after a way through JSON."""
        return cls(
            **{
                **values,
                "sources": tuple(_source(source) for source in values["sources"]),
                "files": tuple(SplitFile(**file) for file in values["files"]),
                "plan": StepCount(**values["plan"]) if values["plan"] else None,
            }
        )


def _source(values: dict[str, Any]) -> SourceSummary:
    counts = {**values["counts"], "lengths": tuple(values["counts"]["lengths"])}
    return SourceSummary(
        **{
            **values,
            "ledger": Ledger.from_dict(values["ledger"]),
            "counts": Counts(**counts),
            "seen_in_training": tuple(values["seen_in_training"]),
            "filters": tuple(values["filters"]),
            "share": SourceShare(**values["share"]) if values["share"] else None,
        }
    )


def _sum(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Return the sums by key, in the order of the keys: the order of the parts leaves no trace."""
    return {key: left.get(key, 0) + right.get(key, 0) for key in sorted({*left, *right})}
