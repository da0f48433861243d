"""A kappa of levels: of all items together, with an interval, compared in pairs; gaps between varieties."""

import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from arabic_llm.analysis import aggregate, forgetting, kappa, scores, varieties
from arabic_llm.analysis.aggregate import Benchmark
from arabic_llm.analysis.scores import Evaluation, Item
from arabic_llm.analysis.statistics import compare
from arabic_llm.config.run import Language
from arabic_llm.errors import DamagedError
from arabic_llm.reports import html, spoken, tables, variety_gaps

LEVELS = 12
WANTED = [n % LEVELS for n in range(120)]


def evaluation(said):
    items = [
        Item(
            *("grades", f"{n}-x", "?", str(wanted), str(answer)),
            {"qwk": kappa.closeness(wanted, answer, LEVELS), "acc": float(wanted == answer)},
            num_choices=LEVELS,
            target_index=wanted,
            answer_index=answer,
        )
        for n, (wanted, answer) in enumerate(zip(WANTED, said, strict=True))
    ]
    benchmark = Benchmark({"grades": "1"}, {}, ["qwk", "acc"])
    judged = {"tasks": {"grades": {"metrics": ["qwk", "acc"]}}}
    traits = {"grades": {"language": "ar", "skill": "education"}}
    return Evaluation({}, judged, list(aggregate.scores(benchmark, items)), items, traits=traits)


def near(shift, seed=0):
    draw = np.random.default_rng(seed)
    return [int(np.clip(w + draw.integers(-shift, shift + 1), 0, LEVELS - 1)) for w in WANTED]


@pytest.fixture(scope="module")
def two():
    """Return an evaluation that is often far off, and one that is hardly."""
    return evaluation(near(6)), evaluation(near(1))


def test_a_kappa_is_scikit_learns_with_an_interval_around_it(two):
    for side, shift in zip(two, (6, 1), strict=True):
        found = side.scores[0]
        expected = cohen_kappa_score(WANTED, near(shift), labels=range(LEVELS), weights="quadratic")
        assert found.value == pytest.approx(expected, abs=1e-12)
        assert found.low < found.value < found.high
        assert (found.random, found.constant, found.majority, found.smallest_difference) == (0, 0, 0, None)
    assert "out of reach" not in tables.scores_terminal([two[0].scores[0]])


def test_one_level_for_all_has_a_kappa_of_0_and_an_accuracy_of_chance():
    found, accuracy = evaluation([3] * len(WANTED)).scores
    assert (found.value, found.low, found.high) == (0.0, None, None)
    assert accuracy.value == pytest.approx(1 / LEVELS)


def test_two_kappas_are_compared_as_kappas_and_are_in_no_mean(two):
    rows = {row.base.metric: row for row in compare(*two, seed=0)}
    row = rows["qwk"]
    assert row.difference == pytest.approx(two[1].scores[0].value - two[0].scores[0].value)
    assert row.low < row.difference < row.high
    assert row.verdict == "better"
    assert {r.base.metric: r for r in compare(*reversed(two), seed=0)}["qwk"].verdict == "worse"
    same = {r.base.metric: r for r in compare(two[0], two[0], seed=0)}["qwk"]
    assert (same.difference, same.verdict, same.note) == (0, "within noise", "no item changed")
    assert forgetting.find(*two, seed=0).by_trait == {"language": [], "skill": []}


def test_a_kappa_that_is_not_that_of_its_items_is_damage(two, tmp_path):
    scores.write(two[0], tmp_path / "whole")
    assert scores.read(tmp_path / "whole") == two[0]
    first, *others = two[0].scores
    scores.write(replace(two[0], scores=[replace(first, value=0.9), *others]), tmp_path / "false")
    with pytest.raises(DamagedError, match="grades qwk: its value is 0.9, and that of its items is 0"):
        scores.read(tmp_path / "false")


def test_a_score_says_how_far_its_prompts_lie_apart_and_what_is_smaller(two):
    (*_, accuracy) = two[0].scores
    asked = replace(
        accuracy, prompts=(("letters ar", accuracy.value - 0.2), ("words en", accuracy.value + 0.1))
    )
    low, high = 100 * accuracy.value - 20, 100 * accuracy.value + 10
    assert tables.value_cell(asked) == f"{100 * accuracy.value:.1f} [{low:.1f}-{high:.1f}]"
    assert tables.by_prompt_note([accuracy, asked]).startswith("In brackets: the lowest and highest score")
    assert tables.by_prompt_note([accuracy]) == ""
    (row,) = [row for row in compare(*two, seed=0) if row.base.metric == "acc"]
    small = replace(row, base=asked, difference=0.25, low=0.2, high=0.28)
    assert "+25.0 (+20.0 to +28.0; smaller than the spread of prompts, 30.0)" in tables.cells(small)
    assert "spread" not in "".join(tables.cells(replace(small, difference=0.31)))
    assert "spread" not in "".join(tables.cells(row))


