"""Scores and comparisons as tables: for the terminal, Markdown and CSV."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from arabic_llm import files
from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports.markdown import escaped, table
from arabic_llm.text.normalize import normalize

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
HEADER = ("task", "n", "base", "tuned", "difference (95% interval)", "verdict")
_CSV_HEADER = (
    *("task", "metric", "n", "base", "base_stderr", "tuned", "tuned_stderr", "difference"),
    *("low", "high", "mcnemar_p", "holm_p", "verdict", "random", "constant", "majority"),
    *("task_version", "seen_in_training"),
)
_NAMED = 4  # scores of many that are alike
BASELINES = ("random", "constant", "majority")
BASELINES_NOTE = (
    "constant gives every item the test's most frequent answer; majority that of the rows that few-shot"
    " examples come from (train, validation or dev), where there are any."
)
OUT_OF_REACH = "out of reach"
SMALLEST_NOTE = (
    "smallest difference is the gain that another model, answering independently, must truly have to be"
    " called better 4 times of 5; below 0, the loss, where no gain can be so large; out of reach, where so"
    " few items cannot show any."
)
ALIKE = "every item scored alike: the bootstrap cannot tell"
SCORES_HEADER = (
    *("task", "n", "score", "95% interval", "smallest difference", "random", "constant", "majority"),
    *("balanced", "macro F1", "repeated", "shots in test"),
)
_SCORES_CSV_HEADER = (
    *("task", "metric", "n", "value", "stderr", "low", "high", "smallest_difference", "random", "constant"),
    *(
        "majority",
        "balanced_accuracy",
        "macro_f1",
        "num_repeated",
        "num_shots",
        "num_shortened",
        "task_version",
        "seen_in_training",
    ),
)


def cells(row: Difference) -> tuple[str, ...]:
    """Return a row as the reader sees it: percent, and points of percent."""
    interval = points(row.difference, row.low, row.high, row.note)
    base, tuned = f"{100 * row.base.value:.1f}", f"{100 * row.tuned.value:.1f}"
    return row.base.label, f"{row.base.n:,}", base, tuned, interval, row.verdict


def baseline_cells(row: Difference) -> tuple[str, ...]:
    """Return what random answers and the two constant ones score, and McNemar's p after Holm."""
    p = "" if row.mcnemar_p is None else f"{row.holm_p:.2g}"
    return (*map(percent, (row.base.random, row.base.constant, row.base.majority)), p)


def score_cells(score: Score) -> tuple[str, ...]:
    """Return a score as the reader sees it, and what it must be held against."""
    least = score.smallest_difference
    return (
        *(score.label, f"{score.n:,}", percent(score.value), bounds(score)),
        OUT_OF_REACH if least is None else f"{100 * least:+.1f}",
        *map(percent, (score.random, score.constant, score.majority)),
        *map(percent, (score.balanced, score.macro_f1)),
        *(f"{score.num_repeated:,}", f"{score.num_shots:,}"),
    )


def terminal(rows: Sequence[Difference]) -> str:
    """Return a comparison with its columns in line."""
    return in_line([HEADER, *_named([row.base for row in rows], map(cells, rows))], left=(0, 4, 5))


def scores_terminal(scores: Sequence[Score]) -> str:
    """Return scores with their columns in line."""
    return in_line([SCORES_HEADER, *_named(scores, map(score_cells, scores))], left=(0,))


