"""What typing costs a model: drops by perturbation and rate as tables, heat maps and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup, escape

from arabic_llm import files
from arabic_llm.analysis.robustness import Condition, Drop
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.reports import figures, html, tables
from arabic_llm.reports.markdown import escaped, right_to_left, table
from arabic_llm.reports.reasons import reason
from arabic_llm.reports.spoken import count, marked, say, term

HEADER = marked(
    *("task", "perturbation", "rate", "items changed", "tokens", "clean", "perturbed"),
    *("drop (95% interval)", "over changed items", "verdict"),
)
_CSV_HEADER = (
    *("task", "metric", "perturbation", "rate", "seed", "n", "num_changed", "token_ratio", "clean"),
    *("perturbed", "drop", "low", "high", "changed_drop", "changed_low", "changed_high", "sign_p"),
    *("holm_p", "verdict", "random", "constant", "task_version", "seen_in_training"),
)
NUM_ANSWERS = 10
_NARROWEST = 10.0  # points: no narrower range of colours, or noise would look like a catastrophe
_DARK = 0.6  # share of the range from which on letters are white
_LONGEST_UPRIGHT = 10  # letters of a column's name

Answers = Sequence[tuple[Condition, Sequence[tuple[Item, Item]]]]  # of each condition those that changed


@dataclass(frozen=True)
class Report:
    """Everything the page says."""

    clean: Evaluation
    drops: Sequence[Drop]
    answers: Answers
    left_out: Sequence[str]
    manifest: dict[str, Any]
    hardware: str


def firsts(drops: Sequence[Drop]) -> list[Drop]:
    """Return the drops of each task in its first metric."""
    metrics: dict[str, str] = {}
    for drop in drops:
        metrics.setdefault(drop.difference.base.name, drop.difference.base.metric)
    return [drop for drop in drops if metrics[drop.difference.base.name] == drop.difference.base.metric]


def cells(drop: Drop) -> tuple[str, ...]:
    """Return a drop as the reader sees it: percent, and points of percent; more than 0 is worse."""
    row, condition = drop.difference, drop.condition
    return (
        *(
            tables.label(row.base),
            term(condition.perturbation),
            f"{condition.rate:g}",
            f"{100 * drop.changed_share:.0f}%",
        ),
        *(f"{drop.token_ratio:.2f}x", f"{100 * row.base.value:.1f}", f"{100 * row.tuned.value:.1f}"),
        tables.points(*drop.drop, row.note.replace("item", "score")),  # its question did
        tables.points(drop.changed_drop, drop.changed_low, drop.changed_high) if drop.num_changed else "",
        term(row.verdict),
    )


def notes(report: Report) -> list[str]:
    """Return what a reader must know: who has little to lose, prompts that were cut, what was left out."""
    lines = []
    for score in {row.difference.base.name: row.difference.base for row in firsts(report.drops)}.values():
        guessed = max(score.random, score.constant or 0.0)
        said = {item.answer for item in report.clean.items if item.task in score.tasks}
        if len(said) == 1:
            lines.append(
                say(
                    "{name}: every clean question got the same answer ({answer}): no drop can show",
                    name=tables.label(score),
                    answer=said.pop(),
                )
            )
        elif score.low is not None and score.low <= guessed:
            lines.append(
                say(
                    "{name}: {value} ({bounds}) on clean questions may be no more than one constant or"
                    " random answer has ({guessed:.1f}): there is little to lose",
                    name=tables.label(score),
                    value=tables.percent(score.value),
                    bounds=tables.bounds(score),
                    guessed=100 * guessed,
                )
            )
    lines += _shortened(report.drops)
    return [*lines, *(say("left out: {reason}", reason=reason(why)) for why in report.left_out)]


def _shortened(drops: Sequence[Drop]) -> Iterator[str]:
    """Yield a line for each task with prompts that were too long for the model, as typed or clean."""
    by_task: dict[str, list[Drop]] = {}
    for drop in firsts(drops):
        by_task.setdefault(tables.label(drop.difference.base), []).append(drop)
    for name, own in by_task.items():
        worst = max(own, key=lambda drop: drop.difference.tuned.num_shortened)
        clean, most = (score.num_shortened for score in (worst.difference.base, worst.difference.tuned))
        if clean or most:
            yield say(
                "{name}: {clean:,} of {n:,} clean prompts, and up to {most:,} perturbed ones"
                " ({perturbation} at {rate:g}), are longer than the model can see and lost their beginning"
                " (lost_tokens in items.jsonl; model.max_length)",
                name=name,
                clean=clean,
                n=worst.difference.base.n,
                most=most,
                perturbation=term(worst.condition.perturbation),
                rate=worst.condition.rate,
            )


def terminal(report: Report) -> str:
    """Return a line for each task and perturbation, the drop at each rate beside it; * is beyond noise."""
    rates = sorted({drop.condition.rate for drop in report.drops})
    lines: dict[tuple[str, str], dict[float, Drop]] = {}
    for drop in firsts(report.drops):
        name = (tables.label(drop.difference.base), term(drop.condition.perturbation))
        lines.setdefault(name, {})[drop.condition.rate] = drop
    first = map(term, marked("task", "perturbation", "changed", "tokens"))
    header = (*first, *(say("drop at {rate:g}", rate=rate) for rate in rates))
    rows = [
        (*name, *cells(own[rates[-1]])[3:5], *(_mark(own[rate]) for rate in rates))
        for name, own in lines.items()
    ]
    return "\n".join([tables.in_line([header, *rows], left=(0, 1)), *notes(report)])


def markdown(report: Report) -> str:
    """Return the drops in each task's first metric in Markdown, and what must be known of them."""
    rows = table(
        [*map(term, HEADER)],
        [[*map(escaped, cells(drop))] for drop in firsts(report.drops)],
        numeric=(2, 3, 4, 5, 6),
    )
    return right_to_left("\n".join([rows, *(f"- {escaped(note)}" for note in notes(report)), ""]))


