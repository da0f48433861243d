"""The report of a sweep: one page, and one table with a row a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from markupsafe import Markup

from arabic_llm import files
from arabic_llm.analysis import intervals, sweep_choice
from arabic_llm.analysis.sweep_choice import Cell, Findings
from arabic_llm.analysis.sweep_found import JobOutcome
from arabic_llm.analysis.sweep_jobs import Job, Sweep, Value
from arabic_llm.config import naming
from arabic_llm.reports import html, sweep_figures, sweep_words
from arabic_llm.reports.spoken import count, marked, say, term
from arabic_llm.reports.sweep_figures import Aims, Panel
from arabic_llm.reports.sweep_words import SweepWords

_RANK, _ALPHA, _RATE = "adapter.rank", "adapter.alpha", "task.learning_rate"
_MOST_PANELS = 12
_COSTS = (
    *("gain", "dev_loss", "dev_bits", "forgetting", "forgot", "num_trained", "predicted_mib"),
    *("measured_mib", "tokens_per_second", "steps"),
)
_COLUMNS = (
    *("value", "gain", "dev_loss", "dev_bits_per_byte", "forgetting_bits_per_byte", "forgotten_text"),
    *("trainable_parameters", "memory_predicted_mib", "memory_measured_mib"),
    *("supervised_tokens_per_second", "steps", "seconds", "kind", "of_another_grid", "path"),
)
_SHOWN = marked(
    *("state", "score or loss", "95% interval", "gain", "dev loss, bits a byte", "forgotten, bits a byte"),
    *("trained", "memory predicted", "measured", "time", "supervised tokens/s", "folder"),
)
EFFECTS = marked("factor", "best / worst level", "apart", "95% interval", "p (Holm)", "verdict")


@dataclass(frozen=True)
class SweepPart:
    """What the page says of one group of jobs that may be compared."""

    words: SweepWords
    title: str
    charts: dict[str, Markup]
    fronts: dict[str, list[tuple[str, str, str]]]  # chart -> rows: name, value, what it costs

    @property
    def findings(self) -> Findings:
        """Return what was found."""
        return self.words.findings


def page(sweep: Sweep) -> str:
    """Return the report as HTML."""
    groups = sweep.alike()
    sections = [_section(sweep, jobs) for jobs in groups]
    failed = [job for job in sweep.jobs if job.cause]
    return html.render(
        "sweep.html.jinja",
        sweep=sweep,
        states=sweep_words.states(sweep),
        notes=list(sweep_words.apart(sweep, groups)),
        sections=sections,
        effects_header=[*map(term, EFFECTS)],
        failed=failed,
        header=_header(sweep),
        rows=[_cells(sweep, job) for job in sweep.jobs],
    )


def as_csv(sweep: Sweep) -> str:
    """Return a row a job: swept keys, state, scores with intervals, costs; shares of 1, full precision."""
    names = list(dict.fromkeys(s.name for job in sweep.jobs if job.found for s in job.found.scores))
    kinds = {job.found.kind: letter for jobs, letter in _lettered(sweep) for job in jobs if job.found}
    scores = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    header = ("job", *sweep.keys, "state", "cause", *scores, "measure", *_COLUMNS)
    return files.csv_text(header, [_row(sweep, job, names, kinds) for job in sweep.jobs])


def line(sweep: Sweep) -> str:
    """Return what is said of a sweep where it ends."""
    groups = sweep.alike()
    said = [sweep_words.states(sweep), *sweep_words.kinds(groups)]
    for jobs in groups:
        words = SweepWords.of(sweep, sweep_choice.find(jobs, sweep.keys))
        said += [words.choice(), words.standing()]
    said += sweep_words.stopped(sweep)
    return "\n".join(filter(None, dict.fromkeys(said)))  # of kinds with one job each, the same is said


def _row(sweep: Sweep, job: Job, names: Sequence[str], kinds: dict[str, str]) -> list[Any]:
    found = job.found
    own = {score.name: score for score in found.scores} if found else {}
    scores = [(own[n].value, own[n].low, own[n].high) if n in own else ("", "", "") for n in names]
    costs = [_known(getattr(found, key)) if found else "" for key in _COSTS]
    return [
        *(job.name, *map(_known, (job.levels[key] for key in sweep.keys)), job.state, job.cause),
        *(_known(cell) for one in scores for cell in one),
        *(found.name if found else "", found.value if found else "", *costs),
        *(_known(job.seconds), kinds.get(found.kind, "") if found else "", job.is_left, str(job.folder)),
    ]


def _known(value: Any) -> Any:
    return "" if value is None else value


def _lettered(sweep: Sweep) -> Iterable[tuple[list[Job], str]]:
    """Yield each group of jobs with what it is called in the table."""
    for number, jobs in enumerate(sweep.alike()):
        yield jobs, chr(ord("A") + number) if number < 26 else str(number)  # noqa: PLR2004


def _header(sweep: Sweep) -> list[str]:
    short = naming.short(sweep.keys)
    return [
        *(short[key] for key in sweep.keys),
        *map(term, _SHOWN),
    ]


def _cells(sweep: Sweep, job: Job) -> list[str]:
    """Return a job as the reader sees it."""
    found, keys = job.found, [str(_known(job.levels[key])) for key in sweep.keys]
    state = sweep_words.state_of(job)
    seconds = "" if job.seconds is None else say("{seconds:,.0f} s", seconds=job.seconds)
    if found is None:
        return [*keys, state, *[""] * 8, seconds, "", job.name]
    scale = sweep_figures.Scale(found.name, found.is_loss)
    low, high = _interval(found)
    return [
        *(*keys, state, scale.said(found.value)),
        "" if low is None or high is None else sweep_words.between(scale, low, high),
        "" if found.gain is None else scale.said(found.gain, "+"),
        "" if found.dev_bits is None else f"{found.dev_bits:.4f}",
        "" if found.forgetting is None else f"{found.forgetting:+.3f} {found.forgot}",
        "" if found.num_trained is None else f"{found.num_trained:,}",
        *("" if one is None else f"{one:,.0f} MiB" for one in (found.predicted_mib, found.measured_mib)),
        seconds,
        "" if found.tokens_per_second is None else f"{found.tokens_per_second:,.0f}",
        job.name,
    ]


def _interval(found: JobOutcome) -> tuple[float | None, float | None]:
    """Return the interval of one job's mean score, over its items."""
    if not found.parts:
        return None, None
    return intervals.mean([values for _, values in found.parts], [weight for weight, _ in found.parts])


