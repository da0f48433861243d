"""Files as Excel, pandas and other tools leave them: read as they show themselves, or refused by line."""

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from arabic_llm.config.data import BadRow, ColumnsConfig, DataConfig
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import row_count
from arabic_llm.data.reading.column_names import SECOND_HEADER
from arabic_llm.data.reading.readers import Broken, read
from arabic_llm.errors import DataError

CASES = Path(__file__).parents[2].parent / "shared" / "cases"
Q, A = "ما عاصمة قطر؟", "الدوحة"


def load(path, **settings):
    settings = {"dev_share": 0, "test_share": 0} | settings
    return sources.load(DataConfig("local", path=str(path), **settings), path.parent, seed=17)


def answers(tmp_path, name, content, **settings):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [row.messages[-1].content for row in load(path, **settings).train]


@pytest.mark.parametrize(
    "content",
    [
        f"instruction;output\n{Q};{A}\n",
        f"\ufeffinstruction;output\r\n{Q};{A}\r\n",
        f"instruction\toutput\n{Q}\t{A}\n",
        f"\ufeffsep=;\ninstruction;output\n{Q};{A}\n",
        f"sep=,\ninstruction,output\n{Q},{A}\n",
        f'"sep=\t"\ninstruction\toutput\n{Q}\t{A}\n',
        f"sep=\t\r\ninstruction\toutput\r\n{Q}\t{A}\r\n",
        f"instruction|output\n{Q}|{A}\n",
        f"السؤال,الجواب\n{Q},{A}\n",
        f"سؤال;الإجابة\n{Q};{A}\n",
        f"السؤال؛الجواب\n{Q}؛{A}\n",
        f"السؤال،الجواب\n{Q}،{A}\n",
        f'\ufeff"instruction","output"\n"{Q}","{A}"\n',
        f",instruction,output\n0,{Q},{A}\n",
        f"SEP=;\ninstruction;output\n{Q};{A}\n",
        f"问题，答案\n{Q}，{A}\n",
        f"instruction；output\n{Q}；{A}\n",
        f"پرسش,پاسخ\n{Q},{A}\n",
        f'instruction, output\n"{Q}", "{A}"\n',
        f'instruction;output\n"{Q}"; "{A}"\n',
        f"instruction,output\n{Q},{A}\n,\n , \n",
    ],
)
def test_tables_are_read_whatever_parts_and_names_their_columns(tmp_path, content):
    assert answers(tmp_path, "a.csv", content) == [A]


def test_a_comma_in_the_header_of_a_table_of_semicolons_belongs_to_its_name(tmp_path):
    content = f"prompt;response, full\n{Q};الدوحة, طبعا\n{Q} نعم؟;مسقط, طبعا\n"
    columns = ColumnsConfig(prompt="prompt", response="response, full")
    assert answers(tmp_path, "a.csv", content, columns=columns) == ["الدوحة, طبعا", "مسقط, طبعا"]


def test_a_semicolon_in_a_table_of_commas_belongs_to_its_cell(tmp_path):
    assert answers(tmp_path, "a.csv", f"instruction,output\n{Q},أ; ب\n") == ["أ; ب"]


def test_arabic_punctuation_in_a_table_of_commas_belongs_to_its_cell(tmp_path):
    assert answers(tmp_path, "a.csv", f"instruction,output\n{Q}،,أ؛ ب، ج\n") == ["أ؛ ب، ج"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_tsv_without_tabs_is_parted_as_its_header_is(tmp_path, delimiter):
    content = f"instruction{delimiter}output\n{Q}{delimiter}{A}\n"
    assert answers(tmp_path, "a.tsv", content) == [A]


def test_a_quoted_word_behind_a_comma_inside_a_cell_keeps_the_indentation_of_others(tmp_path):
    content = f'instruction,output\n"قال ""نعم"", ""لا""",   x\n{Q},{A}\n'
    assert answers(tmp_path, "a.csv", content) == ["   x", A]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_header_that_comes_again_in_joined_tables_is_no_row(tmp_path, mark):
    content = f"{mark}instruction,output\n{Q},{A}\n{mark}instruction,output\nما عاصمة عمان؟,مسقط\n"
    assert answers(tmp_path, "a.csv", content) == [A, "مسقط"]


@pytest.mark.parametrize("again", ["Instruction,Output", " INSTRUCTION , output"])
def test_a_header_that_comes_again_in_other_letters_is_no_row(tmp_path, again):
    content = f"instruction,output\n{Q},{A}\n{again}\nما عاصمة عمان؟,مسقط\n"
    assert answers(tmp_path, "a.csv", content) == [A, "مسقط"]


def test_a_second_header_in_another_order_is_a_bad_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"instruction,output\n{Q},{A}\noutput,instruction\n", encoding="utf-8")
    assert [*read(path)][1] == Broken(f"{path}:3", SECOND_HEADER)


