"""What was forgotten is drawn as it was measured, named where it is beyond noise, and kept as numbers."""

import csv
import io

import pytest
from scipy import stats

from arabic_llm.analysis.forgetting import Forgetting
from arabic_llm.analysis.scores import FIRST, Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports import figures, forgetting, held_out_loss
from arabic_llm.reports.html import render


def row(name, base, tuned, half, p, metric=FIRST):
    pair = [Score(name, metric, 200, value, 0.03, 0.25, 0.3, (name,), "1") for value in (base, tuned)]
    change = tuned - base
    return Difference(*pair, change, change - half, change + half, p, True, p)


LANGUAGES = [
    row("ar", 0.4, 0.55, 0.05, 1e-4),
    row("en", 0.6, 0.5, 0.04, 1e-3),
    row("zh", 0.3, 0.29, 0.05, 1),
]
SKILLS = [row("knowledge", 0.5, 0.5, 0.02, 1.0)]
GSM = row("gsm8k", 0.6, 0.5, 0.04, 1e-3, "exact_match")
FOUND = Forgetting(
    {"language": LANGUAGES, "skill": SKILLS}, [GSM], {"gsm8k": {"language": "en", "skill": "mathematics"}}
)
NOTHING = Forgetting({"language": LANGUAGES[:1], "skill": SKILLS}, [], {})
METRICS = [
    {"step": 1, "loss": 3.0},
    *(
        {
            "step": step,
            **{f"held_out_loss/{key}": start + rise for key, start, rise in own},
            **{f"held_out_bits_per_byte/{key}": (start + rise) / 4 for key, start, rise in own},
            **{f"held_out_rise/{key}": rise for key, _, rise in own},
            **{f"held_out_rise_stderr/{key}": 0.1 * abs(rise) for key, _, rise in own},
            **{f"held_out_texts/{key}": 24 for key, _, _ in own},
        }
        for step, own in (
            (0, [("ar", 3.21, 0.0), ("en", 4.1, 0.0)]),
            (50, [("ar", 3.21, -0.31), ("en", 4.1, 0.45)]),
            (100, [("ar", 3.21, -0.2), ("en", 4.1, 0.9)]),
        )
    ),
]


def page(found, followed=()):
    return render("forgetting.html.jinja", forgetting=forgetting.section(found, followed))


