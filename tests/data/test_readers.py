"""Every record comes with its file and line, and so does everything broken."""

import re

import pytest

from arabic_llm.data.reading.readers import Broken, Record, read
from arabic_llm.errors import DataError


def write(tmp_path, name, text, encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_json_lines(tmp_path):
    path = write(tmp_path, "a.jsonl", '\ufeff{"x": "أ"}\n\n{"x": "ب"}\n')
    assert list(read(path)) == [Record(f"{path}:1", {"x": "أ"}), Record(f"{path}:3", {"x": "ب"})]


def test_a_broken_line_is_named_and_the_rest_is_read(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"x": 1}\n{"x": \n[1]\n{"x": 2}\n')
    good, broken, no_object, last = read(path)
    assert isinstance(good, Record)
    assert broken == Broken(f"{path}:2", "broken JSON: Expecting value at column 7")
    assert no_object == Broken(f"{path}:3", "expected an object with columns, found list")
    assert last == Record(f"{path}:4", {"x": 2})


def test_a_json_array_keeps_its_lines(tmp_path):
    path = write(tmp_path, "a.json", '[\n {"x": 1},\n\n {"x":\n  2}\n]\n')
    assert list(read(path)) == [Record(f"{path}:2", {"x": 1}), Record(f"{path}:4", {"x": 2})]


def test_a_broken_array_stops_at_its_line(tmp_path):
    path = write(tmp_path, "a.json", '[\n {"x": 1},\n {"x": oops}\n]')
    records = read(path)
    assert next(records) == Record(f"{path}:2", {"x": 1})
    with pytest.raises(DataError, match=r"a\.json:3: broken JSON"):
        next(records)


def test_an_array_that_never_ends_is_broken(tmp_path):
    with pytest.raises(DataError, match="broken JSON"):
        list(read(write(tmp_path, "a.json", '[{"x": 1}')))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"x": 1} {"x": 2}]', 1),
        ('[{"x": 1},\n,{"x": 2}]', 2),
        ('[{"x": 1}]\n{"x": 2}', 2),
        ('[{"x": 1},\n]', 2),
    ],
)
def test_an_array_is_read_strictly(tmp_path, text, line):
    with pytest.raises(DataError, match=rf"a\.json:{line}: broken JSON"):
        list(read(write(tmp_path, "a.json", text)))


def test_half_a_character_is_broken(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"x": "\\ud83d"}\n{"x": "\\ud83d\\ude00"}\n')
    assert list(read(path)) == [
        Broken(f"{path}:1", "half a character: a surrogate without its other half"),
        Record(f"{path}:2", {"x": "\U0001f600"}),
    ]


def test_a_cell_may_be_long(tmp_path):
    path = write(tmp_path, "a.csv", f"q,a\nx,{'y' * 200_000}\n")
    assert len(next(iter(read(path))).values["a"]) == 200_000


def test_files_that_were_joined_keep_no_mark_between_their_lines(tmp_path):
    path = write(tmp_path, "a.jsonl", '\ufeff{"x": "أ"}\n\ufeff{"x": "ب"}\n')
    assert [record.values["x"] for record in read(path)] == ["أ", "ب"]


@pytest.mark.parametrize("text", ['{{"authors": {0}, "data": {1}}}', '{{"data": {1}, "authors": {0}}}'])
def test_a_list_of_others_beside_the_rows_is_none_of_rows(tmp_path, text):
    rows = '[{"q": "أ", "a": "ب"}]'
    path = write(tmp_path, "a.json", text.format('[{"name": "س"}]', rows))
    assert [record.values for record in read(path, unwrap=True)] == [{"q": "أ", "a": "ب"}]
    path = write(tmp_path, "a.json", text.format('[{"q": "س", "name": "ع"}]', rows))
    with pytest.raises(DataError, match="a second list of rows, 'authors'"):
        list(read(path, unwrap=True))


def test_json_lines_in_a_json_file(tmp_path):
    path = write(tmp_path, "dev.json", '{"x": 1}\n{"x": 2}\n')
    assert [record.values["x"] for record in read(path)] == [1, 2]


def test_cells_of_many_lines_keep_the_line_they_begin_on(tmp_path):
    path = write(tmp_path, "a.csv", 'q,a\nx,"one\ntwo"\ny,z\n')
    assert list(read(path)) == [
        Record(f"{path}:2", {"q": "x", "a": "one\ntwo"}),
        Record(f"{path}:4", {"q": "y", "a": "z"}),
    ]


def test_a_row_with_missing_cells_is_broken(tmp_path):
    path = write(tmp_path, "a.tsv", "q\ta\nx\n1\t2\n")
    assert list(read(path)) == [
        Broken(f"{path}:2", "1 cells, but the header has 2"),
        Record(f"{path}:3", {"q": "1", "a": "2"}),
    ]


def test_an_open_quote_is_named(tmp_path):
    with pytest.raises(DataError, match="broken table"):
        list(read(write(tmp_path, "a.csv", 'q,a\n"x,y\n')))


def test_parquet(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"x": ["أ", "ب"]}), path)
    assert list(read(path)) == [Record(f"{path}:1", {"x": "أ"}), Record(f"{path}:2", {"x": "ب"})]


def test_what_is_called_parquet_and_is_none_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a Parquet file"):
        list(read(write(tmp_path, "a.parquet", "no")))


def test_a_line_that_is_not_utf8_is_broken_with_the_cure_and_the_rest_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"x": "b"}\n{"x": "سلام"}\n'.encode("windows-1256") + '{"x": "سلام"}'.encode())
    good, broken, last = read(path)
    assert (good.values, last.values) == ({"x": "b"}, {"x": "سلام"})
    assert broken.place == f"{path}:2"
    assert re.fullmatch(
        r"not UTF-8: byte 0x.. at column 8; .* iconv -f WINDOWS-1256 -t UTF-8", broken.reason
    )


def test_a_missing_file_and_an_unknown_kind(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match=r"cannot read '\.docx' files \(save .*\); there are: \.jsonl"):
        list(read(write(tmp_path, "a.docx", "")))


@pytest.mark.parametrize(
    "text",
    [
        '{"train": [{"x": 1}], "data": [{"x": 2}]}',
        '{"data": [{"x": 1}], "version": 1, "test": [{"x": 2}]}',
        '{"version": 1, "train": [{"x": 1}], "validation": [{"x": 2}]}',
    ],
)
def test_two_lists_of_rows_in_one_object_are_not_read_as_one(tmp_path, text):
    path = write(tmp_path, "a.json", text)
    with pytest.raises(DataError, match=r"a\.json:1: (a second|two) lists? of rows, .*data\.test_files"):
        list(read(path, unwrap=True))


@pytest.mark.parametrize(
    "text",
    [
        '{"columns": ["x", "y"], "index": [0], "data": [[1, 2, 3]]}',
        '{"columns": ["x", "x"], "index": [0], "data": [[1, 2]]}',
        '{"columns": null, "index": [1], "data": [[1, 2]]}',
        '{"columns": ["x"], "index": [1], "data": 5}',
    ],
)
def test_what_is_not_as_pandas_splits_a_table_loses_no_cell(tmp_path, text):
    (found,) = read(write(tmp_path, "a.json", text), unwrap=True)
    assert isinstance(found, Record)
    assert set(found.values) == {"columns", "index", "data"}  # a row of its own, of no known format
    (row,) = read(
        write(tmp_path, "b.json", '{"columns": ["x", "y"], "index": [0], "data": [[1, 2]]}'), unwrap=True
    )
    assert row.values == {"x": 1, "y": 2}