def comma_separated(drops: Sequence[Drop]) -> str:
    """Return every drop in CSV, in fractions and at full precision."""
    return files.csv_text(
        _CSV_HEADER,
        [
            (
                *(row.base.name, row.base.metric, condition.perturbation, condition.rate, condition.seed),
                *(row.base.n, drop.num_changed, drop.token_ratio, row.base.value, row.tuned.value),
                *(*drop.drop, drop.changed_drop, drop.changed_low, drop.changed_high),
                *(row.sign_p, row.holm_p, row.verdict, row.base.random, row.base.constant),
                *(row.base.version, row.base.seen_in_training),
            )
            for drop in drops
            for row, condition in [(drop.difference, drop.condition)]
        ],
    )


def page_of(report: Report) -> str:
    """Return the report as HTML."""
    shown = firsts(report.drops)
    return html.render(
        "robustness.html.jinja",
        report=report,
        title=say("{model}, asked as people type", model=report.clean.model["name"]),
        result=result(shown),
        header=[*map(term, HEADER)],
        notes=notes(report),
        rows=[cells(drop) for drop in shown],
        charts=heat_maps(shown),
        answers=[
            (condition, before, after, *_marked(before.question, after.question))
            for condition, before, after in spread(report.answers)
        ],
    )


def heat_maps(drops: Sequence[Drop]) -> list[Markup]:
    """Return drops by rate (mean over tasks), and of several tasks those of each at the highest rate."""
    top = max(drop.condition.rate for drop in drops)
    at_top = [drop for drop in drops if drop.condition.rate == top]
    is_one = len({drop.difference.base.name for drop in drops}) == 1
    by_rate = heat_map(
        drops,
        lambda drop: say("rate {rate:g}", rate=drop.condition.rate),
        say("points lost") if is_one else say("points lost, mean over tasks"),
        "by_rate",
    )
    if is_one:
        return [by_rate]
    return [
        by_rate,
        heat_map(
            at_top,
            lambda drop: tables.label(drop.difference.base),
            say("points lost at rate {rate:g}", rate=top),
            "by_task",
        ),
    ]