def test_bars_are_the_differences_in_points_with_their_intervals():
    rows = [("language", one) for one in LANGUAGES]
    with figures.drawing():
        axes = forgetting.draw_bars(rows).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([15, -10, -1])
    assert [bar.get_facecolor()[:3] for bar in axes.patches] == [
        pytest.approx([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        for color in ("#0f7b6c", "#b3261e", "#8a94a6")
    ]
    segments = axes.containers[0].lines[2][0].get_segments()
    assert [segment[:, 0].tolist() for segment in segments] == [
        pytest.approx(ends) for ends in ([10, 20], [-14, -6], [-6, 4])
    ]
    assert [label.get_text() for label in axes.get_yticklabels()][1] == "language: English"


def test_what_got_worse_is_a_table_with_language_and_skill():
    text = page(FOUND)
    first, rest = text.split("mean by")
    assert "got worse" in first
    assert "<td>gsm8k exact_match</td>" in first
    assert '<td class="worse">worse</td><td>English</td><td>mathematics</td>' in first
    assert "<td>Arabic</td>" not in first
    assert '<td class="better">better</td>' in rest
    assert text.count("<svg") == 1  # bars: three languages are too few axes for a radar


def test_nothing_forgotten_is_said_in_a_sentence():
    text = page(NOTHING)
    assert "No score of the 2 compared (tasks, their parts, languages, skills) got worse" in text
    assert "got worse</th>" not in text


def test_evaluations_that_are_not_described_say_so():
    text = page(Forgetting({"language": [], "skill": []}, [], {}))
    assert "do not say the language and skill of their tasks" in text
    assert "<svg" not in text


def test_the_course_of_the_loss_is_read_up_to_the_weights_that_were_kept():
    arabic, english = held_out_loss.courses(METRICS, kept_step=50)
    assert [point.step for point in arabic.points] == [0, 50]
    assert (english.last.loss, english.last.rise) == (pytest.approx(4.55), 0.45)
    assert (arabic.verdict, english.verdict) == ("better", "forgotten")
    assert held_out_loss.line([arabic, english]) == (
        "held-out loss: ar 3.21 -> 2.90 (0.80 -> 0.72 bits a byte),"
        " en 4.10 -> 4.55 (1.02 -> 1.14 bits a byte, +0.11: forgotten)"
    )
    assert held_out_loss.line(held_out_loss.courses(METRICS[:1], 100)) == ""


def measured(*rises, stderr=0.1, texts=24):
    """Return the lines of a run in which each language rose so much, with this standard error."""
    names = [f"l{number}" for number in range(len(rises))]
    one = {"held_out_loss": 3.0, "held_out_bits_per_byte": 1.0, "held_out_rise_stderr": stderr}
    line = {f"{key}/{name}": value for name in names for key, value in one.items()}
    line |= {f"held_out_rise/{name}": rise for name, rise in zip(names, rises, strict=True)}
    return [{"step": 9, **line, **({f"held_out_texts/{name}": texts for name in names} if texts else {})}]


def test_few_texts_prove_little_and_one_of_many_languages_less():
    """A rise of 2.5 standard errors: Student's p is 0.02 of 24 texts, 0.24 of 2."""
    (many,) = held_out_loss.courses(measured(0.25), 9)
    assert many.holm_p == pytest.approx(2 * stats.t.sf(2.5, 23))
    assert many.last.interval == pytest.approx(stats.t.interval(0.95, 23, loc=0.25, scale=0.1))
    assert many.verdict == "forgotten"
    for texts in (2, None):  # an older run does not say how many
        (few,) = held_out_loss.courses(measured(0.25, texts=texts), 9)
        assert (few.last.p, few.verdict) == (pytest.approx(2 * stats.t.sf(2.5, 1)), "within noise")
    found = held_out_loss.courses(measured(0.25, 0.0, -0.01, 0.02), 9)
    assert found[0].holm_p == pytest.approx(4 * 2 * stats.t.sf(2.5, 23))
    assert {course.verdict for course in found} == {"within noise"}
    assert held_out_loss.courses(measured(-0.9), 9)[0].verdict == "better"
    assert held_out_loss.courses(measured(0.0, stderr=0.0), 9)[0].verdict == "within noise"


def test_the_figure_of_the_drift_has_every_point_and_its_band():
    followed = held_out_loss.courses(METRICS, kept_step=100)
    with figures.drawing():
        axes = held_out_loss.draw(followed).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [50, -0.31], [100, -0.2]]
    assert axes.lines[1].get_ydata().tolist() == [0, 0.45, 0.9]
    heights = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(0.9 + stats.t.ppf(0.975, 23) * 0.09)
    text = page(NOTHING, followed)
    assert "+0.900 (+0.714 to +1.086)" in text
    assert '<td class="worse">forgotten</td>' in text


def test_the_page_says_how_much_of_the_texts_was_read():
    assert "of each text was read" not in page(NOTHING, held_out_loss.courses(METRICS, 100))
    first = {**METRICS[1], "held_out_share": 0.125}
    text = page(NOTHING, held_out_loss.courses([first, *METRICS[2:]], 100))
    assert "The first 12.5% of each text was read: more would have taken over a fiftieth of the" in text


def test_the_csv_has_means_and_losses_at_full_precision():
    rows = list(
        csv.DictReader(io.StringIO(forgetting.comma_separated(FOUND, held_out_loss.courses(METRICS, 100))))
    )
    assert [(r["kind"], r["name"], r["verdict"]) for r in rows] == [
        *(("language", "ar", "better"), ("language", "en", "worse"), ("language", "zh", "within noise")),
        ("skill", "knowledge", "within noise"),
        *(("held-out loss", "ar", "better"), ("held-out loss", "en", "forgotten")),
        *(("held-out bits a byte", "ar", ""), ("held-out bits a byte", "en", "")),
    ]
    assert float(rows[1]["difference"]) == 0.5 - 0.6
    assert float(rows[5]["tuned"]) == 5.0
    assert (float(rows[7]["base"]), float(rows[7]["tuned"])) == (4.1 / 4, 5.0 / 4)
