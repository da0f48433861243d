"""A done study asked for in Arabic: its reports alone are made again; they fit a phone and a sheet."""

import base64
import csv
import re
import shutil

import published
import pytest
from browser import CHROMIUM, Browser
from conftest import finished, run_in

from arabic_llm import files

SMALL = (
    *("task.max_steps=2", "task.effective_batch_size=4", "data.max_rows=20", "suite.limit=10"),
    *("hw=cpu", "task.held_out.num_bytes=2000", "suite=small", "suite.prompt_variants=true"),
)
SUITE = "defaults:\n  - sample\n  - dialect_mmlu\n\nname: small\n"
NAMES = {"SVG", "CSV", "LaTeX", "booktabs", "measured.txt", "comparison.tex", "p"}
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Return the directory of a study, what lang=ar said and has left, and what the study said itself."""
    folder = tmp_path_factory.mktemp("study")
    published.write(folder / "data_raw", "MBZUAI/Dialectal-Arabic-MMLU", published.DIALECTAL)
    (folder / "conf" / "suite").mkdir(parents=True)
    (folder / "conf" / "suite" / "small.yaml").write_text(SUITE, encoding="utf-8")
    asked = ("task=study", f"hydra.searchpath=[file://{folder}/conf]", *SMALL)
    before, english = finished(folder, *asked)
    shutil.copytree(english, folder / "arabic")
    status, said = run_in(folder, *asked, "lang=ar", "hydra.run.dir=arabic")
    assert status == 0, said
    return english, said, folder / "arabic", before


def visible(page):
    """Return the words of a page that are ours: neither code nor data, nor what stands isolated."""
    page = re.sub(r"<(style|pre|svg|code)\b.*?</\1>", "", page, flags=re.DOTALL)
    page = re.sub(r'<(td|div)[^>]*dir="(ltr|auto)"[^>]*>.*?</\1>', "", page, flags=re.DOTALL)
    page = re.sub(r"<[^>]*>", " ", page)
    while (rest := re.sub("\u2066[^\u2066\u2067\u2069]*\u2069", "", page)) != page:
        page = rest
    return page


def test_nothing_is_trained_or_asked_again_and_no_number_changes(studies):
    english, said, arabic, _ = studies
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


def test_each_question_is_asked_in_six_more_prompts_and_the_report_says_how_far_they_lie_apart(studies):
    english, _, arabic, before = studies
    # 4 tasks of 10 items and 7 varieties of 2; but for the written answers each is asked six times more.
    assert f"plan: judging tiny (float32) on {40 + 14 + 6 * (30 + 14)} items: " in before
    assert "sample_short: asked in its own prompt alone: its answers are not chosen" in before
    with (english / "evaluation" / "base" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["task"]: row for row in csv.DictReader(file)}
    low, high = (rows["sample_choice"][f"{end}_by_prompt"] for end in ("lowest", "highest"))
    assert 0 <= float(low) <= float(high) <= 1
    assert rows["sample_short"]["lowest_by_prompt"] == ""
    assert rows["dialect_mmlu::egyptian"]["lowest_by_prompt"] != ""
    page = (english / "report.html").read_text(encoding="utf-8")
    assert f"[{100 * float(low):.1f}-{100 * float(high):.1f}]" in page
    assert "In brackets: the lowest and highest score of the same items" in page
    assert "القوسين المعقوفين" in (arabic / "report.html").read_text(encoding="utf-8")


def test_the_gaps_of_varieties_stand_in_the_report(studies):
    english, _, arabic, _ = studies
    page = (english / "report.html").read_text(encoding="utf-8")
    assert page.index("<h2>dialect_mmlu: gap to msa</h2>") < page.index("How this was measured")
    words = re.sub("[\u2066-\u2069]", "", (arabic / "report.html").read_text(encoding="utf-8"))
    assert "<h2>dialect_mmlu: الفجوة عن الفصحى</h2>" in words
    with (english / "varieties.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    varieties = [row["variety"] for row in rows]
    assert varieties == ["english", "egyptian", "emirati", "moroccan", "saudi", "syrian"]
    assert {row["n"] for row in rows} == {"2"}
    for row in rows:
        gaps = float(row["tuned_gap"]) - float(row["base_gap"])
        assert float(row["change"]) == pytest.approx(gaps)


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
