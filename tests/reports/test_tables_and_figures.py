"""A comparison reads the same in the terminal, in Markdown and in CSV; Arabic labels are shaped."""

import csv
import io
import re
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from arabic_llm.analysis.scores import Evaluation, Item, Score, certainty
from arabic_llm.analysis.statistics import Difference
from arabic_llm.data.ledger import Ledger
from arabic_llm.data.preparing.summary import Counts, SourceShare, SourceSummary, count
from arabic_llm.reports import card_figures, figure_numbers, figures, memory_section, tables

MIB = 2**20


def score(name, value, metric="acc"):
    return Score(name, metric, 537, value, 0.021, 0.25, 0.262, (name,), "1.0", majority=0.24)


ROWS = [
    Difference(score("aexams", 0.2533), score("aexams", 0.2607), 0.0074, -0.02, 0.0354, 0.63, True, 0.63),
    Difference(
        *(score("short", 0.01, "exact_match"), score("short", 0.4, "exact_match")),
        0.39,
        0.35,
        0.43,
        1e-20,
        True,
        2e-20,
    ),
]


def test_the_terminal_table_is_in_line():
    assert tables.terminal(ROWS) == (
        "task                 n  base  tuned  difference (95% interval)  verdict\n"
        "aexams             537  25.3   26.1  +0.7 (-2.0 to +3.5)        within noise\n"
        "short exact_match  537   1.0   40.0  +39.0 (+35.0 to +43.0)     better"
    )


def test_scores_stand_beside_what_they_must_be_held_against():
    one = Score(
        *("acva", "acc", 8711, 0.6, 0.00525, 0.5, 0.6, ("acva",), "1"),
        balanced=0.5,
        macro_f1=0.375,
        num_repeated=2836,
        num_shots=95,
        seen_in_training=True,
        majority=0.4,
        low=0.59,
        high=0.61,
        smallest_difference=0.021,
    )
    header, _, line, _, note, _, least = tables.scores_markdown([one]).splitlines()
    assert header == (
        "| task | n | score | 95% interval | smallest difference | random | constant | majority | balanced"
        " | macro F1 | repeated | shots in test |"
    )
    assert line == (
        "| acva (seen in training) | 8,711 | 60.0 | 59.0 to 61.0 | +2.1 | 50.0 | 60.0 | 40.0 | 50.0 | 37.5"
        " | 2,836 | 95 |"
    )
    assert "majority that of the rows that few-shot examples come from" in note
    assert "called better 4 times of 5" in least
    (row,) = csv.DictReader(io.StringIO(tables.scores_csv([one])))
    assert (row["seen_in_training"], row["num_repeated"]) == ("True", "2836")


def test_a_benchmark_seen_in_training_says_so_in_every_table():
    seen = replace(score("aexams", 0.25), seen_in_training=True)
    row = Difference(seen, seen, 0.0, 0.0, 0.0, 1.0, True, 1.0)
    for table in (tables.terminal([row]), tables.markdown([row]), tables.scores_terminal([seen])):
        assert "aexams (seen in training)" in table
    assert tables.comma_separated([row]).splitlines()[1].endswith(",True")


def test_nothing_right_of_344_reaches_as_far_in_a_figure_as_in_a_table():
    none = Score("aexams", "acc", 344, 0.0, 0.0, 0.25, 0.26, ("aexams",), "1")
    none = replace(none, **certainty([np.zeros(344)], (1.0,)))
    (row,) = csv.DictReader(io.StringIO(tables.scores_csv([none])))
    below, above = figures.reach([none])
    assert (none.value - below[0] / 100, none.value + above[0] / 100) == pytest.approx(
        (float(row["low"]), float(row["high"])), abs=1e-12
    )
    assert above[0] == pytest.approx(1.1, abs=0.01)
    assert tables.score_cells(none)[3] == "0.0 to 1.1"


def test_scores_that_a_blind_answer_reaches_are_named():
    blind = replace(score("exams", 0.28), random=0.25, constant=0.34)
    lucky = replace(score("mmlu", 0.3), random=0.25, constant=0.28)
    free = replace(score("arcd", 0.0), random=None, constant=None)
    said = tables.knows_nothing([blind, lucky, free])
    assert said == f"1 of 3 scores no better than blind answers: {blind.label} (28.0, blindly 34.0)"
    assert tables.knows_nothing([lucky, free]) == ""
    many = [replace(blind, name=f"exams_{number}") for number in range(6)]
    assert tables.knows_nothing(many).startswith(
        "6 of 6 scores no better than blind answers: exams_0 (28.0"
    )
    assert tables.knows_nothing(many).endswith(", exams_3 (28.0, blindly 34.0) and 2 more")
    assert tables.knows_nothing([blind, replace(blind, metric="f1")]) == said.replace("of 3", "of 1")