@pytest.mark.parametrize("again", ["id,Question,Answer", "id,السؤال,الجواب", "id,prompt,output"])
def test_a_second_header_with_other_names_for_the_same_is_a_bad_row(tmp_path, again):
    path = tmp_path / "a.csv"
    path.write_text(f"id,instruction,output\n1,{Q},{A}\n{again}\n2,{Q},answer\n", encoding="utf-8")
    assert [item.place for item in read(path) if isinstance(item, Broken)] == [f"{path}:3"]


@pytest.mark.parametrize("cell", ["NaN", "nan", "<NA>", "NaT", "#REF!", "#DIV/0!", "\u200f", "\u200b\xad "])
def test_the_nothing_of_pandas_and_excel_is_no_answer(tmp_path, cell):
    content = f"instruction,output\n{Q},{A}\nما عاصمة عمان؟,{cell}\n"
    with pytest.raises(DataError, match=r"a\.csv:3: 'output' is empty; mend it, or set data"):
        answers(tmp_path, "a.csv", content)
    assert answers(tmp_path, "a.csv", content, on_bad_row=BadRow.drop) == [A]


ROW = {"instruction": Q, "output": A}


@pytest.mark.parametrize(
    "value",
    [
        {"data": [ROW]},
        {"version": "1.0", "data": [ROW]},
        {"rows": [ROW], "license": "mit"},
        {"instruction": {"0": Q}, "output": {"0": A}},
        {"0": ROW},
        {"columns": ["instruction", "output"], "index": [0], "data": [[Q, A]]},
        {"instruction": [Q], "output": [A]},
        ROW,
    ],
    ids=[
        "data",
        "data later",
        "rows",
        "pandas columns",
        "pandas index",
        "pandas split",
        "lists",
        "one row",
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_object_that_holds_a_table_is_its_rows(tmp_path, value, indent):
    content = json.dumps(value, ensure_ascii=False, indent=indent)
    assert answers(tmp_path, "a.json", content) == [A]
    data = DataConfig("local", path=str(tmp_path / "a.json"))
    assert row_count.of(data, tmp_path, tmp_path / "none", {}, "tiny").rows == 1


def test_rows_in_a_wrapper_have_their_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"data": [\n{"x": 1},\n3\n],\n"version": oops}', encoding="utf-8")
    found = read(path, unwrap=True)
    assert next(found).place == f"{path}:2"
    assert next(found) == Broken(f"{path}:3", "expected an object with columns, found int")
    with pytest.raises(DataError, match=r"a\.json:5: broken JSON: Expecting value; mend it"):
        next(found)


def test_turns_of_a_conversation_are_no_rows(tmp_path):
    turns = [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]
    assert answers(tmp_path, "a.json", json.dumps({"messages": turns})) == [A]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_objects_of_many_lines_are_read_one_after_the_other(tmp_path, name):
    rows = [ROW, {"instruction": "ما عاصمة عمان؟", "output": "مسقط"}]
    content = "\n".join(json.dumps(row, ensure_ascii=False, indent=2) for row in rows)
    assert answers(tmp_path, name, content) == [A, "مسقط"]
    assert [record.place for record in read(tmp_path / name)] == [f"{tmp_path / name}:{n}" for n in (1, 5)]


@pytest.mark.parametrize(
    "written", ["0.000001", "3.50", "100000000000000000000.0", "9007199254740993", "-0.10", "1E5"]
)
def test_numbers_of_json_are_said_as_they_are_written(tmp_path, written):
    assert answers(tmp_path, "a.jsonl", f'{{"instruction": "{Q}", "output": {written}}}\n') == [written]


def test_numbers_stay_as_written_on_their_way_to_another_process():
    import pickle

    from arabic_llm.data.reading.json_values import parse

    assert str(pickle.loads(pickle.dumps(parse("3.50")))) == "3.50"  # noqa: S301 (ours)


def test_zstd_is_unpacked_and_what_is_none_is_named(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    with pyarrow.output_stream(str(path), compression="zstd") as file:
        file.write((json.dumps(ROW, ensure_ascii=False) + "\n").encode())
    assert load(path).train[0].messages[-1].content == A
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"a\.jsonl\.zst:\d: damaged zstd file \(.*\); copy it again"):
        load(path)
    path.write_bytes(b"{}")
    with pytest.raises(DataError, match=r"a\.jsonl\.zst:1: not a zstd file; take \.zst off its name"):
        load(path)
    (tmp_path / "b.jsonl").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(DataError, match=r"b\.jsonl:1: zstd bytes, not text; unpack it with unzstd"):
        load(tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.csv", "a.parquet", "a.xlsx", "a.json"], ids=lambda name: name.partition(".")[2]
)
def test_a_pointer_of_git_lfs_is_named_as_one(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match=rf"{name}: a pointer of Git LFS, .* git lfs pull"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "why"),
    [("a.bin", "numbers of a model or a tokenizer, not text"), ("a.arrow", "write them as Parquet")],
)
def test_files_of_other_kinds_are_refused_with_their_reason(tmp_path, name, why):
    (tmp_path / name).write_bytes(b"\0\1")
    with pytest.raises(DataError, match=rf"{name}: cannot read '\.\w+' files \({why}"):
        load(tmp_path / name)


