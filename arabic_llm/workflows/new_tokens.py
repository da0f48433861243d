"""New tokens of a run: learned from its training rows, or those of the adapter that it goes on with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from arabic_llm import files
from arabic_llm.config.data import DataConfig
from arabic_llm.config.fingerprint import code_hash, fingerprint
from arabic_llm.config.run import RunConfig
from arabic_llm.data.preparing import sources
from arabic_llm.data.preparing.sources import Rows
from arabic_llm.data.reading import locate
from arabic_llm.data.rows import Row
from arabic_llm.errors import ConfigError
from arabic_llm.models import merges, tokenization, vocabulary
from arabic_llm.models.bases import Base
from arabic_llm.models.vocabulary import NewTokens
from arabic_llm.text import words

log = logging.getLogger(__name__)
_SCRIPTS = {"ar": "arabic", "zh": "han"}  # of rows' languages; where none is said, rows are Arabic
_CODE = ("models/merges.py", "models/vocabulary.py", "workflows/new_tokens.py")
_MOST_READ = 1000  # rows of a split, spread over it, that tokens a word are counted on


def of_run(
    config: RunConfig, base: Base, rows: Rows, cache_dir: Path | None
) -> tuple[PreTrainedTokenizerBase, NewTokens | None]:
    """Return the tokenizer that a run's rows are read with, and the tokens in it that are not the base's.

    They are learned once for like rows, and kept in cache_dir; a dry run has none. Raises ConfigError where
    the tokenizer cannot be gone on with, or the rows have nothing to learn from.
    """
    adapter = config.adapter
    earlier = None if adapter.path is None else Path(adapter.path)
    tokenizer = tokenization.load(base, earlier)
    if not adapter.extend_vocabulary:
        return tokenizer, vocabulary.of_adapter(earlier)
    merges.refuse_other(tokenizer.backend_tokenizer)
    scripts, number = _scripts(config.data), adapter.extend_vocabulary
    key = {
        "rows": sources.content_hash(rows.train),
        "tokenizer": fingerprint(tokenizer.backend_tokenizer.to_str()),
        "how": [number, scripts, code_hash(_CODE)],
    }
    path = cache_dir / "vocabularies" / f"{fingerprint(key)}.json" if cache_dir else None
    if path is None or (new := files.kept(path, vocabulary.read)) is None:
        new = _learned(tokenizer, rows.train, number, scripts)
        if path is not None:
            files.write_json(path, new.as_dict())
    before = _fertility(tokenizer, rows)
    extended = vocabulary.extend(tokenizer, new)
    _say(new, adapter.extend_vocabulary, (before, _fertility(extended, rows)), len(rows.train))
    return extended, new


def _learned(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], number: int, scripts: list[str]
) -> NewTokens:
    texts = (
        turn for row in tqdm(rows, "new tokens", unit="row", leave=False, delay=2) for turn in row.turns()
    )
    learned = merges.learn(tokenizer.backend_tokenizer, texts, number, scripts)
    if not learned.merges:
        raise ConfigError(
            f"adapter.extend_vocabulary={number}: no two tokens of {' or '.join(scripts)} letters stand"
            " together twice in the training rows; take other rows, or say their language (data.language)"
        )
    return vocabulary.behind(tokenizer, learned)


def _scripts(data: DataConfig) -> list[str]:
    """Return the scripts that new tokens are of: those of the rows' languages."""
    languages = {source.language for source in locate.sources_of(data)}
    if known := sorted({_SCRIPTS[name] for name in languages if name in _SCRIPTS}):
        return known
    if None in languages:
        return ["arabic"]
    said = ", ".join(sorted(map(str, languages)))
    raise ConfigError(
        f"adapter.extend_vocabulary: the rows of data={data.name} are of {said}, and new tokens are of ar"
        " and zh; leave it out, or take other rows"
    )


def _fertility(tokenizer: PreTrainedTokenizerBase, rows: Rows) -> dict[str, float]:
    """Return how many tokens a word has, in rows that are trained on and in those of dev."""
    found = {}
    for split in ("train", "dev"):
        own: list[Row] = getattr(rows, split)
        texts = [turn for row in own[:: len(own) // _MOST_READ + 1] for turn in row.turns()]
        if number := sum(map(words.count_words, texts)):
            ids = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
            found[split] = sum(map(len, ids)) / number
    return found


def _say(
    new: NewTokens, wanted: int, fertility: tuple[dict[str, float], dict[str, float]], rows: int
) -> None:
    before, after = fertility
    fewer = f" of the {wanted:,} asked for: no more pairs stand together twice" if len(new) < wanted else ""
    log.info(
        "vocabulary: %s new tokens by as many merges learned from %s rows%s",
        *(f"{len(new):,}", f"{rows:,}", fewer),
    )
    said = [f"{before[split]:.2f} become {after[split]:.2f} on {split} rows" for split in before]
    log.info("vocabulary: tokens a word: %s", ", ".join(said))