def _section(sweep: Sweep, jobs: Sequence[Job]) -> SweepPart:
    words = SweepWords.of(sweep, sweep_choice.find(jobs, sweep.keys))
    fronts: dict[str, list[tuple[str, str, str]]] = {}
    charts = {"maps": _maps(words), "effects": _effects(words), "scale": _by_scale(words)}
    for name, of, axis in (
        (
            "forgetting",
            lambda found: found.forgetting,
            say("most forgotten of the held-out texts, bits a byte"),
        ),
        ("memory", lambda found: found.predicted_mib, say("memory of a training step, predicted, MiB")),
    ):
        charts[name], fronts[name] = _front(words, of, axis, is_gain=name == "forgetting")
    number = len({job.name for job in jobs})
    title = count(number, "{measure} of {n} job", "{measure} of {n} jobs", measure=term(words.scale.name))
    drawn = {name: chart for name, chart in charts.items() if chart}
    return SweepPart(words, title, drawn, fronts)


def _maps(words: SweepWords) -> Markup:
    """Return maps of rank and alpha (else of the two factors of most levels), a panel for all others."""
    factors = words.findings.noise.factors
    if len(factors) < 2:  # noqa: PLR2004 (a map has two sides)
        return Markup("")
    first = [key for key in (_RANK, _ALPHA) if key in factors]
    row, column = [*first, *sorted(set(factors) - {*first}, key=lambda key: -len(factors[key]))][:2]
    others = [key for key in factors if key not in (row, column)]
    panels = []
    for levels in product(*(factors[key] for key in others)):
        own = dict(zip(others, levels, strict=True))
        cells = {
            (cell.levels[row], cell.levels[column]): cell
            for cell in words.findings.cells
            if all(cell.levels[key] == level for key, level in own.items())
        }
        if cells:
            panels.append(Panel(words.settings(own) if own else "", cells))
    down, across = (words.short[row], factors[row]), (words.short[column], factors[column])
    return sweep_figures.maps(panels[:_MOST_PANELS], down, across, words.findings.best, words.scale)


