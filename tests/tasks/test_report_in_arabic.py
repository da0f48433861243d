"""A done study asked for in Arabic: its reports alone are made again; they fit a phone and a sheet."""

import base64
import re
import shutil

import pytest
from browser import CHROMIUM, Browser
from conftest import FEW_ROWS, finished, run_in

from arabic_llm import files

SMALL = (
    *("task.max_steps=2", "task.effective_batch_size=4", *FEW_ROWS, "suite.limit=10"),
    *("hw=cpu", "task.held_out.num_bytes=2000"),
)
NAMES = {"SVG", "CSV", "LaTeX", "booktabs", "measured.txt", "comparison.tex", "p"}
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Return the directory of a study, what its command said with lang=ar, and what that has left."""
    folder = tmp_path_factory.mktemp("study")
    _, english = finished(folder, "task=study", *SMALL)
    shutil.copytree(english, folder / "arabic")
    status, said = run_in(folder, "task=study", *SMALL, "lang=ar", "hydra.run.dir=arabic")
    assert status == 0, said
    return english, said, folder / "arabic"


def visible(page):
    """Return the words of a page that are ours: neither code nor data, nor what stands isolated."""
    page = re.sub(r"<(style|pre|svg|code)\b.*?</\1>", "", page, flags=re.DOTALL)
    page = re.sub(r'<(td|div)[^>]*dir="(ltr|auto)"[^>]*>.*?</\1>', "", page, flags=re.DOTALL)
    page = re.sub(r"<[^>]*>", " ", page)
    while (rest := re.sub("\u2066[^\u2066\u2067\u2069]*\u2069", "", page)) != page:
        page = rest
    return page


def test_nothing_is_trained_or_asked_again_and_no_number_changes(studies):
    english, said, arabic = studies
    assert "the report is in lang=en: it is written again, in lang=ar" in said
    assert "already trained: " in said
    assert said.count("evaluated before, read from") == 2
    for name in ("comparison.csv", "forgetting.csv", "mistakes.csv", "evaluation/tuned/scores.csv"):
        assert (arabic / name).read_bytes() == (english / name).read_bytes(), name
    fingerprints = {files.read_state(one / "manifest.json")["fingerprint"] for one in (english, arabic)}
    assert len(fingerprints) == 1


def test_no_word_of_ours_is_left_in_english_and_the_page_reads_from_the_right(studies):
    page = (studies[2] / "report.html").read_text(encoding="utf-8")
    assert '<html lang="ar" dir="rtl">' in page
    assert {*re.findall(r"[A-Za-z][\w.]*\w|[A-Za-z]", visible(page))} <= NAMES
    assert (studies[2] / "comparison.md").read_text(encoding="utf-8").startswith('<div dir="rtl">')
    assert "\\toprule" in (studies[2] / "comparison.tex").read_text(encoding="utf-8")
    assert "كيف قيس" not in (studies[0] / "report.html").read_text(encoding="utf-8")


def test_the_numbers_of_a_figure_are_those_of_the_table(studies):
    page = (studies[0] / "report.html").read_text(encoding="utf-8")
    found = re.search(r'download="scores.csv" href="data:text/csv;base64,([^"]+)"', page)
    assert found
    numbers = base64.b64decode(found[1]).decode("utf-8-sig")
    table = (studies[0] / "comparison.csv").read_text(encoding="utf-8").splitlines()
    assert {*numbers.splitlines()} <= {*table}
    assert numbers.startswith("task,metric,n,base")


@needs_chromium
@pytest.mark.parametrize("side", [0, 2], ids=["en", "ar"])
def test_it_fits_a_phone_and_its_print_one_sheet(studies, side, tmp_path):
    browser = Browser(tmp_path)
    try:
        browser.narrow(400)
        browser.open((studies[side] / "report.html").as_uri())
        browser.until("document.readyState == 'complete' && location.protocol == 'file:'")
        assert browser.value("document.documentElement.scrollWidth") <= 400
        widest = "Math.max(...[...document.querySelectorAll('section')].map(one => one.scrollWidth))"
        assert browser.value(widest) <= 400  # tables and charts scroll by themselves
        assert len(re.findall(rb"/Type ?/Page\b", browser.printed())) == 1
    finally:
        browser.close()
