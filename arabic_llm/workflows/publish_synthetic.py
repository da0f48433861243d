"""Checked rows become a data set like any other: without copies, split, counted, with a card."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.config.compose import identity
from arabic_llm.config.data import BadRow, CleaningConfig, ColumnsConfig, DataConfig
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.run import RunConfig
from arabic_llm.config.synthesize_task import Articles
from arabic_llm.config.unread_of_synthesis import is_translated
from arabic_llm.data.preparing import on_disk
from arabic_llm.data.preparing.on_disk import Prepared, Training
from arabic_llm.data.preparing.summary import SplitFile, Summary
from arabic_llm.reports import card, review_page, synthesis_section
from arabic_llm.reports.synthesis_section import Making
from arabic_llm.synthesis import from_benchmarks, judging, review_marks
from arabic_llm.synthesis.stage_files import MadeStage
from arabic_llm.workflows import prepare, settings, synthesize, synthesize_with
from arabic_llm.workflows.synthesize import Made


def data_of(config: RunConfig, rows: Path) -> DataConfig:
    """Return the settings that the checked rows are prepared with, as any file of rows."""
    task = settings.synthesis(config)
    cleaning = CleaningConfig(near_duplicates=task.quality.near_duplicates, drop_test_items=True)
    seen = from_benchmarks.seen_in_training(task.benchmark) if task.benchmark else []
    return DataConfig(
        name=Path(config.output_dir).name,
        path=str(rows),
        language="ar",
        license=_license(config),
        seen_in_training=sorted({*config.data.seen_in_training, *seen}),
        columns=ColumnsConfig(messages="messages"),
        cleaning=cleaning,
        on_bad_row=BadRow.drop,
        dev_share=config.data.dev_share,
        test_share=config.data.test_share,
        engine=config.data.engine,
    )


def _license(config: RunConfig) -> str | None:
    task = settings.synthesis(config)
    if task.benchmark is None and task.articles is Articles.mediawiki:
        return task.mediawiki.license
    return config.data.license or ("apache-2.0" if config.data.builtin else None)


def prepared(config: RunConfig, checked: MadeStage, work: Path) -> Prepared:
    """Return what becomes of the checked rows; the examples of its ledger are named as rows are."""
    rows = work / "rows.jsonl"
    with files.writing(rows) as out:
        for row in checked.read():
            turns = [
                {"role": role, "content": text}
                for exchange in row["exchanges"]
                for role, text in zip(("user", "assistant"), exchange, strict=True)
            ]
            out.write(json.dumps({"messages": turns}, ensure_ascii=False).encode() + b"\n")
    data = data_of(config, rows)
    found = prepare.prepare(replace(config, data=data), work / "prepare", data.engine)
    for part in found.parts:
        named = _names(checked, {name for names in part.ledger.examples.values() for name in names})
        for reason, names in part.ledger.examples.items():
            part.ledger.examples[reason] = [named.get(name, name) for name in names]
    return found


def write(found: Prepared, checked: MadeStage, folder: Path) -> list[SplitFile]:
    """Write the splits, each row under its own name and with where it comes from."""
    splits = on_disk.write(found, folder)
    return [_with_origins(folder, split, checked) for split in splits]


def _with_origins(folder: Path, split: SplitFile, checked: MadeStage) -> SplitFile:
    """Write a split again: its rows stand in the order of the checked ones, by the number of their line."""
    path, digest = folder / split.name, hashlib.sha256()
    known = enumerate(checked.read(), 1)
    with path.open("rb") as lines, files.writing(path) as out:
        for line in lines:
            row = json.loads(line)
            wanted = _line(row["id"])
            made = next(made for number, made in known if number == wanted)
            told = json.dumps({**row, "id": made["id"], "origin": made["origin"]}, ensure_ascii=False)
            digest.update(told.encode() + b"\n")
            out.write(told.encode() + b"\n")
    return replace(split, sha256=digest.hexdigest())


def _names(checked: MadeStage, places: set[str]) -> dict[str, str]:
    wanted = {_line(place): place for place in places}
    return {wanted[number]: row["id"] for number, row in enumerate(checked.read(), 1) if number in wanted}


def _line(place: str) -> int:
    """Return the number of the line that a row was read from ("file:line")."""
    return int(place.rpartition(":")[2])


def made_of(folder: Path, splits: list[SplitFile]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a written data set."""
    for split in splits:
        with (folder / split.name).open("rb") as lines:
            for line in lines:
                yield json.loads(line)


def describe(config: RunConfig, made: Made, found: Prepared, splits: list[SplitFile]) -> list[str]:
    """Write card, ledgers and summary of a data set; return what the user reads of it."""
    folder = Path(config.output_dir)
    task = settings.synthesis(config)
    data = data_of(config, made.rows.path)
    described, _, _ = on_disk.describe(data, found, Training(1, 1, config.seed))
    sources = tuple(replace(source, origin=synthesize.origin(config)) for source in described)
    command = files.read_state(folder / "manifest.json")["command"]
    summary = Summary(data.name, command, config.model.name, config.seed, sources, tuple(splits))
    extra = [*made.said, *_judged(config, made)]
    prompts = {row["origin"]["prompt"] for row in made_of(folder, splits)} - {None}
    making = Making(
        [one.ledger for one in made.stages],
        Counter(name for row in made_of(folder, splits) for name in row["origin"]["made_by"]),
        sorted(prompts),
        task.translation.license if is_translated(config) else None,
        extra,
    )
    for name, content in card.files(summary).items():
        said = content + synthesis_section.section(making).encode() if name == "README.md" else content
        files.write_bytes(folder / name, said)
    ledgers = [one.ledger.as_dict() for one in made.stages]
    files.write_json(folder / "ledger.json", [*ledgers, *(source.ledger.as_dict() for source in sources)])
    lines = [*(str(one.ledger) for one in made.stages), *extra, *(str(s.ledger) for s in sources)]
    counts = sources[0].counts
    lines.append(
        f"{data.name}: {counts.instruction_tokens:,} instruction tokens, {counts.answer_tokens:,} answer"
        f" tokens, {counts.tokens:,} in all"
    )
    files.write_text(folder / "summary.txt", "\n".join(lines))
    return lines


def _judged(config: RunConfig, made: Made) -> list[str]:
    """Return what a judge says of a sample, where one is named."""
    if config.judge.endpoint is None:
        return []
    number = settings.synthesis(config).quality.judged
    sample = synthesize.sample_of_made(made.stages[-2], made.rows, number, config.seed)
    agreement = judging.judged(sample, synthesize_with.judge_asker(config))
    return [agreement.line(str(config.judge.model))]


def review(config: RunConfig, made: Made, splits: list[SplitFile]) -> None:
    """Write the page of rows that a person reads, drawn from those of the data set."""
    folder, number = Path(config.output_dir), settings.synthesis(config).review
    if not number:
        return
    drawn = review_marks.drawn((row["id"] for row in made_of(folder, splits)), number, config.seed)
    rows = [row for row in made.rows.read() if row["id"] in drawn]
    files.write_text(folder / "review.html", review_page.page(folder.name, rows))


def manifest(config: RunConfig, splits: list[SplitFile], inputs: dict[str, str | None]) -> dict[str, Any]:
    """Return what made the files: as task=prepare notes it, so that they are read as its are."""
    data = data_of(config, Path("rows.jsonl"))
    return {
        "data": data.name,
        "splits": {split.name: {"rows": split.rows, "sha256": split.sha256} for split in splits},
        "inputs": inputs,
        "seen_in_training": data.seen_in_training,
        "config": identity(config),
        "fingerprint": fingerprint(identity(config)),
    }
