"""Show what the model really sees: rows as tokens, the supervised ones coloured, right to left."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import InspectConfig
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.reports import inspection
from arabic_llm.reports.inspection import LeftOut, ShownRow, ShownRun
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import training_rows

if TYPE_CHECKING:
    from arabic_llm.data.preparing.sources import Rows
    from arabic_llm.data.tokens.chat import Codec, TokenRow

log = logging.getLogger(__name__)
shares_work = False
_MOST_SAID, _MOST_ON_PAGE = 20, 1000  # rows left out
_GREEN, _PLAIN = "\x1b[30;42m", "\x1b[0m"


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: rows and tokenizer (None: not here yet)."""
    from arabic_llm.data.preparing import sources
    from arabic_llm.models import bases

    return {
        "data": sources.source_hash(config.data, Path(config.data_root), Path(config.cache_dir)),
        "base": bases.known_revision(config.model, Path(config.cache_dir)),
    }


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    task = _settings(config)
    log.info("plan: show %s rows of data=%s", len(task.ids) or task.rows, config.data.name)


def run(config: RunConfig, directory: Path) -> float:
    """Return the share of supervised tokens; the page is `<directory>/inspection.html`.

    Bad rows do not end it: they are shown with their places and what is wrong with them.
    """
    from arabic_llm.data.preparing import left_out

    items = training_rows.test_items(config.data, config.suite, Path(config.data_root))
    wanted, root = _settings(config).ids, Path(config.data_root)
    dropped = [
        LeftOut(row.place, row.reason)
        for row in left_out.rows(config.data, root, config.seed, items, {*wanted})
    ]
    try:
        rows = training_rows.load(replace(config, data=left_out.tolerant(config.data)), items)
    except DataError as error:
        if not dropped:
            raise
        return _write(config, directory, _Seen([], dropped, [f"nothing is left to train on: {error}"], 0.0))
    return _write(config, directory, _look(config, rows, dropped))


@dataclass(frozen=True)
class _Seen:
    """What is shown: rows as the model sees them, rows it does not see, counts, the supervised share."""

    rows: list[ShownRow]
    left_out: list[LeftOut]
    notes: list[str]
    supervised_share: float


def _look(config: RunConfig, rows: Rows, dropped: list[LeftOut]) -> _Seen:
    """Return what a model sees of some rows, or of those that are asked for."""
    from arabic_llm.data.tokens import chat, lint, token_rows
    from arabic_llm.models import bases, tokenization

    task, cache = _settings(config), Path(config.cache_dir)
    codec = chat.prepare(tokenization.load(bases.locate(config.model, cache)), config.model)
    encoded = token_rows.encode(codec, rows.train, config.data, task.max_length, cache)
    changes = [line for ledger in (*rows.ledgers, encoded.ledger) for line in ledger.where_changed()]
    notes, share = [*map(str, rows.ledgers), str(encoded.ledger), *changes], 0.0
    try:
        token_rows.refuse_great_loss([encoded.ledger], config.data, task.max_length)
        seen = lint.lint(codec, rows.train, encoded, "not looked for by task=inspect")
        notes, share = [*notes, *seen.lines()], seen.supervised_share
    except DataError as error:
        notes.append(f"training will refuse these rows: {error}")
    if task.ids:
        chosen, missed = _named(config, rows, codec)
        known = {row.id for row in chosen} | {row.id for row in missed}
        missed += [row for row in dropped if row.id not in known]
        _refuse_unknown(config, known | {row.id for row in missed}, rows)
        missed = [row for row in missed if row.id in task.ids]
    else:
        chosen = encoded.rows[:: max(1, len(encoded.rows) // task.rows)][: task.rows]
        lost = [LeftOut(name, why) for why, names in encoded.ledger.examples.items() for name in names]
        missed = [*dropped, *lost]
    return _Seen([_shown(codec, row) for row in chosen], missed, notes, share)


def _named(config: RunConfig, rows: Rows, codec: Codec) -> tuple[list[TokenRow], list[LeftOut]]:
    """Return the rows that are asked for as the model sees them, and those that it does not, with why."""
    from arabic_llm.data.tokens import chat

    task = _settings(config)
    chosen: list[TokenRow] = []
    missed: list[LeftOut] = []
    for row in (*rows.train, *rows.dev, *rows.test):
        if row.id in task.ids:
            result = chat.encode(codec, row, task.max_length, config.data.overflow)
            if isinstance(result, str):
                missed.append(LeftOut(row.id, result))
            else:
                chosen += result
    return chosen, missed


def _refuse_unknown(config: RunConfig, known: set[str], rows: Rows) -> None:
    for name in _settings(config).ids:
        if name not in known:
            raise ConfigError(
                f"task.ids: no row '{name}' in data={config.data.name}; its rows are named like"
                f" {rows.train[0].id}"
            )


def _write(config: RunConfig, directory: Path, seen: _Seen) -> float:
    """Say and write what is seen; return the share of supervised tokens."""
    for lost in seen.left_out[:_MOST_SAID]:
        log.info("%s: %s", lost.id, lost.reason)
    if len(seen.left_out) > _MOST_SAID:
        log.info("and %s more rows are left out: see the page", f"{len(seen.left_out) - _MOST_SAID:,}")
    for row in seen.rows:
        text = "".join(f"{_GREEN}{r.text}{_PLAIN}" if r.is_supervised else r.text for r in row.runs)
        log.info("%s (%s tokens, %s supervised)\n%s\n", row.id, row.num_tokens, row.num_supervised, text)
    for note in seen.notes:
        log.info("%s", note)
    path, title = directory / "inspection.html", f"{config.data.name} as {config.model.name} sees it"
    files.write_text(path, inspection.page(title, seen.rows, seen.left_out[:_MOST_ON_PAGE], seen.notes))
    log.info("page: %s", path)
    return seen.supervised_share


def _shown(codec: Codec, row: TokenRow) -> ShownRow:
    from arabic_llm.data.tokens import chat

    control = set(codec.tokenizer.all_special_ids)
    runs = [
        ShownRun(codec.tokenizer.decode(list(ids)), supervised, is_control)
        for supervised, span in chat.spans(row)
        for is_control, ids in groupby(span, key=lambda token: token in control)
    ]
    learned = sum(label != chat.IGNORED for label in row.labels)
    return ShownRow(row.id, runs, len(row.input_ids), learned)


def _settings(config: RunConfig) -> InspectConfig:
    if not isinstance(config.task, InspectConfig):
        raise ConfigError("task=inspect is needed here")
    return config.task
