"""The loss on held-out texts while training, read back from metrics.jsonl: its course, a line, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import stdtr, stdtrit

from arabic_llm.analysis.intervals import ALPHA
from arabic_llm.analysis.statistics import holm, verdict
from arabic_llm.reports.spoken import isolated, listed, say, term

_KEY = "held_out_loss/"
_SHARE = "held_out_share"
_FEWEST = 2  # texts
_COLORS = ("#0f7b6c", "#b06a00", "#2f5fb3", "#b3261e", "#7a4fb5", "#5c6675")
NAMES: dict[str, str] = {
    "ar": "Arabic",
    "arz": "Egyptian Arabic",
    "ary": "Moroccan Arabic",
    "apc": "Levantine Arabic",
    "acm": "Iraqi Arabic",
    "ars": "Najdi Arabic",
    "dialects": "Arabic dialects",
    "en": "English",
    "zh": "Chinese",
}


@dataclass(frozen=True)
class Point:
    """The loss at one step, in nats a token; `rise` is since step 0, paired text by text."""

    step: int
    loss: float
    bits_per_byte: float
    rise: float
    stderr: float  # of the rise
    num_texts: int

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the rise: Student's, over the texts."""
        half = float(stdtrit(self.num_texts - 1, 1 - ALPHA / 2)) * self.stderr
        return self.rise - half, self.rise + half

    @property
    def p(self) -> float:
        """Return the two-sided p of a rise so large where there is none (Student's t test)."""
        if self.stderr == 0:  # no text varies: as before the first step
            return 1.0
        return float(2 * stdtr(self.num_texts - 1, -abs(self.rise / self.stderr)))


@dataclass(frozen=True)
class Course:
    """The loss on the texts of one language, step by step, up to the weights that were kept.

    `holm_p` is that of the last rise, corrected for the languages beside it.
    """

    language: str
    points: Sequence[Point]
    share: float = 1.0  # of each text's length that was read
    holm_p: float = 1.0

    @property
    def first(self) -> Point:
        """Return the base model's."""
        return self.points[0]

    @property
    def last(self) -> Point:
        """Return that of the weights that were kept."""
        return self.points[-1]

    @property
    def verdict(self) -> str:
        """Return forgotten or better where chance does not explain the last rise, else within noise."""
        found = verdict(*self.last.interval, self.holm_p)
        return {"better": "forgotten", "worse": "better"}.get(found, found)


def name_of(language: str) -> str:
    """Return a language as a reader calls it; a code that we do not know is its own name."""
    return term(NAMES.get(language, language))


def courses(metrics: Sequence[dict[str, Any]], kept_step: int) -> list[Course]:
    """Return the course of each language that metrics.jsonl follows, in its order."""
    lines = [m for m in metrics if any(key.startswith(_KEY) for key in m) and m["step"] <= kept_step]
    languages = [key.removeprefix(_KEY) for key in lines[0] if key.startswith(_KEY)] if lines else []
    parts = ("loss", "bits_per_byte", "rise", "rise_stderr")
    found, share = [], lines[0].get(_SHARE, 1.0) if lines else 1.0
    for one in languages:
        points = [
            Point(*(m["step"], *(m[f"held_out_{part}/{one}"] for part in parts), _num_texts(m, one)))
            for m in lines
        ]
        found.append(Course(one, points, share))
    corrected = holm([course.last.p for course in found])
    return [replace(course, holm_p=p) for course, p in zip(found, corrected, strict=True)]


def _num_texts(metrics: dict[str, Any], language: str) -> int:
    """Return of how many texts an error is; of an older run, which does not say, the fewest."""
    return int(metrics.get(f"held_out_texts/{language}", _FEWEST))


def how_much(found: Sequence[Course]) -> str:
    """Return how much of the texts was read, as a sentence; empty where it was all."""
    shares = [course.share for course in found if course.share < 1]
    if not shares:
        return ""
    return say(
        "The first {share:.1%} of each text was read: more would have taken over a fiftieth of the"
        " training.",
        share=shares[0],
    )


def table(found: Sequence[Course]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Return what became of each language as a header and rows, in nats a token and bits a byte."""
    header = ("language", "loss before", "loss after", "bits a byte before", "bits a byte after", "verdict")
    ends = ((course, course.first, course.last) for course in found)
    return header, [
        (c.language, first.loss, last.loss, first.bits_per_byte, last.bits_per_byte, c.verdict)
        for c, first, last in ends
    ]


def line(found: Sequence[Course]) -> str:
    """Return what became of each language in one line; empty where none was followed."""
    told = []
    for course in found:
        first, last = course.first, course.last
        ends = {"first": first.bits_per_byte, "last": last.bits_per_byte}
        rise = last.bits_per_byte - first.bits_per_byte
        risen = say(", {rise:+.2f}: forgotten", rise=rise) if course.verdict == "forgotten" else ""
        bits = say("{first:.2f} -> {last:.2f} bits a byte", **ends)
        told.append(
            say(
                "{language} {first:.2f} -> {last:.2f} ({bits}{risen})",
                language=course.language,
                first=first.loss,
                last=last.loss,
                bits=bits,
                risen=risen,
            )
        )
    return say("held-out loss: {told}", told=listed(told)) if told else ""


def draw(found: Sequence[Course]) -> Figure:
    """Return how far each loss has moved from where it began, with its 95% interval as a band."""
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for number, course in enumerate(found):
        color = _COLORS[number % len(_COLORS)]
        steps = [point.step for point in course.points]
        low, high = np.array([point.interval for point in course.points]).T
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
        first, last = course.first, course.last
        ends = {"first": first.bits_per_byte, "last": last.bits_per_byte}
        bits = say("{first:.2f} → {last:.2f} bits a byte", **ends)
        label = f"{name_of(course.language)}  {isolated(f'{first.loss:.2f} → {last.loss:.2f}')}\n{bits}"
        axes.plot(steps, [point.rise for point in course.points], "o-", ms=4, color=color, label=label)
    axes.axhline(0, color="#888", lw=1, ls=":")
    axes.set(xlabel=say("optimiser step"), ylabel=say("change of the loss, nats a token"))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
