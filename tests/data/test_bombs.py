"""What is small on the disk and large in memory is refused in one line, before it takes the memory."""

import gzip
import json
import time
import zipfile

import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from arabic_llm.config.data import ColumnsConfig
from arabic_llm.data.reading import json_stream, json_values, lines, readers, row_builder, workbooks
from arabic_llm.data.reading import parquet as parquet_files
from arabic_llm.data.rows import Row
from arabic_llm.errors import DataError
from arabic_llm.limits import limited

MIB = 2**20
SIZE = 24 * MIB  # of a file; the bounds are those of the program
UNITS = {"lists": b"[],", "pairs": b'{"a":1},', "numbers": b"1.5,"}


def read(path, most=256 * MIB):
    """Return the rows and what was wrong; fails where reading asks for more memory than it may have."""
    rows, wrong = 0, []
    with limited(60, most):
        try:
            for record in readers.read(path, unwrap=True):
                if isinstance(record, readers.Broken):
                    wrong.append(record.reason)
                else:
                    rows += 1
        except DataError as error:
            wrong.append(str(error))
    return rows, wrong


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("name", "before", "behind"),
    [
        ("a.jsonl", b'{"text": "a", "x": [', b"[]]}\n"),
        ("a.json", b'[{"text": "a", "x": [', b"[]]}]"),
        ("b.json", b'{"data": [{"text": "a", "x": [', b"[]]}]}"),
        ("c.json", b'{"text": [', b'"a"], "label": [1]}'),
    ],
)
def test_a_row_of_many_values_is_refused_before_they_are_made(unit, name, before, behind, tmp_path):
    path = tmp_path / name
    path.write_bytes(before + UNITS[unit] * (SIZE // len(UNITS[unit])) + behind)
    rows, (said,) = read(path, 4 * SIZE + 400 * MIB)
    assert rows == 0
    assert "values" in said


def test_commas_in_a_text_are_no_values(tmp_path):
    text = "," * (3 * MIB // 2)
    for name, written in (
        ("a.jsonl", json.dumps({"text": text})),
        ("a.json", json.dumps([{"text": text}] * 3)),
    ):
        (tmp_path / name).write_text(written)
        rows, wrong = read(tmp_path / name)
        assert (rows, wrong) == (3 if name == "a.json" else 1, [])


@pytest.mark.parametrize(
    ("name", "before", "behind"),
    [
        ("a.jsonl", '{"text": "', '"}\n'),
        ("b.jsonl", '{\n"text": "', '"}\n'),
        ("a.json", '[{"text": "', '"}]'),
        ("b.json", '{"data": [{"text": "', '"}]}'),
        ("c.json", '{"text": ["', '"], "label": [1]}'),
        ("a.txt", "", "\n"),
    ],
)
def test_a_rare_character_in_a_long_text_makes_few_wide_copies_of_it(name, before, behind, tmp_path):
    path = tmp_path / name
    size = 8 * MIB
    path.write_text(before + "ab " * (size // 3) + "\U0001f600" + behind, encoding="utf-8")
    assert read(path, 12 * size) == (1, [])  # a character takes four bytes where one of them needs them


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ({"text": "ab "}, ColumnsConfig(text="text")),
        ({"prompt": "?", "response": "ab "}, ColumnsConfig(prompt="prompt", response="response")),
    ],
)
def test_a_text_longer_than_a_book_is_no_row_before_it_is_cleaned(values, columns, monkeypatch):
    monkeypatch.setattr(row_builder, "LONGEST_CHARACTERS", 2**20)
    *_, column = values
    row = row_builder.as_row(readers.Record("a:1", {**values, column: "ab " * (2**20 // 3)}), columns)
    assert isinstance(row, Row)
    row = row_builder.as_row(readers.Record("a:1", {**values, column: "ab " * (2**20 // 3 + 1)}), columns)
    assert row == readers.Broken(
        "a:1", "too long for one row: more than 1 Mi characters; cut it into its chapters"
    )


def test_an_array_of_many_small_rows_is_read_piece_by_piece(tmp_path):
    path = tmp_path / "a.json"
    rows = [{"text": f"{number} \u0639 \U0001f600", "x": [1, 2.5, None]} for number in range(60_000)]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    values = {
        record.place: record.values
        for record in readers.read(path)
        if record.values["text"][:2] in ("7 ", "9 ")
    }
    assert [value["text"][0] for value in values.values()] == ["7", "9"]
    assert [*values] == [f"{path}:{2 + 8 * number}" for number in (7, 9)]
    assert len(list(readers.read(path))) == len(rows)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_values_are_the_same_wherever_a_piece_ends(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_PIECE", piece)
    monkeypatch.setattr(lines, "_PIECE_BYTES", piece)
    rows = [
        {"text": '\u0639\U0001f600 "[{,', "n": 12345.678901, "e": -1e-7},
        {"text": "\\\\", "x": [[], {}]},
    ] * 9
    path = tmp_path / "a.json"
    path.write_text("\ufeff" + json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    found = list(readers.read(path))
    assert [record.values for record in found] == rows
    assert found[1].place == f"{path}:7"


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_a_file_of_line_ends_is_not_counted_to_its_end(name, tmp_path):
    (tmp_path / name).write_bytes(
        b"text,label\n" * name.endswith("csv") + b"\n" * (2**20 + 9) + b"\n" * SIZE
    )
    before = time.process_time()
    rows, (said,) = read(tmp_path / name)
    assert (rows, "more than 1,048,576 empty lines" in said) == (0, True)
    assert time.process_time() - before < 60


@pytest.mark.parametrize("row", [b",", b"a,"])
@pytest.mark.parametrize("header", [b"text,label\n", b""])
def test_a_row_of_many_cells_is_refused(row, header, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(header + row * (2**21 + 9) + b"\n")
    rows, (said,) = read(path)
    assert (rows, "delimiters" in said) == (0, True)


def test_a_header_of_many_names_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(f"a{number}" for number in range(20_000)) + "\n1\n")
    assert read(tmp_path / "a.csv")[1] == [
        f"{tmp_path / 'a.csv'}:1: 20,000 columns; no table has more than 16,384"
    ]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_unpacks_to_so_much_and_no_more(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_MOST_UNPACKED", MIB)
    path, content = tmp_path / f"a.jsonl{suffix}", b'{"text": "aaaaaaaaaaaaaaaaaaaa"}\n' * 200_000
    if suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    else:
        with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
            file.write(content)
    with pytest.raises(DataError, match=r"unpacks to more than 1 MiB") as said:
        for _ in readers.read(path):
            pass
    assert "\n" not in str(said.value)
    monkeypatch.setattr(lines, "_MOST_UNPACKED", 16 * MIB)
    assert sum(1 for _ in readers.read(path)) == 200_000


def bomb(path, member, *parts):
    """Write a workbook one of whose members is made of (content, times)."""
    book = openpyxl.Workbook()
    for cells in (["text", "label"], ["a", "b"]):
        book.active.append(cells)
    book.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            if name != member:
                archive.writestr(name, content)
        with archive.open(member, "w") as file:
            for content, times in parts:
                for _ in range(times):
                    file.write(content)


@pytest.mark.parametrize(
    ("member", "unit"),
    [
        ("xl/sharedStrings.xml", b"<si><t>a</t></si>"),
        ("xl/worksheets/sheet1.xml", b"<c/>"),
        ("xl/styles.xml", b"<font/>"),
    ],
)
def test_a_workbook_of_many_elements_is_refused_before_they_are_made(member, unit, tmp_path, monkeypatch):
    monkeypatch.setattr(workbooks, "_MOST_ELEMENTS", 100_000)
    path = tmp_path / "a.xlsx"
    bomb(path, member, (b"<row>" * ("sheet1" in member), 1), (unit * 10_000, 30))
    rows, (said,) = read(path)
    assert (rows, "elements" in said) == (0, True)


def test_a_workbook_of_more_bytes_than_texts_have_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_MOST_UNPACKED", 8 * MIB)
    path = tmp_path / "a.xlsx"
    bomb(path, "xl/media/image1.png", (b"\0" * MIB, 9))
    assert "bytes unpacked are more than" in read(path)[1][0]


def test_a_dictionary_of_long_texts_is_read_in_few_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_MOST_UNPACKED", 8 * MIB)
    column = pyarrow.array([letter * 2**16 for letter in "ab"] * 600)
    path = tmp_path / "a.parquet"
    parquet.write_table(
        pyarrow.table({"text": column}), path, compression="zstd", dictionary_pagesize_limit=2**26
    )
    rows, (said,) = read(path)
    assert (rows > 0, "unpacks to more than" in said) == (True, True)


@pytest.mark.parametrize("shape", ["text", "dictionary", "list", "struct"])
def test_a_text_that_a_column_repeats_is_counted_in_each_row_and_held_in_few(shape, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_MOST_UNPACKED", 4 * MIB)  # eight times: 32 MiB
    monkeypatch.setattr(parquet_files, "_BYTES_AT_A_TIME", 8 * MIB)
    long = pyarrow.DictionaryArray.from_arrays([0] * 64, ["a" * 2 * MIB])
    column = {
        "text": lambda: long.cast("string"),
        "dictionary": lambda: long,
        "list": lambda: pyarrow.ListArray.from_arrays(range(65), long),
        "struct": lambda: pyarrow.StructArray.from_arrays([long], ["content"]),
    }[shape]()
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": column})
    parquet.write_table(table, path, compression="zstd", dictionary_pagesize_limit=2**30)
    rows, (said,) = read(path, 96 * MIB)
    assert (0 < rows <= 16, "unpacks to more than 32 MiB" in said) == (True, True)


LISTS = {
    "list": lambda texts, ends: pyarrow.ListArray.from_arrays(ends, texts),
    "large list": lambda texts, ends: pyarrow.LargeListArray.from_arrays(ends, texts),
    "large texts": lambda texts, ends: pyarrow.ListArray.from_arrays(
        ends, pyarrow.DictionaryArray.from_arrays(texts.indices, texts.dictionary.cast("large_string"))
    ),
    "turns": lambda texts, ends: pyarrow.ListArray.from_arrays(
        ends, pyarrow.StructArray.from_arrays([texts, texts], ["role", "content"])
    ),
    "lists of lists": lambda texts, ends: pyarrow.ListArray.from_arrays(
        [0, 1, 2], pyarrow.ListArray.from_arrays(ends, texts)
    ),
    "keys": lambda texts, ends: pyarrow.MapArray.from_arrays(
        ends, pyarrow.array(list(map(str, range(len(texts))))), texts
    ),
}


@pytest.mark.parametrize("shape", LISTS)
def test_a_row_that_repeats_a_long_text_is_refused_before_it_is_written_out(shape, tmp_path):
    texts = pyarrow.DictionaryArray.from_arrays([0] * 500 + [1], ["a" * MIB, "b"])
    path = tmp_path / "a.parquet"
    column = LISTS[shape](texts, [0, 500, 501])
    parquet.write_table(
        pyarrow.table({"text": column}), path, compression="zstd", dictionary_pagesize_limit=2**30
    )
    rows, wrong = read(path, 300 * MIB)
    assert (rows, len(wrong)) == (1, 1)
    assert wrong[0].startswith(("row too long: 500 MiB", "row too long: 1,000 MiB"))


@pytest.mark.parametrize("shape", LISTS)
def test_rows_of_repeated_texts_are_read_as_they_are(shape, tmp_path):
    texts = pyarrow.DictionaryArray.from_arrays([0, 1, 0, 0, 1], ["long " * 9, "b"])
    table = pyarrow.table({"text": LISTS[shape](texts, [0, 2, 5])})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert [record.values for record in readers.read(tmp_path / "a.parquet")] == table.to_pylist()


def test_dictionaries_are_read_as_the_texts_they_stand_for(tmp_path):
    words = pyarrow.DictionaryArray.from_arrays([0, 1, None, 0], ["a", "b"])
    table = pyarrow.table(
        {
            "text": words,
            "list": pyarrow.ListArray.from_arrays([0, 2, 3, 4, 4], words),
            "struct": pyarrow.StructArray.from_arrays([words], ["x"]),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    assert [record.values for record in readers.read(tmp_path / "a.parquet")] == table.to_pylist()


def test_the_counting_of_values_ends_with_the_value():
    assert not json_values.holds_too_many("[1, 2] " + "[]," * 100, 0, 5)
    assert json_values.holds_too_many("[1, 2, [3, {}]]", 0, 5)
    assert not json_values.holds_too_many('["[,[,[", "\\\\", "a\\",[[[[[["]', 0, 5)
    assert not json_values.holds_too_many('"' + '\\"' * 10_000, 0, 5)
