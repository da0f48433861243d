"""Rows that training learns from: read without the suite's items, mixed, counted; what a dry run needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm.config.data import DataConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import SuiteConfig
from arabic_llm.config.task import TrainingConfig
from arabic_llm.data.preparing import kept_rows, mix_report
from arabic_llm.data.preparing.mixing import Mix
from arabic_llm.data.preparing.sources import Rows
from arabic_llm.data.reading import locate
from arabic_llm.data.reading.records import shown
from arabic_llm.data.rows import Row
from arabic_llm.errors import DataError, UserError

if TYPE_CHECKING:
    from arabic_llm.data.tokens.chat import TokenRow


def load(config: RunConfig, questions: set[str] | str | None = None, cache_dir: Path | None = None) -> Rows:
    """Return the rows that training and task=inspect see; `questions` if they are read already.

    With cache_dir a second run reads what the first one has cleaned.

    Raises DataError when the suite's items are to be left out and cannot be read, and for labelled texts,
    whose labels nobody would learn.
    """
    root = Path(config.data_root)
    items = test_items(config.data, config.suite, root, questions)
    rows = kept_rows.load(config.data, root, config.seed, items, cache_dir)
    _refuse_labels(config.data, [*rows.train, *rows.dev])
    return rows


def _refuse_labels(data: DataConfig, rows: Sequence[Row]) -> None:
    """Refuse labelled texts, unless the texts alone are asked for. Raises DataError."""
    columns = {source.name: source.columns for source in locate.sources_of(data)}
    for row in rows:
        asked = columns[row.source]
        if row.label and row.text and not (asked.text and not asked.label):
            raise DataError(
                f"{row.id}: a text with the label {shown(row.label)}, which task=classify learns; to learn"
                " the texts alone, name their column: data.columns.text=<column>"
            )


def test_items(
    data: DataConfig, suite: SuiteConfig, data_root: Path, questions: set[str] | str | None = None
) -> set[str]:
    """Return the suite's questions where data.cleaning leaves them out; `questions` if they are read.

    Raises DataError when they cannot be read.
    """
    if not any(source.cleaning.drop_test_items for source in locate.sources_of(data)):
        return set()
    items = suite_questions(suite, data_root) if questions is None else questions
    if isinstance(items, str):
        raise DataError(f"data.cleaning.drop_test_items: {items}; bring the suite, or set it to false")
    return items


def suite_questions(suite: SuiteConfig, data_root: Path) -> set[str] | str:
    """Return the normalised questions of the suite, or why they could not be read."""
    from arabic_llm.data.tokens.lint import question_key
    from arabic_llm.evaluation import suites  # lm-eval: most data sets are cleaned without it

    try:
        chosen = suites.load(suite, data_root)
    except UserError as error:
        return str(error)
    return {question_key(question) for question in suites.questions(chosen)} - {""}


def mix_of(data: DataConfig, rows: Sequence[Row | TokenRow]) -> Mix:
    """Return the mix. Raises ConfigError when these rows cannot give it: before a model is loaded."""
    mix = Mix.of(data)
    mix.shares(Counter(row.source for row in rows))
    return mix


def mix_lines(task: TrainingConfig, rows: Sequence[TokenRow], mix: Mix, seed: int) -> list[str]:
    """Return what the mix comes to in a run on these rows; nothing for one source in one bucket."""
    if mix.num_buckets == 1 and len({row.source for row in rows}) == 1:
        return []
    from arabic_llm.training import batches, schedule  # torch: one source has no mix to tell of

    sequences = batches.sequences(rows, task.max_length)
    names = batches.sources(sequences, rows)
    return mix_report.report(schedule.sampler(task, names, sequences["seq_lengths"], mix, seed)).lines()
