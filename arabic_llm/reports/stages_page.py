"""The report of a study in stages: every two compared, how each was trained, what each says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from arabic_llm import files
from arabic_llm.analysis.forgetting import Forgetting
from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.config.fingerprint import plain
from arabic_llm.config.preference_task import PairConfig, PreferenceConfig
from arabic_llm.config.task import TaskConfig
from arabic_llm.reports import beginning, figures, held_out_loss, html, memory_section, preferences, tables
from arabic_llm.reports.markdown import escaped, right_to_left, table
from arabic_llm.reports.spoken import listed, marked, say, term

_COLORS = ("#8a94a6", "#0f7b6c", "#2f5fb3", "#b06a00", "#7a4fb5", "#b3261e")
_CSV_HEADER = (
    *("from", "to", "kind", "name", "metric", "n", "before", "after", "difference", "low", "high"),
    *("holm_p", "verdict"),
)


@dataclass(frozen=True)
class Comparison:
    """What became of the scores between two sides of a study."""

    before: str
    after: str
    found: Forgetting

    def rows(self) -> Iterator[tuple[str, Difference]]:
        """Yield (task, language or skill; row) of all that was compared."""
        yield from (("task", row) for row in self.found.tasks)
        yield from ((kind, row) for kind, own in self.found.by_trait.items() for row in own)


@dataclass(frozen=True)
class Trained:
    """What a stage was told, and what its training has left."""

    name: str
    start: str
    data: str
    settings: TaskConfig
    memory: dict[str, Any]
    lint: dict[str, Any]
    ledgers: Sequence[dict[str, Any]]
    outcome: dict[str, Any]
    metrics: Sequence[dict[str, Any]]

    @property
    def is_of_pairs(self) -> bool:
        """Return whether it learned from better and worse answers, each pair at once."""
        return isinstance(self.settings, PairConfig)

    @property
    def unit(self) -> str:
        """Return what its loss is of."""
        if not isinstance(self.settings, PreferenceConfig):
            return "nats a supervised token"
        of_a_pair, of_an_answer = marked("loss of a pair", "loss of a rated answer")
        return of_a_pair if self.is_of_pairs else of_an_answer

    @property
    def said(self) -> str:
        """Return its settings as they are typed."""
        told = plain(asdict(self.settings))
        return ", ".join(
            f"{name}={value}"
            for name, value in told.items()
            if value is not None and name not in ("name", "held_out")
        )


@dataclass(frozen=True)
class Page:
    """Everything the report of a study in stages says. Its sides are the base and each stage, by name."""

    title: str
    sides: Mapping[str, Evaluation]
    comparisons: Sequence[Comparison]
    trained: Sequence[Trained]
    prompts: Sequence[str]
    answers: Mapping[str, Sequence[str]]
    manifest: dict[str, Any]
    hardware: str
    evaluation_memory: dict[str, dict[str, Any]]

    @property
    def base(self) -> Evaluation:
        """Return the evaluation of the base model."""
        return next(iter(self.sides.values()))

    @property
    def num_compared(self) -> int:
        """Return for how many differences the p-values are corrected, at most: those of wholes."""
        return sum(self._is_whole(kind, row) for one in self.comparisons for kind, row in one.rows())

    def wholes(self, comparison: Comparison) -> list[tuple[str, Difference]]:
        """Return the rows of a comparison that stand by themselves."""
        return [(kind, row) for kind, row in comparison.rows() if self._is_whole(kind, row)]

    def _is_whole(self, kind: str, row: Difference) -> bool:
        return kind != "task" or self.base.is_whole(row.base)

    def scores(self) -> list[list[Score]]:
        """Return for each task or group that stands by itself its score on every side."""
        wanted = [(s.name, s.metric) for s in self.base.scores if self.base.is_whole(s)]
        known = [{(s.name, s.metric): s for s in one.scores} for one in self.sides.values()]
        return [[side[key] for side in known] for key in wanted]


def terminal(page: Page) -> str:
    """Return every side's scores in line, and what is beyond noise between any two."""
    rows = [_score_cells(scores) for scores in page.scores()]
    return "\n".join([tables.in_line([_score_header(page), *rows], left=(0,)), "", *_verdicts(page)])


def markdown(page: Page) -> str:
    """Return the scores of every side, and every comparison, as tables."""
    rows = [list(map(escaped, _score_cells(scores))) for scores in page.scores()]
    parts = [table(_score_header(page), rows, numeric=range(1, 3 + len(page.sides)))]
    for one in page.comparisons:
        body = [list(map(escaped, _cells(kind, row))) for kind, row in page.wholes(one)]
        parts.append(f"## {_between(one)}\n\n{table(_header(one), body, numeric=(2, 3, 4))}")
    parts.append(f"{_note(page)}\n")
    return right_to_left("\n".join(parts))


def comma_separated(page: Page) -> str:
    """Return every comparison, parts of groups too, in fractions and at full precision."""
    rows = [
        (
            *(one.before, one.after, kind, row.base.name, row.base.metric, row.base.n, row.base.value),
            *(row.tuned.value, row.difference, row.low, row.high, row.holm_p, row.verdict),
        )
        for one in page.comparisons
        for kind, row in one.rows()
    ]
    return files.csv_text(_CSV_HEADER, rows)