def _effects(words: SweepWords) -> Markup:
    found = words.findings.effects
    return sweep_figures.effects(found, words.scale) if found else Markup("")


def _by_scale(words: SweepWords) -> Markup:
    """Return the value against alpha / rank, by learning rate where that is swept, else by rank."""
    factors = words.findings.noise.factors
    if not {_RANK, _ALPHA} & {*factors}:
        return Markup("")
    by = _RATE if _RATE in factors else _RANK if _RANK in factors else _ALPHA
    if {*factors} == {by}:
        return Markup("")
    groups: dict[str, dict[float, list[Cell]]] = {}
    for cell in words.findings.cells:
        found = cell.jobs[0].found
        if found is not None and found.scale is not None:
            name = f"{words.short[by]} {cell.levels[by]}"
            groups.setdefault(name, {}).setdefault(found.scale, []).append(cell)
    lines = {
        name: [(scale, *_mean(cells)) for scale, cells in points.items()]
        for name, points in sorted(groups.items(), key=lambda one: _order(factors[by], one[0]))
    }
    if len({scale for points in groups.values() for scale in points}) < 2:  # noqa: PLR2004
        return Markup("")
    return sweep_figures.lines(
        lines, say("alpha / rank (what an adapter adds is multiplied by it)"), words.scale
    )


def _order(levels: Sequence[Value], name: str) -> int:
    return next((at for at, level in enumerate(levels) if name.endswith(f" {level}")), 0)


def _mean(cells: Sequence[Cell]) -> tuple[float, float]:
    """Return the mean of some cells, and half its interval where there is one cell."""
    value = float(np.mean([cell.mean.value for cell in cells]))
    low, high = cells[0].mean.interval
    return value, (high - low) / 2 if len(cells) == 1 else float("nan")


def _front(
    words: SweepWords, of: Callable[[JobOutcome], float | None], axis: str, *, is_gain: bool
) -> tuple[Markup, list[tuple[str, str, str]]]:
    """Return a chart of two aims with its front, and the front's rows; nothing where a job lacks one."""
    better = _gain if is_gain else _value
    found = [(cell, cell.cost(better), cell.cost(of)) for cell in words.findings.cells]
    known = [(cell, y, x) for cell, y, x in found if x is not None and y is not None]
    if len(known) < 2:  # noqa: PLR2004 (one point is no chart)
        return Markup(""), []
    sign = -1 if words.scale.is_loss and not is_gain else 1
    best = {*sweep_choice.front([(sign * y, x) for _, y, x in known])}
    points = [
        Aims(words.name(cell), x, words.scale.shown(y), at in best) for at, (cell, y, x) in enumerate(known)
    ]
    measure = term(words.scale.name)
    name = words.scale.unit
    if is_gain:
        in_loss, in_points = marked("gain in {measure}", "gain in {measure}, points")
        name = say(in_loss if words.scale.is_loss else in_points, measure=measure)
    rows = [
        (
            words.name(cell),
            words.scale.said(y, "+" if is_gain else ""),
            f"{x:.3g}" if is_gain else f"{x:,.0f}",
        )
        for at, (cell, y, x) in sorted(enumerate(known), key=lambda one: (one[1][2], one[1][1]))
        if at in best
    ]
    return sweep_figures.pareto(points, (axis, name), "gain" if is_gain else "memory"), rows


def _gain(found: JobOutcome) -> float | None:
    return found.gain


def _value(found: JobOutcome) -> float | None:
    return found.value
