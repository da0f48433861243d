"""Claim: script shares and repetition of real rows, at least 5 times faster than by regular expressions.

Run: ARABIC_LLM_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/prepare.py
"""

from __future__ import annotations

import csv
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from arabic_llm.text.measures import letters, repetition

DATA = Path(os.environ.get("ARABIC_LLM_DATA", "data_raw"))
CLASSES = ((0, 150), (150, 600), (600, 10**9))  # characters: from, to
ROWS = 150  # of each class
REPEATS = 5
TARGET = 5.0
ALIKE = 0.01  # of the characters: \w takes tatweel and circled numbers for letters
EXACT = 1e-12

# The letters of each script as one would write them: one match a letter, and one match a run of letters.
CLASS_OF = {
    "arabic": "\u0620-\u063f\u0641-\u064a\u066e\u066f\u0671-\u06d3\u06d5\u06fa-\u06fc\u0750-\u077f"
    "\ufb50-\ufdff\ufe70-\ufefc",
    "han": "\u3400-\u4dbf\u4e00-\u9fff",
    "latin": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f",
}
ONES = [re.compile(f"[{letters_}]") for letters_ in CLASS_OF.values()]
RUNS = [re.compile(f"[{letters_}]+") for letters_ in CLASS_OF.values()]
LETTER, LETTERS = re.compile(r"[^\W\d_]"), re.compile(r"[^\W\d_]+")
GRAM = re.compile("(?=(.{4}))", re.DOTALL)

Measure = Callable[[str], object]


def script_findall(text: str) -> list[int]:
    return [len(pattern.findall(text)) for pattern in (*ONES, LETTER)]


def script_findall_runs(text: str) -> list[int]:
    return [sum(map(len, pattern.findall(text))) for pattern in (*RUNS, LETTERS)]


def repetition_counter(text: str) -> float:
    grams = Counter(text[i : i + 4] for i in range(len(text) - 3))
    return 1 - len(grams) / max(1, grams.total())


def repetition_set(text: str) -> float:
    return 1 - len({text[i : i + 4] for i in range(len(text) - 3)}) / max(1, len(text) - 3)


def repetition_lookahead(text: str) -> float:
    grams = GRAM.findall(text)
    return 1 - len(set(grams)) / max(1, len(grams))


def real_rows() -> list[str]:
    """Return stories, Wikipedia paragraphs and Chinese instructions, each row as it would be checked."""
    with (DATA / "arastories" / "MSA.csv").open(encoding="utf-8", newline="") as file:
        rows = [f"{row['Prompt']}\n{row['Story']}" for row in csv.DictReader(file)]
    for part in ("train", "test"):
        articles = json.loads((DATA / "arcd" / f"arcd-{part}.json").read_text(encoding="utf-8"))["data"]
        rows += [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    for line in (DATA / "belle" / "dev1K.json").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows.append("\n".join(row[key] for key in ("instruction", "input", "output") if row[key]))
    return rows


def seconds(measures: Sequence[Measure], rows: Sequence[str]) -> list[float]:
    """Return the best CPU time of each measure over all rows; who goes first alternates."""
    best = [float("inf")] * len(measures)
    for repeat in range(REPEATS):
        order = range(len(measures)) if repeat % 2 == 0 else reversed(range(len(measures)))
        for place in order:
            start = time.process_time()
            for row in rows:
                measures[place](row)
            best[place] = min(best[place], time.process_time() - start)
    return best


def check(rows: Sequence[str]) -> None:
    """Assert that every peer finds what we find, so that the same work is timed."""
    for row in rows:
        found = letters(row)
        ours = [found.arabic, found.han, found.latin, found.total]
        for peer in (script_findall(row), script_findall_runs(row)):
            assert all(abs(a - b) <= 1 + ALIKE * len(row) for a, b in zip(ours, peer, strict=True)), (
                ours,
                peer,
            )
        for share in (repetition_counter(row), repetition_set(row), repetition_lookahead(row)):
            assert abs(share - repetition(row)) < EXACT


def main() -> None:
    """Print the ratios by length of row and over all."""
    rows = real_rows()
    start = time.process_time()
    letters("")
    print(f"table of letters, once a process: {time.process_time() - start:.2f} s")
    measures: tuple[Measure, ...] = (letters, script_findall, script_findall_runs)
    measures += (repetition, repetition_counter, repetition_set, repetition_lookahead)
    total = [0.0] * len(measures)
    print("| characters | rows | script: findall | by runs | repetition: Counter | set | lookahead |")
    print("|---|---|---|---|---|---|---|")
    for low, high in CLASSES:
        some = [row for row in rows if low <= len(row) < high]
        some = some[:: max(1, len(some) // ROWS)][:ROWS]
        check(some)
        taken = seconds(measures, some)
        total = [a + b for a, b in zip(total, taken, strict=True)]
        mean = sum(map(len, some)) // len(some)
        print(line(f"{low} to {high if high < 10**9 else 'any'} (mean {mean})", len(some), taken))
    print(line("all", "", total))
    usual = (total[1] + total[4]) / (total[0] + total[3])
    hardest = (min(total[1:3]) + min(total[4:])) / (total[0] + total[3])
    print(f"both measures: {usual:.1f} times faster than findall and Counter (target {TARGET:g}),")
    print(f"{hardest:.1f} times faster than the fastest of the other ways")
    assert usual >= TARGET


def line(name: str, num_rows: object, taken: Sequence[float]) -> str:
    """Return a row of the table: how many times longer the others took."""
    ratios = [taken[i] / taken[0] for i in (1, 2)] + [taken[i] / taken[3] for i in (4, 5, 6)]
    return f"| {name} | {num_rows} | " + " | ".join(f"{ratio:.1f}" for ratio in ratios) + " |"


if __name__ == "__main__":
    main()
