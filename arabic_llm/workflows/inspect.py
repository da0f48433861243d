"""Rows as the model sees them: some of a data set, or those that are asked for by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from arabic_llm.config.data import BadRow
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import InspectConfig
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing import pair_report, selection
from arabic_llm.data.preparing.selection import Fate
from arabic_llm.data.preparing.sources import Rows
from arabic_llm.data.tokens import chat, chat_template, lint, preference_rows, token_rows
from arabic_llm.data.tokens.chat import TokenRow
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.models import bases
from arabic_llm.reports.inspection import LeftOut, ShownRow, ShownRun
from arabic_llm.workflows import new_tokens

_ASKED_FOR = {selection.REASONS[fate] for fate in (Fate.beyond, Fate.unsampled)}  # fewer rows, whichever


@dataclass(frozen=True)
class Seen:
    """What is shown: rows as the model sees them, rows it does not see, counts, the supervised share.

    `bad_rows` end a training, unless data.on_bad_row=drop; `refused` are rows that it cannot do with.
    """

    rows: list[ShownRow]
    left_out: list[LeftOut]
    notes: list[str]
    supervised_share: float
    bad_rows: int = 0
    refused: bool = False


def look(config: RunConfig, rows: Rows, dropped: list[LeftOut]) -> Seen:
    """Return what a model sees of some rows, or of those that are asked for."""
    task, cache = settings_of(config), Path(config.cache_dir)
    tokenizer, _ = new_tokens.of_run(config, bases.locate(config.model, cache), rows, cache)
    codec = chat_template.prepare(tokenizer, config.model)
    encoded = token_rows.encode(codec, rows.train, config.data, task.max_length, cache, form=task.form)
    changes = [line for ledger in (*rows.ledgers, encoded.ledger) for line in ledger.where_changed()]
    pairs = pair_report.lines(rows.train)
    notes, share, refused = [*codec.notes, *rows.lines(), *pairs, str(encoded.ledger), *changes], 0.0, False
    if dropped and config.data.on_bad_row is BadRow.stop and not task.ids:
        notes.append(
            f"bad rows, which end a training: {len(dropped):,}; mend them, or set data.on_bad_row=drop"
        )
    try:
        token_rows.refuse_great_loss([encoded], config.data, task.max_length)
        seen = lint.lint(codec, rows.train, encoded, "not looked for by task=inspect")
        notes, share = [*notes, *seen.lines()], seen.supervised_share
    except DataError as error:
        notes.append(f"training will refuse these rows: {error}")
        refused = True
    if task.ids:
        chosen, missed = _named(config, rows, codec)
        known = {row.id for row in chosen} | {row.id for row in missed}
        missed += [row for row in dropped if row.id not in known]
        _refuse_unknown(config, known | {row.id for row in missed}, rows)
        missed = [row for row in missed if row.id in task.ids]
    else:
        chosen = encoded.rows[:: max(1, len(encoded.rows) // task.rows)][: task.rows]
        known = {row.id for row in dropped}
        missed = [
            *dropped,
            *(row for row in _examples((*rows.ledgers, encoded.ledger)) if row.id not in known),
        ]
    shown = [_shown(codec, row) for row in chosen]
    return Seen(shown, missed, notes, share, len(dropped), refused=refused)


def _examples(ledgers: Iterable[Ledger]) -> Iterator[LeftOut]:
    """Yield the first few rows that were dropped for what they say: copies, filters, lengths."""
    for ledger in ledgers:
        for why in sorted(ledger.dropped.keys() - _ASKED_FOR):
            yield from (LeftOut(name, why) for name in ledger.examples.get(why, ()))


def _named(config: RunConfig, rows: Rows, codec: Codec) -> tuple[list[TokenRow], list[LeftOut]]:
    """Return the rows that are asked for as the model sees them, and those that it does not, with why."""
    task = settings_of(config)
    chosen: list[TokenRow] = []
    missed: list[LeftOut] = []
    for row in (*rows.train, *rows.dev, *rows.test):
        if row.id in task.ids:
            result = preference_rows.encoder(codec, task.form, config.data.overflow)(
                row, max_length=task.max_length
            )
            if isinstance(result, str):
                missed.append(LeftOut(row.id, result))
            else:
                chosen += result
    return chosen, missed


def _refuse_unknown(config: RunConfig, known: set[str], rows: Rows) -> None:
    for name in settings_of(config).ids:
        if name not in known:
            raise ConfigError(
                f"task.ids: no row '{name}' in data={config.data.name}; its rows are named like"
                f" {rows.train[0].id}"
            )


def _shown(codec: Codec, row: TokenRow) -> ShownRow:
    control = set(codec.tokenizer.all_special_ids)
    runs = [
        ShownRun(codec.tokenizer.decode(list(ids)), supervised, is_control)
        for supervised, span in chat.spans(row)
        for is_control, ids in groupby(span, key=lambda token: token in control)
    ]
    sides = row.sides()
    learned = sum(label != chat.IGNORED for _, labels in sides for label in labels)
    what = {
        "pair": ": the better answer, then the worse",
        "rated": f": {'up' if row.is_desirable else 'down'}",
    }
    return ShownRow(f"{row.id}{what.get(row.kind, '')}", runs, sum(len(ids) for ids, _ in sides), learned)


def settings_of(config: RunConfig) -> InspectConfig:
    """Return the settings of task=inspect."""
    if not isinstance(config.task, InspectConfig):
        raise ConfigError("task=inspect is needed here")
    return config.task