def sheet(tmp_path, *cells):
    """Return a workbook with a question and one of the (value, format) in each row."""
    book = openpyxl.Workbook()
    book.active.append(["instruction", "output"])
    for number, (value, number_format) in enumerate(cells, 2):
        book.active.append([f"سؤال {number}", value])
        book.active.cell(number, 2).number_format = number_format
    path = tmp_path / "a.xlsx"
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("value", "number_format", "said"),
    [
        (0.5, "0%", "50%"),
        (0.125, "0.0%", "12.5%"),
        (7, "000", "007"),
        (3.5, "0.00", "3.50"),
        (1234567, "#,##0", "1,234,567"),
        (-2.345, "0.00", "-2.35"),
        (0.1 + 0.2, "General", "0.3"),
        (7.0, "General", "7"),
        (12, "@", "12"),
        (1500, '#,##0 "ريال"', "1,500 ريال"),
        (1234.5, '"$"#,##0.00', "$1,234.50"),
        (-3, '"$"#,##0.00', "-$3.00"),
        (1500, "[$ر.س-401] #,##0", "ر.س 1,500"),
        (-5, "0;(0)", "(5)"),
        (5, "0;[Red](0)", "5"),
        (-0.001, "0.0", "0.0"),
        (0.001, "0.00E+00", "1.00E-03"),
        (7, '"رقم; "00', "رقم; 07"),
        (0.75, "# ?/?", "0.75"),  # fractions are not written so
        (0.000001, "General", "0.000001"),
        (1234567, "000-0000", "123-4567"),
        (51234567, "0##-####", "5123-4567"),
        (1500, '0.0,"K"', "1.5K"),
        (2_345_678, '#,##0.00,,"M"', "2.35M"),
        (0, '0;-0;"لا شيء"', "لا شيء"),
        (0, '_-* #,##0_-;-* #,##0_-;_-* "-"??_-;_-@_-', "-"),
        (True, "General", "TRUE"),
        (False, "General", "FALSE"),
        (date(2020, 5, 1), "yyyy-mm-dd", "2020-05-01"),
        (datetime(2020, 5, 1, 13, 30), "d/m/yyyy h:mm", "2020-05-01 13:30:00"),
        ("السطر الأول_x000D_\nالسطر الثاني", "General", "السطر الأول\nالسطر الثاني"),
        ("_x005F_x000D_", "General", "_x000D_"),
    ],
)
def test_cells_are_read_as_excel_shows_them(tmp_path, value, number_format, said):
    assert load(sheet(tmp_path, (value, number_format))).train[0].messages[-1].content == said


def test_rows_that_excel_hides_are_not_read_and_said(tmp_path, caplog):
    path = sheet(tmp_path, ("ظاهر", "General"), ("مخفي", "General"), ("ظاهر أيضا", "General"))
    book = openpyxl.load_workbook(path)
    book.active.row_dimensions[3].hidden = True
    book.save(path)
    with caplog.at_level("INFO"):
        found = load(path)
    assert [row.messages[-1].content for row in found.train] == ["ظاهر", "ظاهر أيضا"]
    assert [row.id for row in found.train] == [f"{path}:2", f"{path}:4"]
    assert f"{path}: 1 hidden rows are not read" in caplog.text


def test_a_number_that_its_format_hides_is_no_answer(tmp_path):
    with pytest.raises(DataError, match=r"a\.xlsx:2: 'output' is empty"):
        load(sheet(tmp_path, (5, ";;;")))


