"""Reports speak English and Arabic: no text is missing in the catalogue, none is there for nothing."""

import re
from dataclasses import replace
from string import Formatter

import catalogue
import pytest
import yaml

from arabic_llm.analysis.scores import Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.config.run import Language
from arabic_llm.errors import DamagedError
from arabic_llm.reports import beginning, html, markdown, paper, reasons, spoken, tables

ARABIC = {
    catalogue.spaced(key): value
    for key, value in yaml.safe_load(spoken.CATALOGUE.read_text(encoding="utf-8")).items()
}
SHOWN = re.compile("[\u2066\u2067].*?\u2069")


def fields(text):
    return sorted(f"{name}:{spec}" for _, name, spec, _ in Formatter().parse(text) if name)


def row(name, verdict, metric="acc"):
    one = Score(name, metric, 300, 0.4, 0.02, 0.25, 0.26, (name,), "1")
    low, high = {"better": (0.05, 0.15), "worse": (-0.15, -0.05)}.get(verdict, (-0.05, 0.05))
    p = 0.001 if verdict in ("better", "worse") else 0.5
    return Difference(
        one, replace(one, value=0.4 + (low + high) / 2), (low + high) / 2, low, high, p, True, p
    )


def rows(better=0, worse=0, same=0):
    verdicts = [*["better"] * better, *["worse"] * worse, *["same"] * same]
    return [row(f"task_{number}", verdict) for number, verdict in enumerate(verdicts)]


def test_no_text_is_missing_in_arabic():
    assert catalogue.told() | catalogue.as_data() <= {*ARABIC}


def test_no_text_is_there_that_nobody_says():
    assert {*ARABIC} <= catalogue.told() | catalogue.as_data() | catalogue.written()


def test_texts_that_count_have_the_forms_of_arabic_and_no_others_do():
    assert {text for text, said in ARABIC.items() if isinstance(said, dict)} == catalogue.counted()
    for text in catalogue.counted():
        assert {"two", "few", "many", "other"} <= {*ARABIC[text]} <= {"one", "two", "few", "many", "other"}


def test_placeholders_are_those_of_the_english():
    for text, said in ARABIC.items():
        forms = {"": said} if isinstance(said, str) else said
        for form, one in forms.items():
            is_exact = form in ("one", "two")  # which number it is, the word says
            as_wanted = {*fields(one)} <= {*fields(text)} if is_exact else fields(one) == fields(text)
            assert as_wanted, (text, form, one)
            assert one.startswith((" ", "،", "؛")) == text.startswith((" ", ",", ";")), text


def test_a_number_has_the_form_that_cldr_gives_it():
    forms = {0: "zero", 1: "one", 2: "two", 3: "few", 10: "few", 11: "many", 99: "many", 100: "other"}
    forms |= {101: "other", 102: "other", 103: "few", 111: "many", 1000: "other", 1010: "few", 4881: "many"}
    assert {number: spoken.plural(number) for number in forms} == forms


def test_english_is_as_the_code_has_it_and_an_unknown_text_is_no_arabic():
    assert spoken.say("{n:,} of {m}", n=1000, m="x") == "1,000 of x"
    assert spoken.count(1, "{n} row", "{n} rows") == "1 row"
    with (
        spoken.speaking(Language.ar),
        pytest.raises(DamagedError, match="nothing is said for 'unheard of'"),
    ):
        spoken.say("unheard of")
    assert not spoken.is_arabic()


def test_values_among_arabic_words_keep_a_direction_of_their_own():
    with spoken.speaking(Language.ar):
        said = tables.points(0.117, -0.055, 0.18)
        assert said == "\u2066+11.7\u2069 (من \u2066-5.5\u2069 إلى \u2066+18.0\u2069)"
        assert spoken.isolated(said).startswith("\u2067")  # though it begins with a number
        assert markdown.escaped(said) == said
    assert tables.points(0.117, -0.055, 0.18) == "+11.7 (-5.5 to +18.0)"


@pytest.mark.parametrize(
    ("value", "reads_from"),
    [
        ("python -m arabic_llm.run 'data.path=أسئلتي.xlsx' lang=ar", "left"),
        ("rank=4,path=_أسئلتي.xlsx_", "left"),
        ("outputs/sft/tiny-أسئلتي-lora-50fc5cde/report.html", "left"),
        ("/data/صف/adapter", "left"),
        ("أسئلة الصف.jsonl:3", "left"),
        ("ما ناتج 3 + 4 = 7؟", "right"),
        ("lora on أسئلتي", "right"),
        ("النص و/أو الجدول", "right"),
    ],
)
def test_what_is_typed_reads_from_the_left_whatever_it_is_about(value, reads_from):
    with spoken.speaking(Language.ar):
        assert spoken.isolated(value)[0] == {"left": "\u2066", "right": "\u2067"}[reads_from]


def test_what_inspect_notes_of_rows_is_arabic_to_its_last_reason():
    note = (
        "local: 72 rows in, 68 kept, 4 dropped (3 exact copy, 1 'الجواب' is empty): train 62, dev 3, test 3"
    )
    with spoken.speaking(Language.ar):
        said = spoken.plain(reasons.reason(note))
        bad = reasons.reason("bad rows, which end a training: 1; mend them, or set data.on_bad_row=drop")
    assert said == (
        "local: دخل 72 من الصفوف وبقي 68 وحُذف 4 (3 نسخة مطابقة، 1 العمود 'الجواب' فارغ): للتدريب 62"
        " وللتطوير 3 وللاختبار 3"
    )
    assert not re.search("[a-z]{3}", bad.replace("data.on_bad_row=drop", ""))