def test_markdown_has_the_baselines_beside_the_scores():
    lines = tables.markdown(ROWS).splitlines()
    assert lines[2] == (
        "| aexams | 537 | 25.3 | 26.1 | +0.7 (-2.0 to +3.5) | within noise | 25.0 | 26.2 | 24.0 | 0.63 |"
    )
    assert len(lines) == 6  # a header and its line, two rows, a note


def test_csv_keeps_every_digit():
    first, _ = csv.DictReader(io.StringIO(tables.comma_separated(ROWS)))
    assert float(first["tuned"]) == 0.2607
    assert first["verdict"] == "within noise"


def test_figures_are_the_same_bytes_each_time_and_need_no_font_of_the_reader():
    subjects = {"الرياضيات": (0.2, 0.5), "العلوم": (0.3, 0.4), "اللغة": (0.1, 0.9)}
    svg = figures.radar(subjects, "by subject", "by_subject")
    assert svg == figures.radar(subjects, "by subject", "by_subject")
    assert "<svg" in svg
    assert "<text" not in svg  # letters are paths, shaped where they were drawn
    assert "<svg" in figures.differences(ROWS)


def test_parts_of_a_whole_are_the_same_bytes_each_time():
    bars = {"exams, base": [40.0, 20.0], "exams, tuned": [30.0, 0.0]}
    parts = {"near miss": (4, False), "near miss (judged by qwen)": (4, True)}
    assert figures.stacked(bars, parts) == figures.stacked(bars, parts)
    assert figures.stacked(bars, parts) != figures.stacked(bars, dict.fromkeys(parts, (4, False)))


def test_a_training_curve_needs_no_dev_set():
    lines = [{"step": i, "loss": 3 / i, "learning_rate": 1e-4} for i in range(1, 50)]
    assert "<svg" in figures.training_curve(lines)


def test_the_numbers_of_a_figure_are_its_bars_its_points_and_its_cells():
    figure, (bars, points, cells) = plt.subplots(1, 3)
    bars.barh([1, 0], [40.0, 51.3], xerr=[[5.0, 6.0], [5.5, 6.5]], label="tuned")
    bars.set_yticks([1, 0], ["exams", "قراءة"])
    points.errorbar([8, 16], [1.5, 1.25], yerr=[0.5, 0.25], label="rank 4")
    points.plot([8, 16], [9.0, 9.0])  # in no legend: a help to the eye
    points.set_ylabel("loss")
    cells.imshow([[1.0, np.nan]])
    cells.set_xticks([0, 1], ["rate 0.1", "rate 1"])
    cells.set_yticks([0], ["yeh"])
    text = figure_numbers.csv(figure)
    plt.close(figure)
    assert text.splitlines() == [
        "panel,series,at,value,low,high",
        ",tuned,exams,40,35,45.5",
        ",tuned,قراءة,51.3,45.3,57.8",
        "loss,rank 4,8,1.5,1,2",
        "loss,rank 4,16,1.25,1,1.5",
        ",yeh,rate 0.1,1,,",
    ]


def test_radars_are_of_one_size_whatever_their_names():
    short = figures.radar(dict.fromkeys("abcd", (0.1, 0.2)), "by task", "by_task")
    long = figures.radar(dict.fromkeys(("a_very_long_name_of_a_task", *"bcd"), (0.1, 0.2)), "t", "t")
    sizes = [re.findall(r'<svg [^>]*?width="([^"]+)" height="([^"]+)"', drawn) for drawn in (short, long)]
    assert sizes[0] == sizes[1] != []


SOURCES = [
    SourceSummary("قصص", "ar", "mit", "a", Ledger("a"), count("train", [9, 40], [300, 900], [100, 320])),
    SourceSummary("中文", "zh", "mit", "b", Ledger("b"), Counts(), share=SourceShare(0.3, 0.0, 0.0)),
    SourceSummary("$x$" + 60 * "long_name", "ar", "mit", "c", Ledger("c"), count("train", [1], [1], [1])),
]