@pytest.mark.parametrize("row", [ROW | {"output": None}, ROW | {"instruction": None}])
def test_a_column_that_is_empty_in_every_row_is_what_is_wrong_with_the_first(tmp_path, row):
    empty = next(name for name, value in row.items() if value is None)
    with pytest.raises(DataError, match=rf"a\.jsonl:1: '{empty}' is empty; mend it, or set data"):
        answers(tmp_path, "a.jsonl", json.dumps(row) + "\n")


def test_a_row_without_height_is_hidden(tmp_path):
    path = sheet(tmp_path, ("ظاهر", "General"), ("مخفي", "General"))
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["xl/worksheets/sheet1.xml"] = members["xl/worksheets/sheet1.xml"].replace(
        b'<row r="3"', b'<row r="3" ht="0" customHeight="1"'
    )
    with ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert [row.messages[-1].content for row in load(path).train] == ["ظاهر"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["instruction", "output"], ["س", "أ"], ["instruction", "output"], ["ص", "ب"]], ["أ", "ب"]),
        ([["instruction", "output"], ["س", "أ"], [" ", None], ["ص", "ب"]], ["أ", "ب"]),
        ([["عنوان"], ["السؤال", "الجواب"], ["س", "أ"]], ["أ"]),
    ],
    ids=["a second header", "an empty row", "a title"],
)
def test_what_is_no_row_of_a_sheet_is_not_read_as_one(tmp_path, rows, said):
    path, book = tmp_path / "a.xlsx", openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    assert [row.messages[-1].content for row in load(path).train] == said


def test_a_second_header_of_a_sheet_with_other_names_is_a_bad_row(tmp_path):
    path, book = tmp_path / "a.xlsx", openpyxl.Workbook()
    for row in (["instruction", "output"], ["س", "أ"], ["السؤال", "الجواب"]):
        book.active.append(row)
    book.save(path)
    assert [*read(path)][1] == Broken(f"{path}:3", SECOND_HEADER)


@pytest.mark.parametrize("state", ["hidden", "veryHidden", "visible"])
def test_the_first_sheet_that_is_shown_and_holds_something_is_read(tmp_path, state):
    path, book = tmp_path / "a.xlsx", openpyxl.Workbook()
    if state != "visible":
        book.active.append(["instruction", "output"])
        book.active.append(["س", "مخفي"])
    shown = book.create_sheet("shown")
    shown.append(["instruction", "output"])
    shown.append(["س", "ظاهر"])
    book.active = 1
    book.worksheets[0].sheet_state = state
    book.save(path)
    assert [row.messages[-1].content for row in load(path).train] == ["ظاهر"]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pyarrow.array([0.1], pyarrow.float32()), "0.1"),
        (pyarrow.array(np.array([0.1], np.float16)), "0.1"),
        (pyarrow.array([1e-06]), "0.000001"),
        (pyarrow.array([Decimal("12.50")]), "12.50"),
        (pyarrow.array(["نعم".encode()], pyarrow.binary()), "نعم"),
        (pyarrow.array([datetime(2020, 5, 1)], pyarrow.timestamp("ns")), "2020-05-01"),
        (pyarrow.array([date(2020, 5, 1)]), "2020-05-01"),
    ],
)
def test_values_of_parquet_are_said_in_their_own_digits(tmp_path, column, said):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"instruction": [Q], "output": column}), path)
    assert load(path).train[0].messages[-1].content == said


def test_bytes_that_are_no_text_are_a_bad_row(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"instruction": [Q], "output": pyarrow.array([b"\xff"])}), path)
    with pytest.raises(DataError, match=r"a\.parquet:1: 'output' is no text \(bytes\)"):
        load(path)


def test_hidden_files_and_what_only_describes_a_data_set_are_not_read(tmp_path):
    kept = json.dumps(ROW, ensure_ascii=False)
    folder = tmp_path / "my"
    hidden = (".hidden.jsonl", "._train.jsonl", ".ipynb_checkpoints/train.jsonl", "__MACOSX/train.jsonl")
    for name in ("train.jsonl", "sub/more.jsonl", *hidden, "dataset_info.json", "dataset_infos.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(kept.replace(A, name), encoding="utf-8")
    found = load(folder)
    assert [row.messages[-1].content for row in found.train] == ["sub/more.jsonl", "train.jsonl"]


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize("path", sorted(CASES.glob("*.*")), ids=lambda path: path.name)
def test_every_shared_case_is_read_or_refused_with_its_line(path):
    if path.suffix in (".md", ".jinja"):
        return
    try:
        assert load(path).ledger.kept
    except DataError as error:
        assert str(error).startswith(f"{path}:")
        assert "\n" not in str(error)
