"""The report of a study, a page of one file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from arabic_llm.analysis.forgetting import Forgetting
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.analysis.statistics import Difference
from arabic_llm.analysis.varieties import GapChange
from arabic_llm.reports import (
    beginning,
    figures,
    forgetting,
    html,
    memory_section,
    mistakes,
    paper,
    tables,
    variety_gaps,
)
from arabic_llm.reports.held_out_loss import Course
from arabic_llm.reports.spoken import marked, say, term

_NUM_EXAMPLES = 6
_FEWEST_AXES, _MOST_AXES = 4, 12  # of a radar chart
_RIGHT, _WRONG = marked("became right", "became wrong")


@dataclass(frozen=True)
class Study:
    """Everything the report of a study says."""

    title: str
    learned: str  # from what the model learned, and how
    base: Evaluation
    tuned: Evaluation
    rows: Sequence[Difference]
    manifest: dict[str, Any]
    hardware: str
    forgetting: Forgetting
    mistakes: mistakes.Section
    gaps: Sequence[GapChange] = ()  # of varieties of Arabic
    followed: Sequence[Course] = ()  # losses on held-out texts
    lint: dict[str, Any] = field(default_factory=dict)  # empty: nothing was trained here
    ledgers: Sequence[dict[str, Any]] = ()
    metrics: Sequence[dict[str, Any]] = ()
    outcome: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)  # of a training step
    evaluation_memory: dict[str, dict[str, Any]] = field(default_factory=dict)  # of each side


def study(report: Study) -> str:
    """Return the report of a study as HTML."""
    first = headline(report.rows, report.base)
    charts = {
        "bars": figures.differences(first),
        "radar": _radar(_first_metrics(first), say("by task"), "by_task"),
        "subjects": _radar(subject_means(report.base, report.tuned), say("by subject"), "by_subject"),
        "curve": figures.training_curve(report.metrics) if report.metrics else "",
    }
    model = str(report.base.model["name"])
    return html.render(
        "study.html.jinja",
        report=report,
        mistakes=report.mistakes,
        shown=mistakes.shown,
        shown_label=mistakes.shown_label,
        points=tables.points,
        header=tables.header(),
        baselines=tables.baselines(),
        notes=[term(tables.BASELINES_NOTE), tables.by_prompt_note(row.base for row in first)],
        result=beginning.result(first),
        latex=paper.latex(first, model),
        measured=paper.measured(report.base, report.tuned, report.manifest, report.hardware),
        poor=tables.knows_nothing([row.tuned for row in first]),
        left_out=[*tables.left_out(report.base.judged), *tables.shortened(report.base.scores)],
        headline=[(tables.cells(r), tables.baseline_cells(r)) for r in first],
        all_rows=[(tables.cells(r), tables.baseline_cells(r)) for r in report.rows],
        charts=charts,
        gaps=list(variety_gaps.sections(report.gaps)),
        varieties_header=variety_gaps.CHANGES,
        forgetting=forgetting.section(report.forgetting, report.followed),
        memory=memory_section.section(report.memory)
        + memory_section.of_evaluations(report.evaluation_memory),
        examples=changed_items(report.base, report.tuned),
    )


def subject_means(base: Evaluation, tuned: Evaluation) -> dict[str, tuple[float, float]]:
    """Return subject -> (base, tuned) mean of the first metric; those of most items first."""
    sums: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for before, after in _paired(base, tuned):
        if before.subject:
            sums[before.subject].append((before.first, after.first))
    return {
        subject: (sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs))
        for subject, pairs in sorted(sums.items(), key=lambda entry: -len(entry[1]))
    }


def changed_items(base: Evaluation, tuned: Evaluation) -> list[tuple[str, Item, Item]]:
    """Return a few items that became right and that became wrong, spread over the tasks."""
    gained, lost = [], []
    for before, after in _paired(base, tuned):
        if after.first > before.first:
            gained.append((_RIGHT, before, after))
        elif after.first < before.first:
            lost.append((_WRONG, before, after))
    return [*_spread(gained), *_spread(lost)]


def _spread(changes: list[tuple[str, Item, Item]]) -> list[tuple[str, Item, Item]]:
    step = max(1, len(changes) // _NUM_EXAMPLES)
    return changes[::step][:_NUM_EXAMPLES]


def _paired(base: Evaluation, tuned: Evaluation) -> list[tuple[Item, Item]]:
    after = {(item.task, item.id): item for item in tuned.items}
    return [(item, after[item.task, item.id]) for item in base.items]


def headline(rows: Sequence[Difference], base: Evaluation) -> list[Difference]:
    """Return the rows of the first table: groups, and tasks that are in none."""
    return [row for row in rows if base.is_whole(row.base)]


def _first_metrics(rows: Sequence[Difference]) -> dict[str, tuple[float, float]]:
    """Return task -> (base, tuned), in the first metric of each."""
    values: dict[str, tuple[float, float]] = {}
    for row in rows:
        values.setdefault(row.base.name, (row.base.value, row.tuned.value))
    return values


def _radar(values: dict[str, tuple[float, float]], title: str, name: str) -> Markup:
    if len(values) < _FEWEST_AXES:
        return Markup("")
    if len(values) > _MOST_AXES:
        title += say(" (the {most} of most items, of {all})", most=_MOST_AXES, all=len(values))
    return figures.radar(dict(list(values.items())[:_MOST_AXES]), title, name)
