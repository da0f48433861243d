"""Rows for the benchmarks: real text as it lies there, and any number of rows spliced from it."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

DATA = Path(os.environ.get("ARABIC_LLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEED = 17
NUM_PIECES = 3  # of an answer
_PIECE = re.compile(r"(?:\S+\s+){20}")  # words, with the line breaks between them
_LATIN = " the quick brown fox jumps over the lazy dog near the old river bank "
Row = dict[str, str]  # instruction, output


def real_rows() -> list[Row]:
    """Return stories in three kinds of Arabic, Wikipedia paragraphs and Chinese instructions, whole."""
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set ARABIC_LLM_DATA")
    rows = []
    for path in sorted((DATA / "arastories").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows += [_row(story["Prompt"], story["Story"]) for story in csv.DictReader(file)]
    for path in (DATA / "arcd" / "arcd-train.json", DATA / "arcd" / "arcd-test.json"):
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
            rows += [_row(article["title"], part["context"]) for part in article["paragraphs"]]
    for line in (DATA / "belle" / "dev1K.json").read_text(encoding="utf-8").splitlines():
        task = json.loads(line)
        rows.append(_row(f"{task['instruction']}\n{task['input']}".strip(), task["output"]))
    return rows


def spliced_rows(num_rows: int) -> Iterator[Row]:
    """Yield rows of about 75 words, always the same: pieces of 20 real words each, drawn anew a row.

    Of a hundred rows about five are exact copies of the row before, five lack one of its words, one is a
    loop, one has a stretch of English, one is English alone, one echoes its question.
    """
    draw, real = random.Random(SEED), real_rows()  # noqa: S311
    pieces = [piece for row in real for piece in _PIECE.findall(row["output"])]
    prompts = [piece for row in real for piece in _PIECE.findall(row["instruction"])]
    row = _row(draw.choice(prompts), draw.choice(pieces))
    for _ in range(num_rows):
        chance = draw.randrange(100)
        if chance >= 10:  # noqa: PLR2004
            row = _row(draw.choice(prompts), "".join(draw.choices(pieces, k=NUM_PIECES)))
        if chance < 5:  # noqa: PLR2004
            yield row
        elif chance < 10:  # noqa: PLR2004
            words = row["output"].split(" ")
            del words[draw.randrange(len(words))]
            yield row | {"output": " ".join(words)}
        else:
            yield row | _FLAWS.get(chance, lambda _: {})(row)


_FLAWS = {
    10: lambda row: {"output": row["output"][:20] * 20},
    11: lambda row: {"output": row["output"] + _LATIN},
    12: lambda _: {"instruction": "Translate", "output": _LATIN},
    13: lambda row: {"output": row["instruction"]},
}


def _row(instruction: str, output: str) -> Row:
    return {"instruction": instruction, "output": output}
