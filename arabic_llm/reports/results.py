"""The results table: a row for each model, what it learned from, and task; published figures are marked."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.analysis.classified_runs import ClassifiedRun
from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.config.fingerprint import differences, fingerprint
from arabic_llm.reports import classifications, html, markdown, tables
from arabic_llm.reports.spoken import listed, marked, say, term

PUBLISHED = Path(__file__).parent / "published.csv"
HEADER = marked(
    *("data set", "model", "learned from", "n", "accuracy", "95% interval", "F1", "ROUGE-L", "judged")
)
NOTES = marked(
    "accuracy is that of choices (acc or acc_norm) or the exact match of written answers; F1 is the mean"
    " over the positions that are right or answered, or that of the words of written answers. Rows of a"
    " data set are comparable where they are judged alike, under one letter.",
    "“published” rows were not run here: other prompts, items and code.",
)
_ACCURACIES = ("acc", "acc_norm", "exact_match")
_MAX_NAMED = 2
(_PUBLISHED,) = marked("published, not run here")


@dataclass(frozen=True)
class ReportedEvaluation:
    """An evaluation, what its model learned from (none: it is the base model), and a page about its run."""

    evaluation: Evaluation
    trained_on: str
    report: Path | None = None


@dataclass(frozen=True)
class ResultRow:
    """One line of the table: shares of 1; what a task does not measure is None.

    `way` says how it was judged; rows of one task with the same letter were judged alike.
    """

    task: str
    model: str
    trained_on: str
    notes: tuple[str, ...]
    n: int | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    f1: float | None = None
    rouge_l: float | None = None
    letter: str = ""
    way: dict[str, Any] | None = None  # None: published
    evaluation: str = ""  # its fingerprint


def rows(found: Iterable[ReportedEvaluation]) -> list[ResultRow]:
    """Return the rows of our evaluations and of what was published, task by task, unlike ways apart."""
    ours = [row for one in found for row in _rows(one)]
    ordered = sorted(
        [*ours, *published()], key=lambda row: (row.task, row.way is None, row.model, row.trained_on)
    )
    return [row for _, several in groupby(ordered, attrgetter("task")) for row in _lettered(list(several))]


def published() -> Iterator[ResultRow]:
    """Yield the figures that others published."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            notes = (term(_PUBLISHED), line["setting"], line["source"])
            values: dict[str, float] = {line["metric"]: float(line["percent"]) / 100}
            yield ResultRow(
                *(line["task"], line["model"], line["trained_on"], notes),
                accuracy=values.get("accuracy"),
                f1=values.get("f1"),
                letter=say("published"),
            )


def terminal(table: Sequence[ResultRow]) -> str:
    """Return the rows of the tasks that were judged here, their columns in line."""
    return tables.in_line([header(), *map(cells, _evaluated_here(table)[0])], left=(0, 1, 2, 8))


def as_markdown(table: Sequence[ResultRow]) -> str:
    """Return the table in Markdown, and then what was published of other tasks."""
    parts = [f"# {say('Results')}\n"]
    titles = ("", f"## {say('Published, of other data sets')}\n")
    for title, several in zip(titles, _evaluated_here(table), strict=True):
        if several:
            body = [[*map(markdown.escaped, cells(row)), markdown.escaped(note(row))] for row in several]
            parts += [title, markdown.table((*header(), say("notes")), body, numeric=(3, 4, 6, 7))]
    text = "\n".join(part for part in (*parts, *map(term, NOTES)) if part) + "\n"
    return markdown.right_to_left(text)


def as_csv(table: Sequence[ResultRow]) -> str:
    """Return the table in CSV, in fractions and at full precision."""
    header = ("data_set", "model", "learned_from", "n", "accuracy", "low", "high", "f1", "rouge_l")
    body = [
        (
            *(row.task, row.model, row.trained_on, row.n, row.accuracy, row.low, row.high, row.f1),
            *(row.rouge_l, row.letter, row.way is None, row.evaluation, "; ".join(row.notes)),
        )
        for row in table
    ]
    return files.csv_text((*header, "judged", "published", "evaluation", "notes"), body)


def as_html(table: Sequence[ResultRow], classified: Sequence[ClassifiedRun] = ()) -> str:
    """Return the table as a page of one file, that of classifiers after it."""
    here, elsewhere = ([(row, cells(row), note(row)) for row in part] for part in _evaluated_here(table))
    return html.render(
        "results.html.jinja",
        header=header(),
        here=here,
        elsewhere=elsewhere,
        notes=[*map(term, NOTES)],
        of_classes=classifications,
        classified=classifications.rows(classified),
    )


