"""Whatever the bytes of a file: it loads and its count closes, or one line names the file and the cure."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import compose_config
from mutations import exchange_values, mutated_file

from arabic_llm.config.data import BadRow, ColumnsConfig, DataConfig, Shape
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import converters, readers
from arabic_llm.errors import DataError

ROWS = [
    {"instruction": "ما عاصمة مصر؟", "input": "", "output": "القاهرة"},
    {"instruction": "اجمع", "input": "٣ و ٤, ثم 5", "output": 7},
    {"instruction": "اقتبس", "input": 'قال "نعم"\nثم مضى', "output": "مَضَى\u200c"},
    {"instruction": "say \U0001f600", "input": "", "output": "plain ASCII"},
    {"instruction": "كم؟", "input": "1.5", "output": 2.5},
]
COLUMNS = [*ROWS[0]]
TEXT_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".jsonl.gz", ".csv.gz")
# A workbook takes ten times as long as a text. `make faults` loads as many of each.
AT_FULL_SIZE = {**dict.fromkeys(TEXT_SUFFIXES, 1150), ".parquet": 1750, ".xlsx": 200}
NUM_FILES = {suffix: number // 8 for suffix, number in AT_FULL_SIZE.items()}
NUM_SHAPED = 100  # of each shape
MESSAGES = [
    ("q", None, "prompter", "ما عاصمة مصر؟", None),
    ("good", "q", "assistant", "القاهرة", 0),
    ("bad", "q", "assistant", "دمشق", 1),
    ("more", "good", "prompter", "وعاصمة سوريا؟", None),
    ("last", "more", "assistant", "هي دمشق", 0),
    ("other", "more", "assistant", "حلب", 2),
]
ASKED = [{"question": "ما هذا؟", "answers": [{"text": "نهر", "answer_start": 0}]}]
PARAGRAPHS = [{"context": "النيل", "qas": ASKED}, {"context": "الفرات", "qas": ASKED}]


def table(delimiter: str) -> bytes:
    def cell(value) -> str:
        return (
            '"' + str(value).replace('"', '""') + '"' if re.search('[",\t\n]', str(value)) else str(value)
        )

    rows = [COLUMNS, *([row[c] for c in COLUMNS] for row in ROWS)]
    return "".join(delimiter.join(map(cell, row)) + "\n" for row in rows).encode()


def parquet_bytes(folder: Path) -> bytes:
    import pyarrow
    from pyarrow import parquet

    rows = [{name: str(value) for name, value in row.items()} for row in ROWS]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "seed.parquet")
    return (folder / "seed.parquet").read_bytes()


def workbook_bytes(folder: Path) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    for cells in (COLUMNS, *([row[c] for c in COLUMNS] for row in ROWS)):
        book.active.append(cells)
    book.save(folder / "seed.xlsx")
    return (folder / "seed.xlsx").read_bytes()


BINARY = {".parquet": parquet_bytes, ".xlsx": workbook_bytes}


def text_seed(suffix: str) -> bytes:
    objects = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    return {
        ".jsonl": ("\n".join(objects) + "\n").encode(),
        ".json": ("[\n" + ",\n".join(objects) + "\n]\n").encode(),
        ".csv": table(","),
        ".tsv": table("\t"),
        ".txt": "".join(f"{row['instruction']}\n\n" for row in ROWS).encode(),
    }[suffix.removesuffix(".gz")]


def shaped_seed(shape: Shape) -> bytes:
    columns = ("message_id", "parent_id", "role", "text", "rank")
    messages = [
        {**dict(zip(columns, row, strict=True)), "lang": "ar", "deleted": False} for row in MESSAGES
    ]
    squad = [{"version": "1.1", "data": [{"title": "نهر", "paragraphs": PARAGRAPHS}]}]
    rows = {
        Shape.numbered_turns: [
            {"question1": "س", "answer1": "ج", "question2": "و؟", "answer2": n} for n in "أب"
        ],
        Shape.paragraphs: squad,
        Shape.paragraph_questions: squad,
    }.get(shape, messages)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def config(suffix: str) -> DataConfig:
    data = compose_config("data=local", "data.path=x", "data.dev_share=0.2", "data.dedup=false").data
    return replace(data, columns=ColumnsConfig(text="text")) if suffix == ".txt" else data


def outcome(data: DataConfig, path: Path) -> str:
    """Load the file as sources.load does, and hold its promise; return how it ended."""
    try:
        rows = sources.load(data, path.parent, seed=17)
    except DataError as error:
        said = str(error)
        assert len(said.splitlines()) == 1, said
        assert said.isprintable(), ascii(said)
        assert str(path) in said
        return "refused"
    ledger = rows.ledger
    found = readers.read(path)
    if data.shape:
        found = converters.reshape(data.shape, found, data.language)
    assert ledger.rows_in == ledger.kept + ledger.dropped.total() == len(list(found))
    assert len(rows.train) + len(rows.dev) == ledger.kept
    assert data.on_bad_row is BadRow.drop or not ledger.dropped.keys() - {
        "nothing left after normalisation"
    }
    return "dropped" if ledger.dropped else "loaded"


def fuzz(folder: Path, suffix: str, num_files: int) -> dict[str, int]:
    """Load so many mutated files; return how many ended how. An assertion says which file it was."""
    rng = random.Random(f"fuzz/{suffix}")
    seed = BINARY[suffix](folder) if suffix in BINARY else text_seed(suffix)
    path = folder / f"mutated{suffix}"
    data = replace(config(suffix), path=str(path))
    path.write_bytes(gzip.compress(seed) if suffix.endswith(".gz") else seed)
    assert outcome(data, path) == "loaded", "the seed itself is whole"
    ends = dict.fromkeys(("loaded", "dropped", "refused"), 0)
    for number in range(num_files):
        content = mutated_file(rng, seed, suffix, inside=number % 4 < 2)
        path.write_bytes(content)
        bad_row = BadRow.drop if number % 2 else BadRow.stop
        ends[outcome(replace(data, on_bad_row=bad_row), path)] += 1
    return ends


@pytest.mark.parametrize("shape", Shape)
def test_any_tree_or_article_is_loaded_or_refused_in_one_line(tmp_path, shape):
    rng = random.Random(f"fuzz/{shape.value}")
    path = tmp_path / "mutated.json"
    # Of one or two rows, a share for dev would be none or all.
    data = replace(config(".json"), path=str(path), shape=shape, language="ar", dev_share=0.0)
    ends = dict.fromkeys(("loaded", "dropped", "refused"), 0)
    for number in range(NUM_SHAPED):
        content = exchange_values(rng, shaped_seed(shape)) if number else shaped_seed(shape)
        path.write_bytes(mutated_file(rng, content, ".json", inside=True) if number % 4 == 1 else content)
        bad_row = BadRow.drop if number % 2 else BadRow.stop
        ends[outcome(replace(data, on_bad_row=bad_row), path)] += 1
        assert number or ends["loaded"], "the seed itself is whole"
    assert min(ends.values()) > 0, "the mutations reach every end"


@pytest.mark.parametrize("suffix", NUM_FILES)
def test_any_bytes_are_loaded_or_refused_in_one_line(tmp_path, suffix):
    ends = fuzz(tmp_path, suffix, NUM_FILES[suffix])
    assert sum(ends.values()) == NUM_FILES[suffix]
    assert min(ends["loaded"], ends["refused"]) > 0, "the mutations reach both ends"


def test_the_campaigns_files_are_ten_thousand():
    assert sum(AT_FULL_SIZE.values()) == 10_000


MEASURED = """
import resource, sys
from pathlib import Path
from arabic_llm.data.reading import readers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = [getattr(r, "reason", "") for r in readers.read(Path(sys.argv[1]))]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, found)
"""


def measured(path: Path) -> tuple[int, str]:
    """Read a file in another process: (KiB by which its peak memory grew, what was found)."""
    command = [sys.executable, "-c", MEASURED, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, _, found = done.stdout.partition(" ")
    return int(grown), found.strip()


def test_a_line_of_100_mb_takes_the_memory_of_the_longest_line_and_the_next_is_read(tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"x": "')
        for _ in range(100):
            file.write(b"y" * 1_000_000)
        file.write(b'"}\n{"x": 1}\n')
    grown, found = measured(path)
    assert found == "['line too long: more than 64 MiB', '']"
    assert grown < 256 * 1024  # KiB: 64 MiB as bytes, and what malloc keeps while it grows to that


def test_lines_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "many.jsonl"
    row = json.dumps({"x": "y" * 1_000_000}) + "\n"
    path.write_text(row * 100)
    grown, found = measured(path)
    assert found == str([""] * 100)
    assert grown < 32 * 1024  # KiB, of a file of 100 MB


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_quote_left_open_does_not_take_in_the_file(tmp_path, suffix):
    path = tmp_path / f"open{suffix}"
    with path.open("wb") as file:
        file.write(b'x\n"')
        for _ in range(100):
            file.write(b"y" * 999_999 + b"\n")
    with pytest.raises(DataError, match="2: broken table: the row that begins here is longer than 32 Mi"):
        list(readers.read(path))


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [150, 2_000, 200_000])
def test_what_is_nested_too_deep_is_broken_and_the_next_line_is_read(tmp_path, opening, depth):
    path = tmp_path / "deep.jsonl"
    closing = {"[": "]", '{"a":': "}"}[opening]
    path.write_text('{"x": ' + opening * depth + "1" + closing * depth + '}\n{"x": 1}\n')
    deep, good = readers.read(path)
    assert "nested too deep" in deep.reason
    assert good.values == {"x": 1}