def _named(scores: Sequence[Score], rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield rows of scores; a task with several metrics has each of them in its name."""
    several = Counter(score.name for score in scores)
    for score, (label, *others) in zip(scores, rows, strict=True):
        name = label
        if (
            several[score.name] > 1
            and score.metric
            and not label.startswith(f"{score.name} {score.metric}")
        ):
            name = label.replace(score.name, f"{score.name} {score.metric}", 1)
        yield name, *others


def twins(evaluation: Evaluation) -> list[str]:
    """Return a line for each benchmark that a suite asks under several names: the same questions."""
    whole = {score.name: score for score in evaluation.scores if evaluation.is_whole(score)}
    sizes = Counter(score.n for score in whole.values())
    asked: dict[frozenset[str], list[str]] = {}
    for name, score in whole.items():
        if sizes[score.n] > 1 and name != evaluation.judged.get("overall"):
            own = (item for item in evaluation.items if item.task in score.tasks)
            key = frozenset(normalize(f"{item.context} {item.question}", "matching") for item in own)
            asked.setdefault(key, []).append(name)
    return [
        f"{' and '.join(names)} ask the same questions: one benchmark under {len(names)} names"
        for names in asked.values()
        if len(names) > 1
    ]


def markdown(rows: Sequence[Difference]) -> str:
    """Return a comparison in Markdown, with the baselines beside the scores."""
    header = (*HEADER, *BASELINES, "McNemar p (Holm)")
    named = _named([row.base for row in rows], map(cells, rows))
    body = [(*map(escaped, said), *baseline_cells(row)) for said, row in zip(named, rows, strict=True)]
    return f"{table(header, body)}\n{BASELINES_NOTE}\n"


def scores_markdown(scores: Sequence[Score]) -> str:
    """Return scores in Markdown."""
    notes = f"{BASELINES_NOTE}\n\n{SMALLEST_NOTE}"
    body = [list(map(escaped, row)) for row in _named(scores, map(score_cells, scores))]
    return f"{table(SCORES_HEADER, body)}\n{notes}\n"


def left_out(judged: Mapping[str, Any]) -> list[str]:
    """Return lines on the tasks of a suite that were not asked: not to be had, or not of this model."""
    missing = judged.get("left_out", ())
    said = "it could not be had" if len(missing) == 1 else "they could not be had"
    lines = [f"{', '.join(missing)}: left out: {said}"] if missing else []
    others = judged.get("not_applicable", {})
    return lines + [f"{name}: not applicable: {reason}" for name, reason in others.items()]


def shortened(scores: Sequence[Score]) -> list[str]:
    """Return a line for each task with prompts that were too long for the model."""
    of_tasks = {score.name: score for score in scores if score.tasks == (score.name,)}
    return [
        f"{name}: {score.num_shortened:,} of {score.n:,} prompts are longer than the model can see and lost"
        " their beginning (lost_tokens in items.jsonl; model.max_length)"
        for name, score in of_tasks.items()
        if score.num_shortened
    ]


def knows_nothing(scores: Sequence[Score]) -> str:
    """Return the tasks where one answer for all, or chance, would score as much; "" where there is none."""
    first: dict[str, Score] = {}  # of each task its first metric
    for score in scores:
        first.setdefault(score.name, score)
    poor = [
        f"{score.label} ({percent(score.value)}, blindly {percent(blind)})"
        for score in first.values()
        if (blind := max(score.random or 0.0, score.constant or 0.0)) and score.value <= blind
    ]
    if not poor:
        return ""
    named, others = ", ".join(poor[:_NAMED]), len(poor) - _NAMED
    more = f" and {others} more" if others > 0 else ""
    return f"{len(poor)} of {len(first)} scores no better than blind answers: {named}{more}"


def scores_csv(scores: Sequence[Score]) -> str:
    """Return scores in CSV, in fractions and at full precision."""
    rows = [
        (
            *(s.name, s.metric, s.n, s.value, s.stderr, s.low, s.high, s.smallest_difference),
            *(s.random, s.constant, s.majority, s.balanced, s.macro_f1, s.num_repeated, s.num_shots),
            *(s.num_shortened, s.version, s.seen_in_training),
        )
        for s in scores
    ]
    return files.csv_text(_SCORES_CSV_HEADER, rows)


def comma_separated(rows: Sequence[Difference]) -> str:
    """Return a comparison in CSV, in fractions and at full precision."""
    table = [
        (
            *(row.base.name, row.base.metric, row.base.n, row.base.value, row.base.stderr),
            *(row.tuned.value, row.tuned.stderr, row.difference, row.low, row.high),
            *(row.mcnemar_p, row.holm_p, row.verdict, row.base.random, row.base.constant),
            *(row.base.majority, row.base.version, row.base.seen_in_training),
        )
        for row in rows
    ]
    return files.csv_text(_CSV_HEADER, table)


def points(difference: float, low: float, high: float, note: str = "") -> str:
    """Return a difference with its interval in points of percent, and what the interval cannot say."""
    about = [note] if note else []
    if not math.isnan(low):
        about.insert(0, f"{100 * low:+.1f} to {100 * high:+.1f}")
    return f"{100 * difference:+.1f} ({'; '.join(about)})"


def bounds(score: Score) -> str:
    """Return the interval of a score in percent; nothing where it was not found."""
    if score.low is None:
        return ""
    said = f"{percent(score.low)} to {percent(score.high)}"
    return f"{said} ({ALIKE})" if score.is_alike else said


def percent(share: float | None) -> str:
    """Return a share of 1 in percent, nothing where there is none."""
    return "" if share is None else f"{100 * share:.1f}"


def in_line(table: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return a table with its columns in line; those of `left` begin together, the others end together.

    What would move a terminal's cursor or colour its letters is shown.
    """
    table = [[_CONTROL.sub(lambda sign: ascii(sign[0])[1:-1], cell) for cell in row] for row in table]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )
