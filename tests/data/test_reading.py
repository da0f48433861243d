"""What a file holds is read whatever its kind; what no row can be is broken, and the rest is read."""

import gzip
import json
import re
from zipfile import ZipFile

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm.data.preparing import sources
from arabic_llm.data.reading.lines import LONGEST_LINE_BYTES
from arabic_llm.data.reading.readers import READERS, Broken, Record, read
from arabic_llm.errors import DataError


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def workbook(tmp_path, *rows, name="a.xlsx"):
    import openpyxl

    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"x": 1, "x": 2}', "a key stands twice: 'x'"),
        ('{"x": [{"y": 1, "y": 1}]}', "a key stands twice: 'y'"),
        ('{"x": NaN}', "no finite number: NaN"),
        ('{"x": -Infinity}', "no finite number: -Infinity"),
        ('{"x": 1e999}', "no finite number: 1e999"),
        ('{"x": ' + "9" * 5000 + "}", "broken JSON: a number of too many digits at column 1"),
        ('{"x": 1} {"x": 2}', "broken JSON: more than one value on a line at column 9"),
        ('{"x": "\0"}', "NUL byte"),
        ('{"x": "\\u0000"}', "NUL character: no text holds one"),
        ('{"\\ud83d": 1}', "half a character: a surrogate without its other half"),
        ('{"x": "a\tb"}', "broken JSON: Invalid control character at column 9"),
    ],
)
def test_a_line_of_bad_json_is_broken_and_the_next_is_read(tmp_path, line, reason):
    path = written(tmp_path, "a.jsonl", f'{line}\n{{"x": 1}}\n')
    broken, good = read(path)
    assert broken.place == f"{path}:1"
    assert broken.reason.startswith(reason)
    assert good == Record(f"{path}:2", {"x": 1})


def test_surrogates_as_bytes_are_not_utf8(tmp_path):
    (broken,) = read(written(tmp_path, "a.jsonl", b'{"x": "\xed\xa0\xbd"}'))
    assert broken.reason.startswith("not UTF-8: byte 0xed at column 8")


def test_an_element_of_an_array_with_a_flaw_is_broken_and_the_next_is_read(tmp_path):
    path = written(tmp_path, "a.json", '[{"x": NaN},\n{"x": 1, "x": 1},\n{"x": 1}]')
    assert [type(r) for r in read(path)] == [Broken, Broken, Record]


def test_u2028_and_u0085_end_no_line(tmp_path):
    text = "a\u2028b\u0085c"
    path = written(tmp_path, "a.jsonl", json.dumps({"x": text}, ensure_ascii=False) + "\r\n")
    assert list(read(path)) == [Record(f"{path}:1", {"x": text})]
    assert [r.values["text"] for r in read(written(tmp_path, "a.txt", text))] == [text]


def test_a_cell_that_is_not_utf8_breaks_its_row_alone_whatever_its_lines(tmp_path):
    path = written(tmp_path, "a.csv", b'q,a\nx,"one\n\xd3\xe1\xc7\xe3, two"\ny,\0\nz,w\n')
    wrong, nul, good = read(path)
    assert wrong.place == f"{path}:3"
    assert wrong.reason.startswith("not UTF-8: byte 0xd3 at column 1")
    assert (nul.place, nul.reason.partition(":")[0]) == (f"{path}:4", "NUL byte")
    assert good == Record(f"{path}:5", {"q": "z", "a": "w"})


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("q\ta\n1,2\tx\n", {"q": "1,2", "a": "x"}),
        ("\n\ufeffq\ta\n1,2\tx\n", {"q": "1,2", "a": "x"}),
        ("q,a\n1\t2,x\n", {"q": "1\t2", "a": "x"}),
        ('"q\tr",a\n1,2\n', {"q\tr": "1", "a": "2"}),
        ("q\n1\t2\n", {"q": "1\t2"}),
    ],
)
def test_a_csv_has_tabs_between_its_cells_where_its_header_has_tabs_and_no_comma(tmp_path, content, values):
    path = written(tmp_path, "a.csv", content)
    assert [record.values for record in read(path)] == [values]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "{}".encode("utf-16"), r"a\.jsonl:1: UTF-16, not UTF-8; .*iconv -f UTF-16 -t UTF-8"),
        ("a.csv", "a,b".encode("utf-32"), r"a\.csv:1: UTF-32, not UTF-8; .*iconv -f UTF-32 -t UTF-8"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), r"a\.jsonl:1: gzip bytes.*let its name end in \.gz"),
        ("a.jsonl.gz", b"{}", r"a\.jsonl\.gz:1: not a gzip file; take \.gz off its name"),
        (
            "a.jsonl.gz",
            gzip.compress(b"{}\n" * 9, mtime=0)[:-9],
            r"a\.jsonl\.gz:\d+: damaged gzip file .*copy it again",
        ),
        ("a.csv", b"PK\x03\x04", r"a\.csv:1: a zip archive.*\.xlsx"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0", r"a\.xlsx: not an Excel"),
        ("a.csv", "q,q\n1,2\n", r"a\.csv:1: two columns are called 'q'"),
        ("a.csv", b"q,\xd3\n1,2\n", r"a\.csv:1: not UTF-8"),
        ("a.csv", "q,a\r1,2\r", r"a\.csv:1: broken table: a carriage return inside a line"),
        ("a.csv", 'q,a\n1,2\n3,"4\n5,6\n', r"a\.csv:3: broken table: .*in the row that begins here"),
        ("a.json", '[{"x": ' + "[" * 3000, r"a\.json:1: broken JSON: nested too deep"),
        ("a.parquet.gz", b"", r"cannot read '\.parquet\.gz' files"),
    ],
)
def test_a_file_that_cannot_be_read_says_so_in_one_line_with_the_cure(tmp_path, name, content, said):
    with pytest.raises(DataError, match=said) as error:
        list(read(written(tmp_path, name, content)))
    assert str(error.value).isprintable()


@pytest.mark.parametrize("suffix", [s for s in READERS if s.endswith(".gz")])
def test_packed_files_are_read_as_unpacked_ones(tmp_path, suffix):
    text = {".json": '[{"x": "1"}]', ".jsonl": '{"x": "1"}\n'}.get(suffix.removesuffix(".gz"), "text\n1\n")
    plain = list(read(written(tmp_path, f"a{suffix.removesuffix('.gz')}", text)))
    packed = list(read(written(tmp_path, f"a{suffix}", gzip.compress(text.encode()))))
    assert plain
    assert [r.values for r in packed] == [r.values for r in plain]


def test_an_array_on_one_line_may_be_longer_than_a_row(tmp_path):
    path = written(tmp_path, "a.json", json.dumps([{"x": "y" * 1_000_000}] * 70))
    assert path.stat().st_size > LONGEST_LINE_BYTES
    assert len(list(read(path))) == 70


def test_lines_of_a_text_are_rows_and_blank_ones_are_none(tmp_path):
    path = written(tmp_path, "a.txt", "\ufeffأ\r\n\r\n  \nب")
    assert list(read(path)) == [Record(f"{path}:1", {"text": "أ"}), Record(f"{path}:4", {"text": "ب"})]


def test_a_workbook_is_read_by_its_header(tmp_path):
    path = workbook(
        tmp_path, ["q", None, "a"], [], ["كم؟", "aside", 7.0], ["x", None, None, "y"], ["س", None, "#N/A"]
    )
    first, empty, failed = read(path)
    assert first == Record(f"{path}:3", {"q": "كم؟", "a": 7})
    assert empty == Record(f"{path}:4", {"q": "x", "a": None})
    assert failed == Broken(f"{path}:5", "a formula that failed: #N/A in 'a'")


def test_a_formula_without_its_value_is_no_empty_cell(tmp_path):
    path = workbook(
        tmp_path,
        ["q", "a", "context"],
        ["كم؟", "x", "=1+1"],
        ["كم؟", "x", None],
        ["=A2", "=B2", "=C2"],
        ["=A2", "x", "y"],
    )
    never, plain, all_of_them, first = read(path)
    cure = "open the workbook in Excel or LibreOffice and save it"
    assert never == Broken(f"{path}:2", f"a formula without its value in 'context': {cure}")
    assert plain == Record(f"{path}:3", {"q": "كم؟", "a": "x", "context": None})
    assert [all_of_them.place, first.place] == [f"{path}:4", f"{path}:5"]
    assert "in 'q'" in all_of_them.reason
    assert "in 'q'" in first.reason


def test_a_formula_whose_value_is_an_empty_text_has_one(tmp_path):
    path = workbook(tmp_path, ["q", "a", "context"], ["كم؟", "x", '=IF(1=1,"","b")'], ["y", "z", "w"])
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = members["xl/worksheets/sheet1.xml"]
    members["xl/worksheets/sheet1.xml"] = re.sub(rb'(<c r="C2")[^>]*>', rb'\1 t="str">', sheet)
    with ZipFile(path, "w") as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    assert [record.values["context"] for record in read(path)] == [None, "w"]


def test_names_of_columns_with_line_ends_stay_on_one_line(tmp_path):
    path = written(tmp_path, "a.csv", '"q\nr",a\n1,2\n')
    data = compose_config("data=local", f"data.path={path}").data
    with pytest.raises(DataError, match=r"there are: q\\nr, a\."):
        sources.load(data, tmp_path, seed=17)


def test_a_quote_behind_another_sign_than_the_delimiter_takes_no_space_away(tmp_path):
    path = written(tmp_path, "a.csv", 'q;a\nقال, "نعم"؛;  x = 1\n')
    assert [record.values for record in read(path)] == [{"q": 'قال, "نعم"؛', "a": "  x = 1"}]


@needs_data
def test_the_real_workbook_is_read():
    path = DATA / "dares" / "DARES2.0_Paper_Dataset.xlsx"
    records = list(read(path))
    assert len(records) == 13_870
    assert all(isinstance(record, Record) for record in records)
    assert records[0].place == f"{path}:2"
    assert records[0].values["Fine-grained"] == "G1"
    assert records[0].values["Len"] == 6


@needs_data
def test_real_texts_are_read_line_by_line():
    path = DATA / "tashkeela" / "val.txt"
    texts = [record.values["text"] for record in read(path)]
    assert texts == [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    assert len(texts) > 1000