def heat_map(drops: Sequence[Drop], column: Callable[[Drop], str], title: str, name: str) -> Markup:
    """Return perturbation by column: red lost points, * is beyond noise, a dot changed no item."""
    cells: dict[tuple[str, str], list[Drop]] = {}
    for drop in drops:
        cells.setdefault((drop.condition.perturbation, column(drop)), []).append(drop)
    rows, columns = (list(dict.fromkeys(place[i] for place in cells)) for i in (0, 1))
    values = np.full((len(rows), len(columns)), np.nan)
    for (row, at), own in cells.items():
        values[rows.index(row), columns.index(at)] = 100 * np.mean([drop.drop[0] for drop in own])
    widest = max(_NARROWEST, float(np.nanmax(np.abs(values))))
    with mpl.rc_context(figures.STYLE):
        figure, axes = plt.subplots(figsize=(2.8 + 1.0 * len(columns), 0.9 + 0.34 * len(rows)))
        image = axes.imshow(values, cmap="RdBu_r", vmin=-widest, vmax=widest, aspect="auto")
        for (row, at), own in cells.items():
            y, x = rows.index(row), columns.index(at)
            ink = "white" if abs(values[y, x]) > _DARK * widest else figures.INK
            axes.text(x, y, _cell(own, values[y, x]), ha="center", va="center", color=ink)
        slant: Any = {"rotation": 30, "ha": "right"} if max(map(len, columns)) > _LONGEST_UPRIGHT else {}
        axes.set_xticks(range(len(columns)), columns, **slant)
        axes.set_yticks(range(len(rows)), [_spaced(row) for row in rows])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=11, loc="left")
        figure.colorbar(image, ax=axes, shrink=0.8)
        return figures.chart(name, figure)


def _spaced(perturbation: str) -> str:
    said = term(perturbation)
    return perturbation.replace("_", " ") if said == perturbation else said


def result(drops: Sequence[Drop]) -> str:
    """Return in one sentence how many ways to type cost points beyond noise, and the costliest."""
    named = {drop.condition.perturbation for drop in drops}
    worse = [drop for drop in drops if drop.difference.verdict == "worse"]
    costly = {drop.condition.perturbation for drop in worse}
    if not costly:
        return count(
            len(named),
            "The one way to type costs nothing that can be told apart from noise with these items.",
            "None of {n} ways to type costs anything that can be told apart from noise with these items.",
        )
    most = max(worse, key=lambda drop: drop.drop[0])
    return count(
        len(named),
        "The one way to type costs points beyond noise, at most {points:.1f} ({task}).",
        "{costly} of {n} ways to type cost points beyond noise, most {name}: {points:.1f} ({task}).",
        costly=len(costly),
        name=_spaced(most.condition.perturbation),
        points=100 * most.drop[0],
        task=tables.label(most.difference.base),
    )


def _cell(drops: Sequence[Drop], value: float) -> str:
    if not any(drop.num_changed for drop in drops):
        return "·"
    is_beyond_noise = len(drops) == 1 and drops[0].difference.verdict != "within noise"
    return f"{value:+.1f}{'*' if is_beyond_noise else ''}"


def spread(answers: Answers) -> list[tuple[Condition, Item, Item]]:
    """Return ten changed answers of ten perturbations, or of all, at the lowest rates that have one."""
    ranks: dict[str, list[tuple[Condition, Item, Item]]] = {}
    for condition, pairs in answers:
        ranks.setdefault(condition.perturbation, []).extend((condition, *pair) for pair in pairs)
    ordered = [
        own[rank]
        for rank in range(max(map(len, ranks.values()), default=0))
        for own in ranks.values()
        if rank < len(own)
    ]
    num_first = sum(bool(own) for own in ranks.values())
    if num_first > NUM_ANSWERS:
        return [ordered[place * num_first // NUM_ANSWERS] for place in range(NUM_ANSWERS)]
    return ordered[:NUM_ANSWERS]


def _marked(clean: str, perturbed: str) -> tuple[Markup, Markup]:
    """Return both questions as HTML, the words that differ marked."""
    before, after = clean.split(), perturbed.split()
    sides: tuple[list[Markup], list[Markup]] = ([], [])
    for kind, *spans in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for side, words, (low, high) in zip(sides, (before, after), (spans[:2], spans[2:]), strict=True):
            if low < high:
                text = escape(" ".join(words[low:high]))
                side.append(text if kind == "equal" else Markup("<mark>{}</mark>").format(text))
    return Markup(" ").join(sides[0]), Markup(" ").join(sides[1])


def _mark(drop: Drop) -> str:
    sign = "" if drop.difference.verdict == "within noise" else "*"
    return f"{100 * drop.drop[0]:+.1f}{sign or ' '}"