def html_of(page: Page) -> str:
    """Return the report as a page of one file."""
    with figures.drawing():
        bars = figures.chart("scores", _bars(page))
    return html.render(
        "stages.html.jinja",
        page=page,
        bars=bars,
        result=_result(page),
        score_header=_score_header(page),
        scores=[_score_cells(scores) for scores in page.scores()],
        verdicts=_verdicts(page),
        note=_note(page),
        comparisons=[
            (_between(one), _header(one), [_cells(kind, row) for kind, row in page.wholes(one)])
            for one in page.comparisons
        ],
        left_out=[*tables.left_out(page.base.judged), *tables.shortened(page.base.scores)],
        trained=[
            (one, _charts(one), preferences.lines(one.metrics, are_pairs=one.is_of_pairs))
            for one in page.trained
        ],
        transcripts=[
            (prompt, [said[number] for said in page.answers.values()])
            for number, prompt in enumerate(page.prompts)
        ],
        memory={one.name: memory_section.section(one.memory) for one in page.trained},
        evaluating=memory_section.of_evaluations(page.evaluation_memory),
    )


def _charts(one: Trained) -> list[Markup]:
    """Return how a stage was trained: its loss, of pairs what became of them, and what was forgotten."""
    drawn = [figures.training_curve(one.metrics, one.unit)]
    if isinstance(one.settings, PreferenceConfig):
        drawn.append(figures.chart(f"preferences_{one.name}", preferences.draw(one.metrics)))
    if followed := held_out_loss.courses(one.metrics, one.outcome["kept_step"]):
        with figures.drawing():
            drawn.append(figures.chart(f"held_out_loss_{one.name}", held_out_loss.draw(followed)))
    return drawn


def _bars(page: Page) -> Figure:
    """Draw the score of each side as bars with 95% intervals, and the random baseline as a mark."""
    rows, names = page.scores(), list(page.sides)
    height = 0.8 / len(names)
    figure, axes = plt.subplots(figsize=(8, (0.2 * len(names) + 0.2) * len(rows) + 1.1))
    at = np.arange(len(rows))[::-1]
    for index, name in enumerate(names):
        own = [scores[index] for scores in rows]
        shift = ((len(names) - 1) / 2 - index) * height
        look: Any = {"color": _COLORS[index % len(_COLORS)], "label": term(name), "ecolor": "#444"}
        axes.barh(at + shift, [100 * s.value for s in own], 0.9 * height, xerr=figures.reach(own), **look)
    for position, scores in zip(at, rows, strict=True):
        axes.plot([100 * scores[0].random] * 2, [position - 0.42, position + 0.42], color="#b3261e", lw=1.4)
    axes.plot([], [], color="#b3261e", lw=1.4, label=say("random answers"))
    axes.set_yticks(at, [tables.label(scores[0]) for scores in rows])
    axes.set(xlim=(0, 104), xlabel=say("score, percent (bars: 95% interval)"))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names) + 1, frameon=False)
    return figure


def _score_header(page: Page) -> list[str]:
    return [*map(term, marked("task", "n", "random")), *map(term, page.sides)]


def _score_cells(scores: Sequence[Score]) -> list[str]:
    first = scores[0]
    values = (tables.percent(score.value) for score in scores)
    return [tables.label(first), f"{first.n:,}", tables.percent(first.random), *values]


def _header(one: Comparison) -> tuple[str, ...]:
    first, mean, n, difference, verdict = marked(
        "score", "mean by", "n", "difference (95% interval)", "verdict"
    )
    return tuple(map(term, (first, mean, n, one.before, one.after, difference, verdict)))


def _between(one: Comparison) -> str:
    return say("{before} to {after}", before=term(one.before), after=term(one.after))


def _cells(kind: str, row: Difference) -> tuple[str, ...]:
    label, *rest = tables.cells(row)
    names = {"language": held_out_loss.name_of(row.base.name), "skill": term(label)}
    name = names.get(kind, label)
    return (name, "" if kind == "task" else term(kind), *rest)


def _verdicts(page: Page) -> list[str]:
    """Return a line for each two sides between which anything is beyond noise; one line for none."""
    said = []
    for one in page.comparisons:
        changes = [
            say(
                "{name} {verdict} by {points:.1f}",
                name=_cells(kind, row)[0],
                verdict=term(row.verdict),
                points=100 * abs(row.difference),
            )
            for kind, row in page.wholes(one)
            if row.verdict in ("better", "worse")
        ]
        said += [f"{_between(one)}: {listed(changes)}"] if changes else []
    return said or [say("between no two of them is any score beyond noise")]


def _result(page: Page) -> str:
    """Return what came of the base model through all stages, in one sentence."""
    first, *_, last = page.sides
    whole = next(one for one in page.comparisons if (one.before, one.after) == (first, last))
    rows = [row for kind, row in page.wholes(whole) if kind == "task"]
    return f"{_between(whole)}: {beginning.result(rows)}"


def _note(page: Page) -> str:
    return say(
        "Scores in percent, differences in points, paired item by item on the same items. {number}"
        " comparisons ({names}) with {differences} differences stand here, and every"
        " p-value is corrected for all of them (Holm); where the paired interval holds 0, or the corrected"
        " test does not tell it from chance, a difference is within noise.",
        number=len(page.comparisons),
        names=listed([_between(one) for one in page.comparisons]),
        differences=page.num_compared,
    )
