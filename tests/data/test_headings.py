"""Titles above the names of columns are passed over and said; a first row of names stays the first."""

import logging

import openpyxl
import pytest

from arabic_llm.data.reading import headings, readers

ROWS = [["ما عاصمة مصر؟", "القاهرة"], ["ما عاصمة ليبيا؟", "طرابلس"], ["ما عاصمة عمان؟", "مسقط"]]
OWN = ["نص سؤال الطالب", "الجواب النموذجي"]
KNOWN = ["السؤال", "الإجابة"]
TITLE = "بنك أسئلة الفصل الأول"


def workbook(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.active.merge_cells("A1:B1")
    book.save(path)
    return path


@pytest.mark.parametrize(
    "above",
    [[[TITLE]], [[TITLE], [], ["وزارة التربية"]], [[None, TITLE]]],
    ids=["a title", "two lines", "in the middle"],
)
@pytest.mark.parametrize("names", [OWN, KNOWN], ids=["own names", "known names"])
def test_a_title_above_the_names_of_a_workbook_is_passed_over_and_said(tmp_path, caplog, above, names):
    if above[0][0] is None:  # in a merged cell, only the first keeps what it says
        book = openpyxl.Workbook()
        for row in [*above, names, *ROWS]:
            book.active.append(row)
        book.save(path := tmp_path / "a.xlsx")
    else:
        path = workbook(tmp_path / "a.xlsx", [*above, names, *ROWS])
    with caplog.at_level(logging.INFO):
        found = [record.values for record in readers.read(path)]
    assert found == [dict(zip(names, row, strict=True)) for row in ROWS]
    assert f"the columns are named in row {len(above) + 1}; what stands above is not read" in caplog.text


def test_lines_about_a_table_of_several_cells_stand_above_well_known_names(tmp_path):
    above = [["المعلم", "أحمد"], ["التاريخ", "2025"]]
    path = workbook(tmp_path / "a.xlsx", [*above, KNOWN, *ROWS])
    assert [record.values["السؤال"] for record in readers.read(path)] == [row[0] for row in ROWS]


@pytest.mark.parametrize("names", [OWN, KNOWN])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_title_above_the_names_of_a_csv_as_excel_saves_it_is_passed_over(tmp_path, names, delimiter):
    lines = [delimiter.join(row) for row in [[TITLE, ""], names, *ROWS]]
    (path := tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    assert [record.values for record in readers.read(path)] == [
        dict(zip(names, row, strict=True)) for row in ROWS
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [["text"], ["a", "a note"], ["b", "another"]],
        [["جملة"], ["أ"], ["ب"]],
        [["سؤال طالب", "شرح"], ["question", "answer"], ["a", "b"]],
        [["جملة"], ["أ" * 65, "ملاحظة"], ["ب", "ملاحظة أخرى"]],
        [["عدد"], [1, 2], [3, 4]],
        [["كلمة", "ترجمة"], ["سؤال", "question"], ["نص", "text"]],
    ],
    ids=[
        "a known name",
        "one column",
        "names in a later row",
        "rows too long for names",
        "numbers",
        "a dictionary",
    ],
)
def test_the_first_row_names_the_columns_where_it_may(rows):
    filled = [dict(enumerate(row)) for row in rows]
    assert headings.place(filled) == (1 if rows[0] == ["سؤال طالب", "شرح"] else 0)


def test_a_sentence_with_a_comma_below_a_name_is_no_table(tmp_path):
    (path := tmp_path / "a.csv").write_text("جملة\nأ، ب\nجاء، ذهب\nقال؛ سكت\n", encoding="utf-8")
    assert [record.values for record in readers.read(path)] == [
        {"جملة": "أ، ب"},
        {"جملة": "جاء، ذهب"},
        {"جملة": "قال؛ سكت"},
    ]
