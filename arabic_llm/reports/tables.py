"""Scores and comparisons as tables: for the terminal, Markdown and CSV."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from arabic_llm import files
from arabic_llm.analysis.scores import Evaluation, Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.config.suite import KAPPA
from arabic_llm.reports.markdown import escaped, right_to_left, table
from arabic_llm.reports.spoken import count, isolated, listed, marked, plain, say, term
from arabic_llm.text.normalize import normalize

Table = tuple[Sequence[str], Sequence[Sequence[Any]]]  # its header and its rows
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
HEADER = marked("task", "n", "base", "tuned", "difference (95% interval)", "verdict")
_CSV_HEADER = (
    *("task", "metric", "n", "base", "base_stderr", "tuned", "tuned_stderr", "difference"),
    *("low", "high", "mcnemar_p", "holm_p", "verdict", "random", "constant", "majority"),
    *("task_version", "seen_in_training"),
)
_NAMED = 4  # scores of many that are alike
BASELINES = marked("random", "constant", "majority", "McNemar p (Holm)")
(BASELINES_NOTE,) = marked(
    "constant gives every item the test's most frequent answer; majority that of the rows that few-shot"
    " examples come from (train, validation or dev), where there are any."
)
(OUT_OF_REACH,) = marked("out of reach")
(SMALLEST_NOTE,) = marked(
    "smallest difference is the gain that another model, answering independently, must truly have to be"
    " called better 4 times of 5; below 0, the loss, where no gain can be so large; out of reach, where so"
    " few items cannot show any."
)
(ALIKE,) = marked("every item scored alike: the bootstrap cannot tell")
SCORES_HEADER = marked(
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
        "lowest_by_prompt",
        "highest_by_prompt",
        "task_version",
        "seen_in_training",
    ),
)


def header() -> tuple[str, ...]:
    """Return what the columns of a comparison are called."""
    return tuple(map(term, HEADER))


def baselines() -> tuple[str, ...]:
    """Return what the columns of `baseline_cells` are called."""
    return tuple(map(term, BASELINES))


def cells(row: Difference) -> tuple[str, ...]:
    """Return a row as the reader sees it: percent, and points of percent."""
    interval = points(row.difference, row.low, row.high, row.note, within_prompts(row))
    base, tuned = map(value_cell, (row.base, row.tuned))
    return label(row.base), f"{row.base.n:,}", base, tuned, interval, term(row.verdict)


def label(score: Score) -> str:
    """Return what a score is called."""
    name = replace(score, seen_in_training=False).label
    return say("{name} (seen in training)", name=name) if score.seen_in_training else name


def value_cell(score: Score) -> str:
    """Return a score in percent, and in brackets how low and high the same items score by their prompt."""
    if (ends := score.by_prompt) is None:
        return percent(score.value)
    return f"{percent(score.value)} [{'-'.join(map(percent, ends))}]"


def by_prompt_note(scores: Iterable[Score]) -> str:
    """Return what the brackets of `value_cell` are; nothing where there are none."""
    if all(score.by_prompt is None for score in scores):
        return ""
    return say(
        "In brackets: the lowest and highest score of the same items, by the prompt they are asked in."
    )


def within_prompts(row: Difference) -> str:
    """Return that a difference is smaller than what a prompt alone makes, where it is; else nothing.

    Where there is no difference at all, that says enough.
    """
    spreads = [ends[1] - ends[0] for score in (row.base, row.tuned) if (ends := score.by_prompt)]
    if not spreads or not row.difference or abs(row.difference) >= max(spreads):
        return ""
    return say("smaller than the spread of prompts, {spread:.1f}", spread=100 * max(spreads))


def baseline_cells(row: Difference) -> tuple[str, ...]:
    """Return what random answers and the two constant ones score, and McNemar's p after Holm."""
    p = "" if row.mcnemar_p is None else f"{row.holm_p:.2g}"
    return (*map(percent, (row.base.random, row.base.constant, row.base.majority)), p)


def score_cells(score: Score) -> tuple[str, ...]:
    """Return a score as the reader sees it, and what it must be held against."""
    least = score.smallest_difference
    return (
        *(label(score), f"{score.n:,}", value_cell(score), bounds(score)),
        "" if score.metric == KAPPA else term(OUT_OF_REACH) if least is None else f"{100 * least:+.1f}",
        *map(percent, (score.random, score.constant, score.majority)),
        *map(percent, (score.balanced, score.macro_f1)),
        *(f"{score.num_repeated:,}", f"{score.num_shots:,}"),
    )


def terminal(rows: Sequence[Difference]) -> str:
    """Return a comparison with its columns in line."""
    return in_line([header(), *map(cells, rows)], left=(0, 4, 5))


def scores_terminal(scores: Sequence[Score]) -> str:
    """Return scores with their columns in line."""
    return in_line([[*map(term, SCORES_HEADER)], *map(score_cells, scores)], left=(0,))


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
        say(
            "{names} ask the same questions: one benchmark under several names",
            names=say(" and ").join(map(isolated, names)),
        )
        for names in asked.values()
        if len(names) > 1
    ]


def markdown(rows: Sequence[Difference]) -> str:
    """Return a comparison in Markdown, with the baselines beside the scores."""
    body = [(*map(escaped, cells(row)), *baseline_cells(row)) for row in rows]
    notes = " ".join(filter(None, (term(BASELINES_NOTE), by_prompt_note(row.base for row in rows))))
    return right_to_left(f"{table((*header(), *baselines()), body)}\n{notes}\n")


