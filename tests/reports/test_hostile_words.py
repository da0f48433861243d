"""A name of others is a name: no formula in a spreadsheet, no markup, no mathematics in a figure."""

import csv
import io
import re

import numpy as np
import pytest

from arabic_llm import files, grid
from arabic_llm.analysis.classification import Gain, Measure
from arabic_llm.analysis.robustness import Condition, Drop
from arabic_llm.analysis.scores import Evaluation, Item, Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports import classification, figures, mistakes, results, robustness, tables
from arabic_llm.reports.classification import Classified

NAME = '=HYPERLINK("http://x";"y")|<script>alert(1)</script>\n# $a_b$ $\\nope{ [l](u) ![i](u) `c` \x1b[31m'
MANIFEST = {"started": "now", "command": "c", "versions": {}, "machine": "m", "identity": {}, "starts": []}


def score(value=0.5):
    return Score(NAME, "acc", 100, value, 0.05, 0.25, 0.3, (NAME,), "1.0", majority=0.4)


ROW = Difference(score(), score(0.6), 0.1, -0.1, 0.3, 0.6, True, 0.6)
DROP = Drop(Condition("tatweel", 1.0, 17), ROW, 100, 0.2, 0.1, 0.5, 1.25)
ITEM = Item(NAME, "0-a", NAME, NAME, NAME + "x", {"acc": 0.0}, prompt_hash="x")
MODEL = dict.fromkeys(("name", "revision", "dtype", "quantization", "trained"), NAME)
WAY = {"num_fewshot": 0, "metrics": ["acc"], "seen_in_training": False}
WAY |= {key: {NAME: "1"} for key in ("versions", "items", "prompts")}
CLASSIFIED = Classified(
    NAME,
    (NAME, "ب"),
    {split: {NAME: 3, "ب": 2} for split in ("train", "dev", "test")},
    [Measure("tuned", "accuracy", 0.5, 0.4, 0.6), Measure(NAME, "accuracy", 0.5, 0.4, 0.6)],
    [Gain("accuracy", NAME, 0.1, 0.0, 0.2, 0.5, 0.5)],
    np.array([[2, 1], [1, 1]]),
    [{"id": NAME, "text": NAME, "label": NAME, "answer": "ب"}],
    [NAME],
    MANIFEST,
)


def sorted_mistakes():
    from arabic_llm.analysis import mistakes as analysis

    return analysis.sort([ITEM])


def robustness_report():
    clean = Evaluation(MODEL, {"tasks": {NAME: {}}}, [], [ITEM])
    return robustness.Report(clean, [DROP], (), [NAME], MANIFEST, "CPU")


TABLES = {
    "scores": lambda: tables.scores_csv([score()]),
    "comparison": lambda: tables.comma_separated([ROW]),
    "classes": lambda: classification.comma_separated(CLASSIFIED),
    "robustness": lambda: robustness.comma_separated([DROP]),
    "mistakes": lambda: mistakes.comma_separated(sorted_mistakes()),
    "results": lambda: results.as_csv(
        results.rows(
            [
                results.ReportedEvaluation(
                    Evaluation(
                        MODEL,
                        {
                            "tasks": {NAME: WAY},
                            "limit": None,
                            "lm_eval": "0",
                            "overall": None,
                        },
                        [score()],
                        [],
                    ),
                    NAME,
                )
            ]
        )
    ),
}
PAGES = {
    "scores.md": lambda: tables.scores_markdown([score()]),
    "comparison.md": lambda: tables.markdown([ROW]),
    "classes.md": lambda: classification.markdown(CLASSIFIED),
    "robustness.md": lambda: robustness.markdown(robustness_report()),
    "mistakes.md": lambda: mistakes.markdown(sorted_mistakes(), 17),
}


@pytest.mark.parametrize("table", TABLES)
def test_no_cell_of_a_table_is_a_formula_and_numbers_stay_numbers(table):
    header, *rows = csv.reader(io.StringIO(TABLES[table]()))
    cells = [cell for row in rows for cell in row]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert not [cell for cell in (*header, *cells) if cell[:1] in "=+@\t\r" and cell]
    assert all(float(cell) < 0 for cell in cells if cell.startswith("-"))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *(
            (sign, f"'{sign}")
            for sign in ("=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1")
        ),
        *((sign, f"'{sign}") for sign in ("\n=1", "\uff1d1", "-", "-inf", "--1", "+966 50 1")),
        *((same, same) for same in ("-5", "+1.5", "-1e-06", "-3.%", "1=1", "a@b", "", "ما؟", " =1")),
        *((number, number) for number in (-5, -0.1, None, True)),
    ],
)
def test_what_a_spreadsheet_would_compute_begins_with_an_apostrophe(text, cell):
    assert files.spreadsheet_cell(text) == cell


@pytest.mark.parametrize("page", PAGES)
def test_no_name_is_markup_in_a_page(page):
    text = PAGES[page]()
    for plain in re.findall(r"(?<!\\)[|<`$\[*]", text):
        assert plain == "|" or page == "mistakes.md"  # the bars of the table
    assert not re.search(r"(?<!\\)<script|^# \\$a", text, re.MULTILINE)
    rows = [line for line in text.splitlines() if "HYPERLINK" in line and line.startswith("|")]
    assert rows
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in rows}
    assert len(widths) <= 3  # one a table
    assert "\x1b" not in text


def test_no_name_is_markup_in_html_or_mathematics_in_a_figure():
    html = robustness.page_of(robustness_report())
    assert "<script>alert" not in re.sub("<!--.*?-->", "", html, flags=re.DOTALL)
    assert "&lt;script&gt;alert" in html
    assert figures.differences([ROW])  # "$\\nope{" is no formula: matplotlib would refuse it
    assert classification.confusion_png(CLASSIFIED)


def test_the_terminal_is_told_nothing_by_a_name():
    assert "\x1b" not in tables.scores_terminal([score()]) + classification.terminal(CLASSIFIED)
    assert len(tables.terminal([ROW]).splitlines()) == 2


def test_the_table_of_a_sweep_holds_no_formula():
    names = ("=1+1", "@x", "+x", "-x")
    rows = [(name, {"model.path": name}, -0.5, name) for name in names]
    text = grid._table(rows, [])
    assert "-0.5" in text
    assert all(cell[:1] not in "=+@" for row in csv.reader(io.StringIO(text)) for cell in row if cell)
    assert text.count("'-x") == 3
