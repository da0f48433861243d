"""Types of conf/task/ for synthetic rows: where articles come from, who asks and answers, what is kept."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from arabic_llm.config import suite
from arabic_llm.config.task import Area, TaskConfig

_CONTACT = re.compile(r"\S+@\S+\.\S+|https?://\S+")
_LANGUAGE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")  # as NLLB names them: arb_Arab


class Articles(Enum):
    """Where articles come from."""

    data = "data"  # raw texts of the data set
    mediawiki = "mediawiki"  # a wiki, by its API


class Backend(Enum):
    """Who makes questions and answers of a paragraph."""

    extractive = "extractive"  # rules, no model: the questions are poor, and always the same
    openai = "openai"  # a server that speaks OpenAI's chat completions
    transformers = "transformers"  # model=..., here
    magpie = "magpie"  # the same, given its own empty user turn: it invents questions, without articles


class PromptLanguage(Enum):
    """The language in which a model is asked for questions, and writes them."""

    ar = "ar"
    en = "en"  # translated afterwards


class Translator(Enum):
    """What translates."""

    nllb = "nllb"  # by transformers
    ctranslate2 = "ctranslate2"  # the same weights in 8 bits, on the CPU


class KnownBenchmark(Enum):
    """Benchmarks whose training rows become instructions."""

    boolq = "boolq"
    race = "race"
    copa = "copa"
    hellaswag = "hellaswag"
    sciq = "sciq"
    arc_easy = "arc_easy"
    arc_challenge = "arc_challenge"
    piqa = "piqa"
    gsm8k = "gsm8k"


def _refuse_below(owner: Any, prefix: str, least: float, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, int | float) and value < least:
            raise ValueError(f"{prefix}.{name} must be at least {least:g}, not {value:g}")


def _refuse_no_share(owner: Any, prefix: str, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, int | float) and not 0 <= value <= 1:
            raise ValueError(f"{prefix}.{name} must be between 0 and 1, not {value:g}")


@dataclass
class MediaWikiConfig:
    """Which articles of a wiki, and how it is asked."""

    api: str = MISSING  # its api.php
    contact: str | None = None  # an address or a page of yours: Wikimedia's policy asks every client for it
    categories: list[str] = field(default_factory=list)  # whose pages are taken
    search: list[str] = field(default_factory=list)  # words, whose findings are taken
    max_articles: int = MISSING  # the first ones
    license: str = MISSING  # of the wiki's texts
    seconds_between: float = MISSING  # requests
    max_tries: int = MISSING  # of a request that the wiki puts off

    def __post_init__(self) -> None:
        """Refuse a contact that nobody can be reached by, and requests without an end."""
        if self.contact is not None and not _CONTACT.fullmatch(self.contact):
            raise ValueError(
                f"task.mediawiki.contact={self.contact} is no e-mail address and no page (https://...)"
            )
        _refuse_below(self, "task.mediawiki", 1, "max_articles", "max_tries")
        _refuse_below(self, "task.mediawiki", 0, "seconds_between")


@dataclass
class ParagraphsConfig:
    """Which paragraphs of an article are asked about, and which are long."""

    min_chars: int = MISSING  # a shorter one is dropped
    max_chars: int = MISSING  # a longer one is split between sentences
    min_score: float = MISSING  # how much it is prose: 0 to 1
    near_duplicates: float = MISSING  # Jaccard of word 5-grams from which on one repeats another
    short_share: float = MISSING  # of the paragraphs, by length: those become pairs
    long_share: float = MISSING  # the longest: those become conversations
    max_paragraphs: int | None = None  # the first ones that are kept

    def __post_init__(self) -> None:
        """Refuse bounds that nothing passes, and shares of more than there is."""
        _refuse_below(self, "task.paragraphs", 1, "min_chars", "max_chars", "max_paragraphs")
        _refuse_no_share(
            self, "task.paragraphs", "min_score", "near_duplicates", "short_share", "long_share"
        )
        bounds = (self.min_chars, self.max_chars)
        if all(isinstance(bound, int) for bound in bounds) and bounds[0] > bounds[1]:
            raise ValueError(
                f"task.paragraphs.min_chars ({bounds[0]}) is more than max_chars ({bounds[1]})"
            )
        shares = (self.short_share, self.long_share)
        if all(isinstance(share, int | float) for share in shares) and not 0 < sum(shares) <= 1 + 1e-9:
            raise ValueError(
                f"task.paragraphs.short_share ({shares[0]:g}) and long_share ({shares[1]:g}) must add up to"
                " more than 0 and at most 1; what is between them is left out"
            )


@dataclass
class ServerConfig:
    """An OpenAI-compatible server; its key is ARABIC_LLM_SYNTHESIS_KEY, in the environment alone."""

    endpoint: str | None = None  # http://localhost:8000/v1
    model: str | None = None  # as the server names it
    in_flight: int = MISSING  # requests at once
    timeout_seconds: float = MISSING  # of a whole answer
    wait_seconds: float = MISSING  # before the second try, then twice as long, unless the server says
    max_tokens: int | None = None  # of all requests together, read and said; then no more is asked
    max_cost: float | None = None  # the same in money
    input_price: float = MISSING  # of a million tokens read, in the money of max_cost
    output_price: float = MISSING  # of a million tokens said

    def __post_init__(self) -> None:
        """Refuse half a server, an address that is none or holds a key, and waiting without an end."""
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("task.server.endpoint and task.server.model are needed together")
        if self.endpoint is not None:
            suite.refuse_secret(self.endpoint, "task.server.endpoint", "ARABIC_LLM_SYNTHESIS_KEY")
            suite.refuse_no_address(self.endpoint, "task.server.endpoint")
        _refuse_below(self, "task.server", 1, "in_flight", "max_tokens")
        _refuse_below(self, "task.server", 0, "wait_seconds", "input_price", "output_price", "max_cost")
        if isinstance(self.timeout_seconds, float) and self.timeout_seconds <= 0:
            raise ValueError(f"task.server.timeout_seconds must be positive, not {self.timeout_seconds:g}")
        if self.max_cost is not None and self.input_price == 0 and self.output_price == 0:
            raise ValueError("task.server.max_cost needs task.server.input_price and output_price")


@dataclass
class SamplingConfig:
    """How a model is asked."""

    prompts: PromptLanguage = MISSING  # in which a model is asked, and writes
    temperature: float = MISSING  # 0: always the likeliest
    top_p: float = MISSING  # tokens that together are so likely
    max_new_tokens: int = MISSING  # of an answer
    num_pairs: int = MISSING  # of a short paragraph, at most
    num_examples: int = MISSING  # worked ones shown before it: a small model follows them better than words
    batch_tokens: int = MISSING  # of backend=transformers: padded tokens at once
    num_conversations: int = MISSING  # of backend=magpie
    max_tries: int = MISSING  # of one request: put off, cut, or malformed

    def __post_init__(self) -> None:
        """Refuse what no answer can be drawn with."""
        _refuse_below(self, "task.sampling", 0, "temperature", "num_examples")
        counts = ("max_new_tokens", "num_pairs", "batch_tokens", "num_conversations", "max_tries")
        _refuse_below(self, "task.sampling", 1, *counts)
        if isinstance(self.top_p, float) and not 0 < self.top_p <= 1:
            raise ValueError(f"task.sampling.top_p must be above 0 and at most 1, not {self.top_p:g}")


@dataclass
class TranslationConfig:
    """What makes Arabic of rows that are in another language."""

    engine: Translator = MISSING  # what translates
    path: str | None = None  # folder of the weights, with their tokenizer
    source: str = MISSING  # as NLLB names languages
    target: str = MISSING  # likewise
    batch_tokens: int = MISSING  # padded tokens at once
    num_beams: int = MISSING  # 1: always the likeliest
    max_tokens: int = MISSING  # of a sentence: what the model was trained to see
    license: str = MISSING  # of the weights

    def __post_init__(self) -> None:
        """Refuse names of languages that NLLB does not have, and batches of nothing."""
        for name in ("source", "target"):
            if (said := getattr(self, name)) != MISSING and not _LANGUAGE.fullmatch(said):
                raise ValueError(f"task.translation.{name}={said} is no name of NLLB's: eng_Latn, arb_Arab")
        _refuse_below(self, "task.translation", 1, "batch_tokens", "num_beams", "max_tokens")


@dataclass
class QualityConfig:
    """Which rows are kept."""

    min_grounded: float = MISSING  # share of the answer's words that stand in paragraph or question
    min_arabic: float = MISSING  # share of Arabic letters, of questions and of answers
    max_latin_words: int = MISSING  # in a row: what was left untranslated
    max_repetition: float = MISSING  # share of 4-grams of characters that the row had before
    min_length_ratio: float = MISSING  # of a translation to what was translated, in characters
    max_length_ratio: float = MISSING  # likewise
    near_duplicates: float = MISSING  # of whole rows
    judged: int = MISSING  # rows of a sample that the judge looks at, where judge.endpoint is set

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        _refuse_no_share(
            self, "task.quality", "min_grounded", "min_arabic", "max_repetition", "near_duplicates"
        )
        _refuse_below(self, "task.quality", 0, "max_latin_words", "min_length_ratio", "judged")
        if isinstance(self.max_length_ratio, float) and self.max_length_ratio < self.min_length_ratio:
            raise ValueError("task.quality.max_length_ratio is less than task.quality.min_length_ratio")


@dataclass
class SynthesizeConfig(TaskConfig):
    """Schema of conf/task/synthesize.yaml."""

    reads = frozenset(
        {Area.model, Area.template, Area.rows, Area.items, Area.cleaning, Area.judge, Area.talking}
    )

    articles: Articles = MISSING  # where they come from
    backend: Backend = MISSING  # who asks and answers
    benchmark: KnownBenchmark | None = None  # data=... are its training rows, which templates reword
    review: int = MISSING  # rows of the page that a person reads, with marks; 0: no page
    marks: str | None = None  # the file that the page has saved: rows that a person dropped are left out
    mediawiki: MediaWikiConfig = field(default_factory=MediaWikiConfig)
    paragraphs: ParagraphsConfig = field(default_factory=ParagraphsConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    translation: TranslationConfig = field(default_factory=TranslationConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)

    def __post_init__(self) -> None:
        """Refuse a page of less than nothing."""
        _refuse_below(self, "task", 0, "review")
