"""The loss on held-out texts while training, read back from metrics.jsonl: its course, a line, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

_KEY = "held_out_loss/"
_SHARE = "held_out_share"
_Z = 1.96  # standard errors to each side of a 95% interval
_COLORS = ("#0f7b6c", "#b06a00", "#2f5fb3", "#b3261e", "#7a4fb5", "#5c6675")
_NAMES = {
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

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the rise."""
        return self.rise - _Z * self.stderr, self.rise + _Z * self.stderr

    @property
    def verdict(self) -> str:
        """Return forgotten or better where the interval leaves out 0, else within noise."""
        low, high = self.interval
        return "forgotten" if low > 0 else "better" if high < 0 else "within noise"


@dataclass(frozen=True)
class Course:
    """The loss on the texts of one language, step by step, up to the weights that were kept."""

    language: str
    points: Sequence[Point]
    share: float = 1.0  # of each text's length that was read

    @property
    def first(self) -> Point:
        """Return the base model's."""
        return self.points[0]

    @property
    def last(self) -> Point:
        """Return that of the weights that were kept."""
        return self.points[-1]


def name_of(language: str) -> str:
    """Return a language as a reader calls it; a code that we do not know is its own name."""
    return _NAMES.get(language, language)


def courses(metrics: Sequence[dict[str, Any]], kept_step: int) -> list[Course]:
    """Return the course of each language that metrics.jsonl follows, in its order."""
    lines = [m for m in metrics if any(key.startswith(_KEY) for key in m) and m["step"] <= kept_step]
    languages = [key.removeprefix(_KEY) for key in lines[0] if key.startswith(_KEY)] if lines else []
    parts = ("loss", "bits_per_byte", "rise", "rise_stderr")
    share = lines[0].get(_SHARE, 1.0) if lines else 1.0
    return [
        Course(
            one, [Point(m["step"], *(m[f"held_out_{part}/{one}"] for part in parts)) for m in lines], share
        )
        for one in languages
    ]


def how_much(found: Sequence[Course]) -> str:
    """Return how much of the texts was read, as a sentence; empty where it was all."""
    shares = [course.share for course in found if course.share < 1]
    cut = f"The first {shares[0]:.1%} of each text was read" if shares else ""
    return f"{cut}: more would have taken over a fiftieth of the training." if cut else ""


def line(found: Sequence[Course]) -> str:
    """Return what became of each language in one line; empty where none was followed."""
    told = []
    for course in found:
        said = f"{course.language} {course.first.loss:.2f} -> {course.last.loss:.2f}"
        if course.last.verdict == "forgotten":
            said += f" ({course.last.rise:+.2f}: forgotten)"
        told.append(said)
    return f"held-out loss: {', '.join(told)}" if told else ""


def draw(found: Sequence[Course]) -> Figure:
    """Return how far each loss has moved from where it began, with its 95% interval as a band."""
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for number, course in enumerate(found):
        color = _COLORS[number % len(_COLORS)]
        steps = [point.step for point in course.points]
        low, high = np.array([point.interval for point in course.points]).T
        axes.fill_between(steps, low, high, color=color, alpha=0.15, lw=0)
        label = f"{name_of(course.language)}  {course.first.loss:.2f} → {course.last.loss:.2f}"
        axes.plot(steps, [point.rise for point in course.points], "o-", ms=4, color=color, label=label)
    axes.axhline(0, color="#888", lw=1, ls=":")
    axes.set(xlabel="optimiser step", ylabel="change of the loss, nats a token")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