@pytest.mark.parametrize("figure", [card_figures.length_histogram, card_figures.share_chart])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.filterwarnings("error")  # a glyph that the font lacks is a warning
def test_figures_of_a_card_are_the_same_bytes_each_time(figure, number):
    png = figure(SOURCES[:number])
    assert png == figure(SOURCES[:number])
    assert png.startswith(b"\x89PNG")
    assert b"tEXt" not in png  # neither a date nor a version of its maker


MOMENTS = [
    {"phase": phase, "held": [9 * MIB, MIB, 0, 0, size * MIB, 0]}
    for phase, size in (("forward", 1), ("forward", 3), ("backward", 2), ("optimizer", 0))
]
FOUND = {
    "kinds": ["weights", "trained", "optimizer", "gradients", "activations", "logits"],
    "step": 2,
    "device": "cpu",
    "num_processes": 1,
    "has_moments": True,
    "on_card": None,
    "planned": None,
    "batch": {"size": 2, "tokens": 28, "padded": True},
    "measured": 100 * MIB,
    "measured_reserved": None,
    "predicted": 90 * MIB,
    "predicted_reserved": None,
    "measured_curve": [],
    "predicted_curve": MOMENTS,
}


def cells(html):
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)[1:]]


def test_the_memory_of_a_step_is_shown_predicted_and_measured():
    html = memory_section.section(FOUND)
    assert cells(html) == [
        ["predicted: that step, rehearsed", "2 x 28", "90.0 MiB", ""],
        ["measured: step 2, CPU", "2 x 28", "100.0 MiB", ""],
    ]
    assert "The prediction is -10.0% off what was measured." in html
    assert html.count("<svg") == 1
    assert memory_section.section(FOUND) == html
    assert memory_section.section({}) == ""
    alone = memory_section.section({**FOUND, "predicted": None, "predicted_curve": []})
    assert "It was not predicted; the log says why." in alone
    assert "<svg" not in alone


def test_the_plan_stands_beside_the_measurement_and_what_is_unlike_is_said():
    plan = {"size": 2, "tokens": 1024, "allocated": 300 * MIB, "total": 400 * MIB}
    here = memory_section.section({**FOUND, "planned": plan})
    assert cells(here)[0] == [
        "planned: at most, on the card of hw",
        *("2 x up to 1,024", "300.0 MiB", "400.0 MiB"),
    ]
    assert "not comparable with this CPU" in here
    card = {"device": "cuda", "measured_reserved": 120 * MIB, "predicted_reserved": 118 * MIB}
    there = memory_section.section(
        {**FOUND, "planned": plan, **card, "on_card": 500 * MIB, "num_processes": 2}
    )
    assert cells(there)[1:] == [
        ["predicted: that step, rehearsed", "2 x 28", "90.0 MiB", "118.0 MiB"],
        ["measured: step 2, GPU, the fullest of 2 processes", "2 x 28", "100.0 MiB", "120.0 MiB"],
    ]
    assert "this step&#39;s are shorter" in there
    assert "The card held 500.0 MiB in all (nvidia-smi); 380.0 MiB of it are not torch&#39;s" in there


def test_a_task_with_several_metrics_names_each_and_others_none():
    both = [replace(score("piqa", 0.5, metric), is_one_of_several=True) for metric in ("acc", "acc_norm")]
    both.append(score("acva", 0.5))
    rows = tables.scores_terminal(both).splitlines()[1:]
    assert [row.split("  ")[0] for row in rows] == ["piqa acc", "piqa acc_norm", "acva"]
    pairs = [Difference(one, one, 0.0, 0.0, 0.0, 1.0, True, 1.0) for one in both]
    assert [row.split("  ")[0] for row in tables.terminal(pairs).splitlines()[1:]] == [
        "piqa acc",
        "piqa acc_norm",
        "acva",
    ]


def test_the_same_questions_under_two_names_are_told_to_be_one_benchmark():
    def asked(task, *questions):
        return [Item(task, str(n), text, "", "", {"acc": 1.0}) for n, text in enumerate(questions)]

    names = {"exams": ("أين؟", "متى؟"), "arabic_exams": ("متى؟", "أين؟"), "other": ("أين؟", "كيف؟")}
    items = [item for name, questions in names.items() for item in asked(name, *questions)]
    scores = [replace(score(name, 1.0), n=2, tasks=(name,)) for name in names]
    assert tables.twins(Evaluation({}, {"overall": None}, scores, items)) == [
        "exams and arabic_exams ask the same questions: one benchmark under several names"
    ]