def cells(row: ResultRow) -> tuple[str, ...]:
    """Return a row as the reader sees it, in percent."""
    percent = tables.percent if row.way is not None else _as_published
    between = "" if row.low is None else _between(percent(row.low), percent(row.high))
    return (
        *(row.task, row.model, row.trained_on or "-", "" if row.n is None else f"{row.n:,}"),
        *(percent(row.accuracy), between, percent(row.f1), percent(row.rouge_l), row.letter),
    )


def header() -> tuple[str, ...]:
    """Return what the columns are called."""
    return tuple(map(term, HEADER))


def _between(low: str, high: str) -> str:
    return say("{low} to {high}", low=low, high=high)


def _as_published(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}".removesuffix("0")


def note(row: ResultRow) -> str:
    """Return the notes of a row as one line."""
    return say("; ").join(row.notes)


def _evaluated_here(table: Sequence[ResultRow]) -> tuple[list[ResultRow], list[ResultRow]]:
    """Return the rows of tasks that were judged here, and those of others."""
    tasks = {row.task for row in table if row.way is not None}
    here = [row for row in table if row.task in tasks]
    return here, [row for row in table if row.task not in tasks]


def _rows(found: ReportedEvaluation) -> Iterator[ResultRow]:
    evaluation = found.evaluation
    by_name: dict[str, dict[str, Score]] = {}
    for score in filter(evaluation.is_whole, evaluation.scores):
        by_name.setdefault(score.name, {})[score.metric] = score
    model = str(evaluation.model["name"])
    if evaluation.model["quantization"] != "none":
        model += f" ({evaluation.model['quantization']})"
    for name, scores in by_name.items():
        exact = next((s for m, s in scores.items() if m.partition(",")[0] in _ACCURACIES), None)
        first = exact or next(iter(scores.values()))
        values = {metric: score.value for metric, score in scores.items()}
        yield ResultRow(
            *(name, model, found.trained_on, tuple(_notes(first, values))),
            n=first.n,
            accuracy=exact.value if exact else None,
            low=exact.low if exact else None,
            high=exact.high if exact else None,
            f1=values.get("token_f1", first.macro_f1),
            rouge_l=values.get("rouge_l"),
            way=_way(evaluation, first),
            evaluation=evaluation.fingerprint,
        )


def _notes(first: Score, values: dict[str, float]) -> Iterator[str]:
    if first.seen_in_training:
        yield say("seen in training")
    if first.metric not in ("acc", "exact_match"):
        yield first.metric
    if first.num_shortened:
        yield say("{cut:,} of {n:,} prompts cut", cut=first.num_shortened, n=first.n)
    if first.constant is not None:
        yield say("always one answer: {value}", value=tables.percent(first.constant))
    if "chrf" in values:
        yield f"chrF {tables.percent(values['chrf'])}"


def _way(evaluation: Evaluation, score: Score) -> dict[str, Any]:
    """Return all that must be alike for a score to be held against another's, but for the model."""
    judged = evaluation.judged
    ways = {}
    for name, entry in judged["tasks"].items():
        leaves = [leaf for leaf in entry["versions"] if leaf in score.tasks]
        if leaves:
            own = {
                key: {leaf: value[leaf] for leaf in leaves} if isinstance(value, dict) else value
                for key, value in entry.items()
            }
            ways[name] = {key: value for key, value in own.items() if key != "seen_in_training"}
    made = {
        key: judged.get(key) for key in ("limit", "lm_eval", "transformers", "tokenizers", "peft", "code")
    }
    return {"tasks": ways, **made}


def _lettered(several: list[ResultRow]) -> list[ResultRow]:
    """Return the rows of a task, those that were judged alike together, and the others with the reason."""
    ways = {fingerprint(row.way): row.way for row in several if row.way is not None}
    letters = {name: tables.letter(at, name) for at, name in enumerate(ways)}
    first = next(iter(ways.values()), None)
    told = []
    for row in several:
        if row.way is not None:
            letter = letters[fingerprint(row.way)]
            row = replace(row, letter=letter)  # noqa: PLW2901
            if row.way != first:
                row = replace(row, notes=(*row.notes, _unlike(first, row.way)))  # noqa: PLW2901
        told.append(row)
    return sorted(told, key=lambda row: (row.way is None, row.letter))


def _unlike(first: Any, other: Any) -> str:
    named = [(key.removeprefix("tasks."), mine) for key, _, mine in differences(first, other)]
    said = listed(
        [
            f"{key} {mine}" if isinstance(mine, int | bool) else say("other {key}", key=key)
            for key, mine in named[:_MAX_NAMED]
        ]
    )
    more = say(" and more") if len(named) > _MAX_NAMED else ""
    return say("not comparable with A: {said}", said=said) + more
