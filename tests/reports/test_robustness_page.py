"""Drops as tables, heat maps and a page: what is beyond noise is marked, what was typed is no markup."""

import pytest

from arabic_llm.analysis.robustness import Condition, Drop
from arabic_llm.analysis.scores import Evaluation, Item, Score
from arabic_llm.analysis.statistics import Difference
from arabic_llm.reports import robustness


def drop(perturbation, rate, lost, *, task="exams", clean=0.8, p=1e-6, cut=(0, 0)):  # noqa: PLR0913
    before, after = (
        Score(
            *(task, "acc", 200, value, 0.03, 0.25, 0.3, (task,), "1"),
            low=value - 0.06,
            high=value + 0.06,
            num_shortened=num_cut,
        )
        for value, num_cut in zip((clean, clean - lost), cut, strict=True)
    )
    row = Difference(before, after, -lost, -lost - 0.05, -lost + 0.05, p, True, p)
    return Drop(Condition(perturbation, rate, 17), row, 100, 2 * lost, 0.1, 0.5, 1.25)


def item(answer, question="س <b>١</b> ثم ٢", right=1.0):
    return Item("exams", "0-a", question, "أ", answer, {"acc": right}, prompt_hash=question)


def report(*drops, answers=(), items=()):
    manifest = {
        "started": "now",
        "command": "c",
        "versions": {},
        "machine": "m",
        "identity": {},
        "starts": [],
    }
    model = dict.fromkeys(("name", "revision", "dtype", "quantization", "trained"), "x")
    clean = Evaluation(model, {"tasks": {"exams": {}}}, [], list(items))
    return robustness.Report(clean, drops, answers, ["this: for that reason"], manifest, "CPU")


def test_the_terminal_has_a_column_for_each_rate_and_marks_what_is_beyond_noise():
    rows = (drop("tatweel", 0.1, 0.01, p=1.0), drop("tatweel", 1.0, 0.3))
    assert robustness.terminal(report(*rows)) == (
        "task   perturbation  changed  tokens  drop at 0.1  drop at 1\n"
        "exams  tatweel           50%   1.25x        +1.0      +30.0*\n"
        "left out: this: for that reason"
    )


def test_a_task_that_has_little_to_lose_is_named():
    said = robustness.markdown(report(drop("tatweel", 1.0, 0.0, clean=0.31, p=1.0)))
    assert (
        "- exams: 31.0 (25.0 to 37.0) on clean questions may be no more than one constant or random" in said
    )
    assert "little to lose" not in robustness.markdown(report(drop("tatweel", 1.0, 0.0)))


def test_a_model_that_answers_everything_alike_is_named_not_called_robust():
    row = drop("tatweel", 1.0, 0.0, clean=0.31, p=1.0)
    assert "- exams: every clean question got the same answer (ج): no drop can show" in robustness.markdown(
        report(row, items=[item("ج"), item("ج")])
    )
    assert "no drop can show" not in robustness.markdown(report(row, items=[item("ج"), item("أ")]))


def test_prompts_that_were_cut_are_counted_clean_and_as_typed():
    rows = (
        drop("tatweel", 0.1, 0.1, cut=(2, 5)),
        drop("yeh", 0.3, 0.1, cut=(2, 7)),
        drop("yeh", 0.1, 0.1),
        drop("tatweel", 0.3, 0.1),
    )
    line = (
        "exams: 2 of 200 clean prompts, and up to 7 perturbed ones (yeh at 0.3), are longer than the model"
        " can see and lost their beginning"
    )
    said = report(*rows)
    for text in (robustness.terminal(said), robustness.markdown(said), robustness.page_of(said)):
        assert text.count(line) == 1
    assert "can see" not in robustness.markdown(report(drop("tatweel", 0.1, 0.1)))


def test_markdown_and_csv_hold_the_drop_with_its_interval():
    line = robustness.markdown(report(drop("yeh", 0.3, 0.1))).splitlines()[2]
    assert line == (
        "| exams | yeh | 0.3 | 50% | 1.25x | 80.0 | 70.0 | +10.0 (+5.0 to +15.0) | +20.0 (+10.0 to +50.0)"
        " | worse |"
    )
    header, values = robustness.comma_separated([drop("yeh", 0.3, 0.1)]).splitlines()
    found = dict(zip(header.split(","), values.split(","), strict=True))
    assert (found["perturbation"], found["rate"], found["num_changed"]) == ("yeh", "0.3", "100")
    assert float(found["drop"]) == pytest.approx(0.1)
    assert float(found["low"]) == pytest.approx(0.05)


def test_heat_maps_are_by_rate_and_of_several_tasks_by_task_too_and_the_same_bytes_each_time():
    one = [drop("yeh", rate, 0.1) for rate in (0.1, 1.0)]
    assert len(robustness.heat_maps(one)) == 1
    two = [*one, drop("yeh", 1.0, 0.2, task="arabicmmlu_social_science")]
    assert len(robustness.heat_maps(two)) == 2
    assert robustness.heat_maps(two) == robustness.heat_maps(two)


def test_ten_answers_are_of_as_many_perturbations_as_there_are():
    pairs = [(item("أ"), item("ب", right=0.0))] * 10
    many = [(Condition(f"p{n}", rate, 17), pairs) for n in range(18) for rate in (0.1, 1.0)]
    chosen = robustness.spread(many)
    assert len({condition.perturbation for condition, _, _ in chosen}) == len(chosen) == 10
    assert {condition.rate for condition, _, _ in chosen} == {0.1}
    assert len(robustness.spread(many[:2])) == 10
    assert robustness.spread([(Condition("p", 1.0, 17), [])]) == []


def test_words_that_differ_are_marked_and_what_a_question_holds_is_no_markup():
    answers = [(Condition("digits", 1.0, 17), [(item("أ"), item("<i>ب", "س <b>١</b> ثم 2", 0.0))])]
    page = robustness.page_of(report(drop("digits", 1.0, 0.1), answers=answers))
    assert "س &lt;b&gt;١&lt;/b&gt; ثم <mark>٢</mark>" in page
    assert "س &lt;b&gt;١&lt;/b&gt; ثم <mark>2</mark>" in page
    assert "&lt;i&gt;ب" in page