def of_varieties(right):
    """Return an evaluation of one question set in several varieties: name -> whether each is right."""
    items = [
        Item(f"d::{name}", f"{n}-{name}", "?", "a", "b", {"acc": float(value)}, num_choices=4)
        for name, own in right.items()
        for n, value in enumerate(own)
    ]
    judged = {"tasks": {"d": {"versions": dict.fromkeys((f"d::{name}" for name in right), "1")}}}
    return Evaluation({}, judged, [], items, traits={"d": {"compared_with": "msa"}})


def test_varieties_are_held_against_the_standard_question_by_question():
    msa = [1] * 60 + [0] * 40
    found = varieties.gaps(
        of_varieties({"egyptian": [1] * 30 + [0] * 70, "msa": msa, "syrian": msa, "saudi": [0, *msa[1:]]})
    )
    said = {(gap.variety, gap.against): (round(gap.difference, 9), gap.verdict) for gap in found}
    assert said == {
        ("egyptian", "msa"): (-0.3, "worse"),
        ("syrian", "msa"): (0.0, "within noise"),
        ("saudi", "msa"): (-0.01, "within noise"),
        ("egyptian", "syrian"): (-0.3, "worse"),
        ("egyptian", "saudi"): (-0.29, "worse"),
        ("syrian", "saudi"): (0.01, "within noise"),
    }
    egyptian = found[0]
    assert egyptian.high < 0 and egyptian.n == 100
    assert egyptian.high - egyptian.low < 0.2  # unpaired it would be 0.27
    headline = variety_gaps.terminal(found)
    assert [line.split()[:2] for line in headline.splitlines()[1:]] == [
        ["egyptian", "msa"],
        ["syrian", "msa"],
        ["saudi", "msa"],
    ]
    page = variety_gaps.markdown(found)
    assert page.index("## d: gap to msa") < page.index("## Between the others")


def test_without_a_variety_to_compare_with_nothing_is_said():
    plain = replace(of_varieties({"msa": [1], "syrian": [0]}), traits={"d": {"language": "ar"}})
    assert varieties.gaps(plain) == []
    assert variety_gaps.terminal([]) == variety_gaps.markdown([]) == ""


def test_a_report_says_what_became_of_each_gap_in_both_languages():
    msa = [1] * 60 + [0] * 40
    base = of_varieties({"msa": msa, "egyptian": [1] * 30 + [0] * 70, "syrian": msa})
    tuned = of_varieties({"msa": msa, "egyptian": [1] * 58 + [0] * 42, "syrian": [0] * 25 + msa[25:]})
    egyptian, syrian = varieties.changes(base, tuned)
    assert (round(egyptian.difference, 9), egyptian.verdict) == (0.28, "better")
    assert (round(syrian.difference, 9), syrian.verdict) == (-0.25, "worse")
    assert egyptian.low < 0.28 < egyptian.high < 0.28 + 0.2
    shown = {
        "gaps": list(variety_gaps.sections([egyptian, syrian])),
        "varieties_header": variety_gaps.CHANGES,
    }
    page = html.render("varieties.html.jinja", **shown)
    assert "<h2>d: gap to msa</h2>" in page
    assert "<td>msa</td>" in page and page.count("<tr>") == 4  # a header, the standard, two varieties
    assert "-30.0 (" in page and "-2.0 (" in page and "+28.0 (" in page
    assert page.count('class="better"') == page.count('class="worse"') == 1
    first = variety_gaps.changes_csv([egyptian, syrian]).splitlines()[1]
    assert first.startswith("d,egyptian,msa,100,0.3,-0.3,")
    with spoken.speaking(Language.ar):
        gaps = list(variety_gaps.sections([egyptian, syrian]))
        arabic = html.render("varieties.html.jinja", gaps=gaps, varieties_header=variety_gaps.CHANGES)
    words = re.sub("[\u2066-\u2069]|<[^>]*>", "", arabic)
    assert "الفجوة عن الفصحى" in words and "المصرية" in words
    assert not re.search("[A-Za-z]{2}", words)
    assert varieties.changes(replace(base, traits={}), replace(tuned, traits={})) == []
