"""Show what the model really sees: rows as tokens, the supervised ones coloured, right to left."""

from __future__ import annotations

import logging
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm import files
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import InspectConfig
from arabic_llm.errors import ConfigError
from arabic_llm.tasks import sft

if TYPE_CHECKING:
    from arabic_llm.data.tokens.chat import Codec, TokenRow
    from arabic_llm.reports.page import ShownRow

log = logging.getLogger(__name__)
_GREEN, _PLAIN = "\x1b[30;42m", "\x1b[0m"


def inputs(config: RunConfig) -> dict[str, str | None]:
    """Return hashes of what a run reads: rows and tokenizer (None: not here yet)."""
    from arabic_llm.data.preparing import sources
    from arabic_llm.models import bases

    return {
        "data": sources.source_hash(config.data, Path(config.data_root), Path(config.cache_dir)),
        "base": bases.known_revision(config.model, Path(config.cache_dir)),
    }


def plan(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    log.info("plan: show %s rows of data=%s", _settings(config).rows, config.data.name)


def run(config: RunConfig, directory: Path) -> float:
    """Return the share of supervised tokens; the page is `<directory>/inspection.html`."""
    from arabic_llm.data.tokens import chat, lint, token_rows
    from arabic_llm.models import bases, tokenization
    from arabic_llm.reports import page

    task = _settings(config)
    rows = sft.rows_of(config)
    base = bases.locate(config.model, Path(config.cache_dir))
    codec = chat.prepare(tokenization.load(base), config.model)
    encoded = token_rows.encode(codec, rows.train, config.data, task.max_length, Path(config.cache_dir))
    token_rows.refuse_great_loss([encoded.ledger], config.data, task.max_length)
    seen = lint.lint(codec, rows.train, encoded, "not looked for by task=inspect")
    step = max(1, len(encoded.rows) // task.rows)
    shown = [_shown(codec, row) for row in encoded.rows[::step][: task.rows]]
    for row in shown:
        text = "".join(f"{_GREEN}{r.text}{_PLAIN}" if r.is_supervised else r.text for r in row.runs)
        log.info("%s (%s tokens, %s supervised)\n%s\n", row.id, row.num_tokens, row.num_supervised, text)
    notes = [*map(str, rows.ledgers), str(encoded.ledger), *seen.lines()]
    for note in notes:
        log.info("%s", note)
    path = directory / "inspection.html"
    files.write_text(
        path, page.inspection(f"{config.data.name} as {config.model.name} sees it", shown, notes)
    )
    log.info("page: %s", path)
    return seen.supervised_share


def _shown(codec: Codec, row: TokenRow) -> ShownRow:
    from arabic_llm.data.tokens import chat
    from arabic_llm.reports.page import ShownRow, ShownRun

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
