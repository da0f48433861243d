"""Types of conf/data/: where rows come from, how they are read, cleaned and mixed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from arabic_llm.text.measures import SCRIPTS
from arabic_llm.text.normalize import PROFILES

_OF_PAIRS = ("min_answer_distance",)  # what is usual: rows that are no pairs know nothing of it


class Shape(Enum):
    """How rows are made of records that are no rows yet (data/reading/converters.py)."""

    message_trees = "message_trees"  # OpenAssistant: a message a record; a tree's best-ranked conversation
    message_tree_pairs = "message_tree_pairs"  # of the same: best-ranked reply against the worst
    numbered_turns = "numbered_turns"  # BARKA: columns question1, answer1, question2, ...
    paragraphs = "paragraphs"  # SQuAD: the paragraphs of its articles, as raw text
    paragraph_questions = "paragraph_questions"  # of the same: a question, its paragraph, its first answer


class Overflow(Enum):
    """What happens to a conversation longer than task.max_length."""

    drop = "drop"  # left out, counted
    cut = "cut"  # early turns, then the start of the question, are cut, counted; an answer never is


class BadRow(Enum):
    """What happens to a row that cannot be used: broken, or without an answer."""

    stop = "stop"
    drop = "drop"


class BidiControls(Enum):
    """What happens to a row with embeddings, overrides or isolates (U+202A-202E, U+2066-2069)."""

    drop = "drop"  # under an override, text is stored in another order than it is read in
    clean = "clean"  # they are removed, the row is counted as changed: isolates come with chats and tweets


class Engine(Enum):
    """What task=prepare cleans with; the same rows come out."""

    processes = "processes"  # of this machine, chunk after chunk of each file
    datatrove = "datatrove"  # its executors, file by file: hw.executor


@dataclass
class ColumnsConfig:
    """Which column of the file holds what.

    What is not set is recognised (data/reading/formats.py); beside prompt and response nothing is.
    """

    messages: str | None = None  # a list of {role, content} or {from, value}
    prompt: str | None = None  # the question, or the instruction
    context: str | None = None  # appended to the prompt after a blank line; may be empty or absent
    history: str | None = None  # a list of [question, answer] before the prompt; may be empty
    response: str | None = None  # the chosen one, where there is a rejected one
    rejected: str | None = None  # the worse answer; the same column as response: best first, worst last
    system: str | None = None  # what stands before the first turn
    text: str | None = None  # raw text: no question, every token supervised
    label: str | None = None  # the class of the row
    rating: str | None = None  # what somebody thought of the answer: true or false, 1 or 0, up or down
    subject: str | None = None  # a school subject, said in the data card
    unread_keys: list[str] = field(default_factory=list)  # of turns, left out: without it they are refused


@dataclass
class CleaningConfig:
    """Which rows are dropped for what they say; none: that filter is off. Filters run in this order."""

    bidi_controls: BidiControls | None = None  # of the row as it came, before normalisation
    min_chars: int | None = None  # of the whole row, all its turns
    max_chars: int | None = None  # of the whole row too
    max_repetition: float | None = None  # share of the row's 4-grams of characters that it had before
    scripts: list[str] = field(default_factory=list)  # wanted ones, of text/measures.py
    min_script_share: float | None = None  # of the row's letters, in any of `scripts`
    allow_english_fallback: bool = False  # a row whose letters are mostly Latin passes min_script_share
    max_latin_words: int | None = None  # in a row, in an Arabic or Chinese answer: what was left in English
    drop_echoes: bool = False  # rows with an answer that only repeats its question
    drop_test_items: bool = False  # rows that hold an item of the suite, or a long run of its words
    min_answer_distance: float | None = 0.05  # of a pair: edits between its answers, a share of the longer
    drop_refused: bool = False  # pairs whose rejected answer refuses: they teach to comply with anything
    near_duplicates: float | None = None  # Jaccard of word 5-grams from which on a row repeats another

    def __post_init__(self) -> None:
        """Refuse bounds that nothing passes, and names that do not exist."""
        for name in ("min_chars", "max_chars", "max_latin_words"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"data.cleaning.{name} must be at least 1, not {value}")
        if self.max_chars is not None and (self.min_chars or 1) > self.max_chars:
            raise ValueError(
                f"data.cleaning.min_chars ({self.min_chars}) is more than"
                f" data.cleaning.max_chars ({self.max_chars})"
            )
        for name in ("max_repetition", "min_script_share", "min_answer_distance", "near_duplicates"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"data.cleaning.{name} must be between 0 and 1, not {value}")
        self._refuse_scripts_that_are_not_told_apart()

    def _refuse_scripts_that_are_not_told_apart(self) -> None:
        for script in self.scripts:
            if script not in SCRIPTS:
                raise ValueError(f"data.cleaning.scripts knows {', '.join(SCRIPTS)}, not '{script}'")
        if self.min_script_share is not None and not self.scripts:
            raise ValueError("data.cleaning.min_script_share needs data.cleaning.scripts, e.g. [arabic]")


@dataclass
class SourceConfig:
    """One set of rows: where it comes from, how it is read and cleaned, how much of a mix it is."""

    name: str = MISSING
    builtin: bool = False  # generated by arabic_llm.data.sample
    path: str | None = None  # a file or folder: absolute, under data_root, or from where you type
    hub_id: str | None = None  # where it comes from when neither path nor <data_root>/<name>/ is there
    revision: str = "main"  # commit, tag or branch of hub_id
    files: list[str] = field(default_factory=list)  # patterns of a folder's data files; none: all we read
    dev_files: list[str] = field(default_factory=list)  # those that are the dev split; none: data.dev_share
    test_files: list[str] = field(default_factory=list)  # those that are the test split
    shape: Shape | None = None  # how rows are made of records that are none yet
    language: str | None = None  # ISO 639-1; of message trees, only those in it are read
    license: str | None = None  # as the set's own page names it
    seen_in_training: list[str] = field(default_factory=list)  # benchmarks whose training rows it holds
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    profile: str = "decoder"  # of text/normalize.py
    without_steps: list[str] = field(default_factory=list)  # steps of the profile to leave out
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    dedup: bool = True  # of exact copies, as matching reads them
    max_rows: int | None = None  # the first ones that cleaning keeps
    sample_size: int | None = None  # so many of them, drawn from the seed
    on_bad_row: BadRow = BadRow.stop
    weight: float | None = None  # share of a mix, relative to the others; none: its rows; 0: not read

    def __post_init__(self) -> None:
        """Refuse names that do not exist and sizes that keep nothing."""
        if self.profile not in PROFILES:
            raise ValueError(f"data.profile must be one of {', '.join(PROFILES)}, not '{self.profile}'")
        for step in self.without_steps:
            if step not in (steps := PROFILES[self.profile]):
                there = f"data.profile={self.profile} has the steps {', '.join(steps) or 'none'}"
                raise ValueError(f"data.without_steps: {there}, not '{step}'")
        for name in ("max_rows", "sample_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"data.{name} must be at least 1, not {value}")
        if self.weight is not None and self.weight < 0:
            raise ValueError(f"data.weight must not be negative ({self.weight})")

    def filters(self) -> tuple[str, ...]:
        """Return what is set of what may drop a row, as it would be typed."""
        standing = {"profile": self.profile, "dedup": self.dedup}
        bounds = {"max_rows": self.max_rows, "sample_size": self.sample_size}
        usual = CleaningConfig()
        cleaning = {
            key: value
            for key, value in vars(self.cleaning).items()
            if value and (key not in _OF_PAIRS or value != getattr(usual, key))
        }
        told = {**standing, **cleaning, **{key: value for key, value in bounds.items() if value}}
        return tuple(
            f"{key}={value.value if isinstance(value, Enum) else value}" for key, value in told.items()
        )


@dataclass
class DataConfig(SourceConfig):
    """What the model learns from: one set of rows, or a mix of several."""

    sources: dict[str, SourceConfig] = field(default_factory=dict)  # of a mix
    language_quotas: dict[str, float] = field(default_factory=dict)  # shares of a mix by language
    prefer_chinese_ratio: float | None = None  # language_quotas.zh, as recipes for pairs spell it
    labels: list[str] = field(
        default_factory=list
    )  # classes in their order; none: as rows have them, by name
    labels_are_ordered: bool = False  # as grades are: a near miss is no far one
    num_length_buckets: int = 1  # a step's sequences come from one of so many classes of length
    dev_share: float = 0.05  # of rows, kept for the loss on unseen rows
    test_share: float = 0.05  # of rows, kept for the day that is over
    overflow: Overflow = Overflow.drop
    max_lost_share: float = 0.1  # of rows; the run stops when more are lost to their length
    engine: Engine = Engine.processes  # of task=prepare

    def __post_init__(self) -> None:
        """Refuse shares that are none, and quotas of languages that no source has."""
        super().__post_init__()
        for name in ("dev_share", "test_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be in [0, 1), not {getattr(self, name)}")
        if self.dev_share + self.test_share >= 1:
            raise ValueError(
                f"data.dev_share ({self.dev_share}) and data.test_share ({self.test_share}) leave no row"
            )
        if not 0 <= self.max_lost_share <= 1:
            raise ValueError(f"data.max_lost_share must be between 0 and 1, not {self.max_lost_share}")
        if self.num_length_buckets < 1:
            raise ValueError(f"data.num_length_buckets must be at least 1, not {self.num_length_buckets}")
        if self.labels_are_ordered and not self.labels:
            raise ValueError("data.labels_are_ordered needs data.labels, in their order")
        self._spell_the_quota()
        self._refuse_impossible_mixes()

    def _spell_the_quota(self) -> None:
        """Make a quota of the ratio that is one: two spellings of a run are the same run."""
        ratio, quotas = self.prefer_chinese_ratio, self.language_quotas
        if ratio is None:
            return
        if not 0 <= ratio <= 1:
            raise ValueError(f"data.prefer_chinese_ratio must be between 0 and 1, not {ratio:g}")
        if "zh" not in {source.language for source in self.sources.values() if source.weight != 0}:
            raise ValueError(
                f"data.prefer_chinese_ratio={ratio:g}: no source has data.language=zh; give a mix, as"
                " data=alignment_pairs is"
            )
        if quotas.get("zh", ratio) != ratio:
            raise ValueError(
                f"data.prefer_chinese_ratio={ratio} is data.language_quotas.zh, which is"
                f" {quotas['zh']}; set one of them"
            )
        self.language_quotas, self.prefer_chinese_ratio = {**quotas, "zh": ratio}, None

    def _refuse_impossible_mixes(self) -> None:
        read = [source for source in self.sources.values() if source.weight != 0]
        if self.sources and not read:
            raise ValueError("data.sources: every weight is 0, so nothing would be read")
        weighted = [source.name for source in read if source.weight is not None]
        if weighted and len(weighted) < len(read):
            bare = next(source.name for source in read if source.weight is None)
            raise ValueError(f"data.sources.{bare}.weight is not set, but that of {weighted[0]} is")
        for language, quota in self.language_quotas.items():
            if not 0 <= quota <= 1:
                raise ValueError(f"data.language_quotas.{language} must be between 0 and 1, not {quota}")
            if language not in [source.language for source in read]:
                raise ValueError(f"data.language_quotas.{language}: no source has data.language={language}")
        if (total := sum(self.language_quotas.values())) > 1 + 1e-9:  # 0.7 + 0.2 + 0.1 is a little more
            raise ValueError(f"data.language_quotas add up to {total:g}; shares are 1 together at most")
