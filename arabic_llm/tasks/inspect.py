"""Show what the model really sees: rows as tokens, the supervised ones coloured, right to left."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from arabic_llm import files, terminal
from arabic_llm.config.naming import of_data
from arabic_llm.config.run import RunConfig
from arabic_llm.data.preparing import left_out, sources
from arabic_llm.errors import DataError
from arabic_llm.models import bases
from arabic_llm.reports import inspection
from arabic_llm.reports.inspection import LeftOut
from arabic_llm.tasks import Inputs
from arabic_llm.workflows import inspect, next_steps, training_rows
from arabic_llm.workflows.inspect import Seen

log = logging.getLogger(__name__)
shares_work = False
_MOST_SAID, _MOST_ON_PAGE = 5, 1000  # rows left out: for one reason, and in all
_GREEN = "\x1b[30;42m", "\x1b[0m"
_BRACKETS = "⟦", "⟧"  # where nothing has colours: in a file, behind a pipe


def inputs(config: RunConfig) -> Inputs:
    """Return hashes of what a run reads: rows and tokenizer (None: not here yet)."""
    return {
        "data": sources.source_hash(config.data, Path(config.data_root), Path(config.cache_dir)),
        "base": bases.known_revision(config.model, Path(config.cache_dir)),
    }


def dry_run(config: RunConfig) -> None:
    """Say what a run would do. Writes nothing."""
    task = inspect.settings_of(config)
    log.info("plan: show %s rows of data=%s", len(task.ids) or task.rows, config.data.name)


def run(config: RunConfig, directory: Path) -> float:
    """Return the share of supervised tokens; the page is `<directory>/inspection.html`.

    Bad rows do not end it: they are shown with their places and what is wrong with them.
    """
    items = training_rows.test_items(config.data, config.suite, Path(config.data_root))
    wanted, root = inspect.settings_of(config).ids, Path(config.data_root)
    dropped = [
        LeftOut(row.place, row.reason)
        for row in left_out.rows(config.data, root, config.seed, items, {*wanted})
    ]
    try:
        rows = training_rows.load(replace(config, data=left_out.tolerant(config.data)), items)
    except DataError as error:
        if not dropped:
            raise
        said = f"nothing is left to train on: {error}"
        return _write(config, directory, Seen([], dropped, [said], 0.0, len(dropped), refused=True))
    return _write(config, directory, inspect.look(config, rows, dropped))


def _write(config: RunConfig, directory: Path, seen: Seen) -> float:
    """Say and write what is seen; return the share of supervised tokens."""
    alike: dict[str, list[LeftOut]] = {}
    for lost in seen.left_out:
        alike.setdefault(lost.reason.partition(":")[0], []).append(lost)
    for reason, rows in alike.items():
        for lost in rows[:_MOST_SAID]:
            log.info("%s: %s", lost.id, lost.reason)
        if len(rows) > _MOST_SAID:
            log.info("and %s more rows: %s; see the page", f"{len(rows) - _MOST_SAID:,}", reason)
    (opens, closes), said = (_GREEN, "") if terminal.has_colours() else (_BRACKETS, ": in ⟦ ⟧")
    for row in seen.rows:
        text = "".join(f"{opens}{r.text}{closes}" if r.is_supervised else r.text for r in row.runs)
        tokens = f"{row.num_tokens} tokens, {row.num_supervised} supervised{said}"
        log.info("%s (%s)\n%s\n", row.id, tokens, text)
    for note in seen.notes:
        log.info("%s", note)
    data = of_data(config.data.name, config.data.path)
    path, title = directory / "inspection.html", inspection.title(data, config.model.name)
    files.write_text(path, inspection.page(title, seen.rows, seen.left_out[:_MOST_ON_PAGE], seen.notes))
    log.info("page: %s", path)
    files.write_state(directory / next_steps.FOUND, {"bad_rows": seen.bad_rows, "trains": not seen.refused})
    return seen.supervised_share