def scores_markdown(scores: Sequence[Score]) -> str:
    """Return scores in Markdown."""
    notes = "\n\n".join(filter(None, (term(BASELINES_NOTE), term(SMALLEST_NOTE), by_prompt_note(scores))))
    body = [list(map(escaped, row)) for row in map(score_cells, scores)]
    return right_to_left(f"{table([*map(term, SCORES_HEADER)], body)}\n{notes}\n")


def left_out(judged: Mapping[str, Any]) -> list[str]:
    """Return lines on the tasks of a suite that were not asked: not to be had, or not of this model."""
    lines = []
    if missing := judged.get("left_out", ()):
        lines.append(say("{names}: left out: not to be had", names=listed(list(missing))))
    others = judged.get("not_applicable", {})
    return lines + [
        say("{name}: not applicable: {reason}", name=name, reason=term(reason))
        for name, reason in others.items()
    ]


def shortened(scores: Sequence[Score]) -> list[str]:
    """Return a line for each task with prompts that were too long for the model."""
    of_tasks = {score.name: score for score in scores if score.tasks == (score.name,)}
    return [
        say(
            "{name}: {cut:,} of {n:,} prompts are longer than the model can see and lost"
            " their beginning (lost_tokens in items.jsonl; model.max_length)",
            name=name,
            cut=score.num_shortened,
            n=score.n,
        )
        for name, score in of_tasks.items()
        if score.num_shortened
    ]


def knows_nothing(scores: Sequence[Score]) -> str:
    """Return the tasks where one answer for all, or chance, would score as much; "" where there is none."""
    first: dict[str, Score] = {}  # of each task its first metric
    for score in scores:
        first.setdefault(score.name, score)
    poor = [
        say(
            "{name} ({value}, blindly {blind})",
            name=label(score),
            value=percent(score.value),
            blind=percent(blind),
        )
        for score in first.values()
        if (blind := max(score.random or 0.0, score.constant or 0.0)) and score.value <= blind
    ]
    if not poor:
        return ""
    named, others = listed(poor[:_NAMED]), len(poor) - _NAMED
    more = count(others, " and {n} more", " and {n} more") if others > 0 else ""
    said = say("{poor} of {all} scores no better than blind answers: ", poor=len(poor), all=len(first))
    return f"{said}{named}{more}"


def scores_csv(scores: Sequence[Score]) -> str:
    """Return scores in CSV, in fractions and at full precision."""
    return files.csv_text(*scores_table(scores))


def scores_table(scores: Sequence[Score]) -> Table:
    """Return scores as a header and rows, in fractions and at full precision."""
    rows = [
        (
            *(s.name, s.metric, s.n, s.value, s.stderr, s.low, s.high, s.smallest_difference),
            *(s.random, s.constant, s.majority, s.balanced, s.macro_f1, s.num_repeated, s.num_shots),
            *(s.num_shortened, *(s.by_prompt or ("", "")), s.version, s.seen_in_training),
        )
        for s in scores
    ]
    return _SCORES_CSV_HEADER, rows


def comma_separated(rows: Sequence[Difference]) -> str:
    """Return a comparison in CSV, in fractions and at full precision."""
    return files.csv_text(*table_of(rows))


def table_of(rows: Sequence[Difference]) -> Table:
    """Return a comparison as a header and rows, in fractions and at full precision."""
    table = [
        (
            *(row.base.name, row.base.metric, row.base.n, row.base.value, row.base.stderr),
            *(row.tuned.value, row.tuned.stderr, row.difference, row.low, row.high),
            *(row.mcnemar_p, row.holm_p, row.verdict, row.base.random, row.base.constant),
            *(row.base.majority, row.base.version, row.base.seen_in_training),
        )
        for row in rows
    ]
    return _CSV_HEADER, table


def points(difference: float, low: float, high: float, *notes: str) -> str:
    """Return a difference with its interval in points of percent, and what the interval cannot say."""
    about = [term(note) for note in notes if note]
    if not math.isnan(low):
        about.insert(0, say("{low:+.1f} to {high:+.1f}", low=100 * low, high=100 * high))
    return f"{isolated(f'{100 * difference:+.1f}')} ({say('; ').join(about)})"


def bounds(score: Score) -> str:
    """Return the interval of a score in percent; nothing where it was not found."""
    if score.low is None:
        return ""
    said = say("{low} to {high}", low=percent(score.low), high=percent(score.high))
    return f"{said} ({term(ALIKE)})" if score.is_alike else said


def letter(place: int, beyond: str) -> str:
    """Return the capital letter of a place from 0; beyond Z the name given."""
    return ascii_uppercase[place] if place < len(ascii_uppercase) else beyond


def percent(share: float | None) -> str:
    """Return a share of 1 in percent, nothing where there is none."""
    return "" if share is None else f"{100 * share:.1f}"


def in_line(table: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return a table with its columns in line; those of `left` begin together, the others end together.

    What would move a terminal's cursor or colour its letters is shown. Arabic is written as it is read;
    turning it is the terminal's, whose columns the isolates would take.
    """
    table = [[plain(cell) for cell in row] for row in table]
    table = [[_CONTROL.sub(lambda sign: ascii(sign[0])[1:-1], cell) for cell in row] for row in table]
    widths = [max(_width(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell + blank * " " if i in left else blank * " " + cell
            for i, (cell, blank) in enumerate((c, w - _width(c)) for c, w in zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def _width(text: str) -> int:
    """Return how many columns a terminal gives a text: diacritics stand on the letter before them."""
    return sum(not unicodedata.combining(letter) for letter in text)