def test_a_table_in_the_terminal_is_in_line_though_letters_carry_diacritics():
    with spoken.speaking(Language.ar):
        header, line, _ = tables.terminal(rows(better=1, same=1)).splitlines()
    assert not SHOWN.search(header + line)
    assert "المدرَّب" in header  # two letters' room less than its length
    assert header.index("الفرق") - 2 == line.index("+10.0")


@pytest.mark.parametrize(
    ("counts", "english", "arabic"),
    [
        (
            (3, 1, 2),
            "Better at 3 of 6 tasks, one got worse, the rest cannot be told apart from noise with these"
            " items.",
            "تحسّن في 3 من 6 مهام، وساء في مهمة واحدة، وما بقي لا يمكن تمييزه من الصدفة بهذه الأسئلة.",
        ),
        (
            (1, 1, 4),
            "Better at 1 of 6 tasks, one got worse, the rest",
            "تحسّن في واحدة من 6 مهام، وساء في مهمة واحدة",
        ),
        ((0, 2, 9), "Worse at 2 of 11 tasks, the rest", "ساء في اثنتين من 11 مهمة، وما بقي"),
        ((1, 0, 0), "Better at the one task.", "تحسّن في المهمة الوحيدة."),
        ((2, 0, 0), "Better at all 2 tasks.", "تحسّن في المهمتين كلتيهما."),
        ((5, 2, 0), "Better at 5 of 7 tasks, 2 got worse.", "تحسّن في 5 من 7 مهام، وساء في مهمتين."),
        ((0, 0, 1), "At the one task, before and after cannot be told apart", "في المهمة الوحيدة لا يمكن"),
        ((0, 0, 4), "At none of 4 tasks can before and after be told apart", "في أيّ من 4 مهام."),
    ],
)
def test_a_report_begins_with_what_came_of_it(counts, english, arabic):
    assert beginning.result(rows(*counts)).startswith(english)
    with spoken.speaking(Language.ar):
        said = beginning.result(rows(*counts))
    assert arabic in re.sub("[\u2066-\u2069]", "", said)


def test_a_task_counts_once_whatever_metrics_it_has():
    several = [
        row("short", "better", "exact_match"),
        row("short", "worse", "rouge_l"),
        row("known", "same"),
    ]
    told = beginning.result(several)
    assert told.startswith("Better at 1 of 2 tasks, the rest")
    assert told.endswith("with these items. By other metrics worse: short rouge_l.")


def test_what_a_further_metric_says_beyond_noise_is_not_left_out_of_the_first_sentence():
    several = [
        row("arcd", "same", "token_f1"),
        row("arcd", "worse", "chrf"),
        row("arcd", "better", "rouge_l"),
    ]
    several += [row("known", "better", "acc"), row("known", "better", "acc_norm")]
    assert beginning.result(several) == (
        "Better at 1 of 2 tasks, the rest cannot be told apart from noise with these items."
        " By other metrics better: arcd rouge_l. By other metrics worse: arcd chrf."
    )
    with spoken.speaking(Language.ar):
        said = spoken.plain(beginning.result(several))
    assert said.endswith("وبمقاييس أخرى تحسّن: arcd rouge_l. وبمقاييس أخرى ساء: arcd chrf.")


def test_a_page_in_arabic_reads_from_the_right_and_leaves_no_english_word():
    given = {"header": [], "here": [], "elsewhere": [], "notes": [], "classified": []}
    with spoken.speaking(Language.ar):
        page = html.render("results.html.jinja", **given)
    assert '<html lang="ar" dir="rtl">' in page
    body = re.sub(r"<style>.*?</style>|<[^>]*>", "", page, flags=re.DOTALL)
    assert not re.search("[A-Za-z]", body)
    assert '<html lang="en">' in html.render("results.html.jinja", **given)


def test_the_table_for_latex_escapes_what_latex_acts_on():
    text = paper.latex([row("a_b & 50% $x", "better")], "my_model")
    figures = r"300 & 40.0 & 50.0 & $+10.0$ & [$+5.0$, $+15.0$] & better \\"
    assert rf"\raggedright a\_\allowbreak{{}}b \& 50\% \$x & {figures}" in text
    odd = paper.latex([row('[a] "b" ~^\\<>|{}', "better")], "m")
    assert (
        r"{}[a] ''b'' \textasciitilde{}\textasciicircum{}\textbackslash{}\textless{}\textgreater{}"
        r"\textbar{}\{\} & 300"
    ) in odd
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    assert r"my\_model before and after training" in text
    with spoken.speaking(Language.ar):
        arabic = paper.latex([row("a", "better")], "m")
    assert not SHOWN.search(arabic)
    assert "polyglossia" in arabic


def test_every_reason_that_a_check_or_a_filter_writes_is_known_in_arabic():
    for name in ("analysis/mistake_checks.py", "data/cleaning/filters.py"):
        for written in catalogue.returned(catalogue.PACKAGE / name):
            with spoken.speaking(Language.ar):
                assert reasons.reason(written) != written, written
        assert reasons.reason("word F1 0.67") == "word F1 0.67"
    with spoken.speaking(Language.ar):
        assert reasons.reason("word F1 0.67") == "درجة F1 للكلمات \u20660.67\u2069"
        assert reasons.reason("whatever else") == "whatever else"
