"""The leaderboard in a real browser: it sorts, filters, groups, opens a run, and asks for nothing else."""

import re
import shutil
import subprocess

import pytest
from browser import Browser

from arabic_llm.reports import leaderboard
from arabic_llm.reports.results import ResultRow

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium")
HOSTILE = "</script><img src=x onerror=alert(1)>"


def row(task, model, accuracy, letter="A", **more):
    is_ours = letter != "published"
    return ResultRow(
        *(task, model, more.get("trained_on", ""), more.get("note", ())),
        n=100 if is_ours else None,
        accuracy=accuracy,
        letter=letter,
        way={} if is_ours else None,
        evaluation=more.get("evaluation", ""),
    )


ROWS = [
    row("acva", "small", 0.9, letter="B", note=("not comparable with A: limit 9",)),
    row("acva", "نموذج", 0.5, evaluation="e1", trained_on="lora on x"),
    row("acva", "large", 0.7, evaluation="e2"),
    row("acva", "other", 0.99, letter="published"),
    row("elsewhere", "other", 0.6, letter="published"),
    row("mmlu", "large", None, note=(HOSTILE,)),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return where a leaderboard of six rows lies."""
    path = tmp_path_factory.mktemp("board") / "leaderboard.html"
    reports = {"e1": "../runs/a b%,rank=1/report.html"}
    suites = {"e1": "arabic", "e2": "arabic"}
    path.write_text(leaderboard.page(ROWS, reports, suites), encoding="utf-8")
    return path


def seen(page, state=""):
    """Return what a browser shows: the groups, each row's model in them, and all it said itself."""
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"),
            *(f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", f"file://{page}#{state}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    body = done.stdout.partition('<div id="tables">')[2].partition("<script")[0]
    tables = {}
    for part in body.split("<section>")[1:]:
        if title := re.search(r"<h2><bdi>(.*?)</bdi>", part):
            found = re.findall(r"<tr[^>]*><td[^>]*><bdi>.*?</td><td[^>]*><bdi>(.*?)</bdi>", part)
            tables[title[1]] = [re.sub(r"<.*?>", "", model) for model in found]
    return tables, done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@needs_browser
def test_rows_judged_otherwise_stay_apart_however_they_are_sorted(page):
    tables, shown, console = seen(page)
    assert tables == {"acva": ["large", "نموذج", "small", "other"], "mmlu": ["large"]}
    assert "5 of 6 rows" in shown
    assert console == []
    ascending, shown, _ = seen(page, "order=ascending")
    assert ascending["acva"] == ["نموذج", "large", "small", "other"]
    assert 'aria-sort="ascending"' in shown


@needs_browser
def test_it_filters_and_groups_and_its_state_is_in_its_address(page):
    tables, shown, _ = seen(page, "group=1&published=all&words=ACVA")
    assert tables == {"large": ["large"], "other": ["other"], "small": ["small"], "نموذج": ["نموذج"]}
    assert seen(page, "model=large&sort=data+set")[0] == {"acva": ["large"], "mmlu": ["large"]}
    assert seen(page, "words=nowhere")[0] == {}
    assert "4 of 6 rows" in shown
    assert seen(page, "words=rank%3D1")[0] == {"acva": ["نموذج"]}


@needs_browser
def test_a_suite_keeps_its_data_sets_and_ways_together_and_published_figures_beside_them(page):
    assert seen(page, "group=suite&published=all")[0] == {
        "?": ["other", "large"],  # nothing says of which suite they are
        "arabic": ["large", "نموذج", "small", "other"],
    }


@needs_browser
def test_a_reader_sorts_filters_and_opens_a_run_and_nothing_is_asked_of_others(page, tmp_path):
    report = page.parents[1] / "runs" / "a b%,rank=1" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<title>the run</title><h1>the run</h1>")
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(f"file://{page}")
        browser.until("document.querySelectorAll('tbody tr, table tr').length > 6")
        browser.picture(tmp_path / "board.png")
        browser.value(
            "[...document.querySelectorAll('th button')].find(b => b.textContent == 'model').click()"
        )
        assert browser.value("document.querySelector('th[aria-sort]').textContent") == "model"
        browser.value("form.elements.words.focus()")
        browser.type("نموذج")
        assert browser.until("document.getElementById('shown').textContent == '1 of 6 rows'")
        row = "document.querySelector('#tables td bdi')"
        shown = browser.value("[...document.querySelectorAll('#tables td bdi')].map(b => b.textContent)")
        assert shown[:3] == ["acva", "نموذج", "lora on x"]
        assert browser.value(f"getComputedStyle({row}).unicodeBidi") == "isolate"
        assert browser.value("getComputedStyle(form.elements.words).direction") == "rtl"  # as what is typed
        browser.value("document.querySelector('#tables a').click()")
        assert browser.until("document.title == 'the run' && document.querySelector('h1').textContent")
        assert browser.complaints == []
        assert all(url.startswith("file://") for url in browser.requests)
        assert len(browser.requests) == 2  # the page, and the run's
    finally:
        browser.close()


@needs_browser
def test_a_row_opens_its_run_and_what_is_hostile_stays_text(page):
    _, shown, console = seen(page)
    assert '<a href="../runs/a%20b%25%2Crank%3D1/report.html">a b%,rank=1</a>' in shown
    assert "<img" not in shown
    assert "&lt;img src=x" in shown
    assert console == []


@needs_browser
def test_a_click_sorts_and_what_is_typed_filters(page):
    clicks = """<script>
    const named = name => [...document.querySelectorAll("th button")].find(one => one.textContent === name);
    named("model").click();
    named("model").click();
    form.elements.task.value = "acva";
    form.elements.task.dispatchEvent(new Event("input", { bubbles: true }));
    document.title = location.hash;
    </script>"""
    clicked = page.with_name("clicked.html")
    clicked.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{clicks}</main>"))
    tables, shown, console = seen(clicked)
    assert tables == {"acva": ["large", "نموذج", "small", "other"]}
    assert "<title>#task=acva&amp;sort=model&amp;order=ascending</title>" in shown
    assert console == []


def test_the_page_is_one_file(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\b(src|href)=\"|https?://|@import|fetch\(", text)
    assert HOSTILE not in text
