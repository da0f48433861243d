"""Questions are perturbed and nothing else is; what a score loses is counted item by item."""

from dataclasses import replace

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm.analysis import robustness
from arabic_llm.analysis.robustness import Condition
from arabic_llm.analysis.scores import Evaluation, Item, Score
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.evaluation import perturbed, suites
from arabic_llm.text.perturb import PERTURBATIONS

DROP = Condition("drop", 1.0, 17)


def documents(entry):
    return {leaf: [dict(d) for d in several] for leaf, several in entry.documents.items()}


def asked(suite, only=None, root=DATA):
    """Return (the suite or one task of it, the same perturbed, what its items ask)."""
    config = compose_config(f"suite={suite}").suite
    if only:
        config.tasks = {only: config.tasks[only]}
    chosen = suites.load(config, root)
    before = [documents(entry) for entry in chosen]
    entries, texts = perturbed.ask_as(chosen, DROP, PERTURBATIONS["drop"], 5)
    assert before == [{n: list(task.eval_docs) for n, task in entry.leaves.items()} for entry in chosen]
    return chosen, entries, texts


def check_only(chosen, entries, touched):
    """Check that the entries differ from the chosen in these fields of their documents alone."""
    assert [entry.name for entry in entries] == [entry.name for entry in chosen]
    for clean, entry in zip(chosen, entries, strict=True):
        assert (entry.groups, entry.leaves.keys()) == (clean.groups, clean.leaves.keys())
        differing = set()
        for name, task in entry.leaves.items():
            for before, after in zip(clean.documents[name], entry.documents[name], strict=True):
                differing |= {key for key in before if before[key] != after[key]}
                assert task.doc_to_target(after) == clean.leaves[name].doc_to_target(before)
                if task.config.doc_to_choice is not None:
                    assert task.doc_to_choice(after) == clean.leaves[name].doc_to_choice(before)
            assert list(task.fewshot_docs()) == list(clean.leaves[name].fewshot_docs())
        assert differing == touched


LEADERBOARD = "arabic_leaderboard_arabic_exams"  # its documents are made into prompts, choices included


@needs_data
@pytest.mark.parametrize(
    ("suite", "only", "touched"),
    [
        ("exams", None, {"question"}),
        ("arabicmmlu", None, {"Question", "Context"}),
        ("oall", LEADERBOARD, {"question", "query"}),
    ],
)
def test_of_a_benchmark_only_the_question_and_its_context_change(suite, only, touched):
    chosen, entries, texts = asked(suite, only)
    check_only(chosen, entries, touched)
    assert perturbed.left_out(chosen, list(PERTURBATIONS)) == []
    assert all(len(pairs) <= 5 for pairs in texts.values())
    assert all(len(b) < len(a) for pairs in texts.values() for a, b in pairs if len(a.split()) > 3)


@needs_data
@pytest.mark.parametrize(("suite", "only"), [("exams", None), ("oall", LEADERBOARD)])
def test_the_choices_stand_in_the_prompt_as_they_were(suite, only):
    (clean,), (entry,), _ = asked(suite, only)
    for name, task in entry.leaves.items():
        for before, after in zip(clean.documents[name], entry.documents[name], strict=True):
            prompts = clean.leaves[name].doc_to_text(before), task.doc_to_text(after)
            asks = before["question"].strip(), after["question"].strip()
            assert prompts[0].replace(*asks, 1) == prompts[1]


@needs_data
def test_where_words_of_the_context_are_wanted_the_context_stays():
    chosen, entries, _ = asked("generation", "arcd")
    check_only(chosen, entries, {"question"})
    document = entries[0].documents["arcd"][0]
    assert document["texts"][0] in document["context"]


def test_a_sentence_whose_dialect_is_asked_is_not_said_in_another(tmp_path):
    from arabic_llm.data.reading import lexicons
    from arabic_llm.text import perturb

    chosen = suites.load(compose_config("suite=sample").suite, tmp_path)
    gulf = perturb.phrases(lexicons.dialect_words("gulf"))
    entries, texts = perturbed.ask_as(chosen, Condition("dialect_gulf", 1.0, 17), gulf, None)
    assert [entry.name for entry in entries] == ["sample_choice", "sample_short", "sample_known"]
    assert "sample_dialect" not in texts
    (line,) = perturbed.left_out(chosen, ["tatweel", "dialect_gulf"])
    assert line == "sample_dialect with dialect_gulf: the dialect is what it asks for"


def test_a_task_whose_question_is_not_known_is_said_and_left_out(tmp_path):
    (entry, *_) = suites.load(compose_config("suite=sample").suite, tmp_path)
    task = entry.leaves["sample_choice"]
    renamed = task.dataset["test"].rename_column("question", "riddle")
    task.dataset = {"test": renamed}
    (line,) = perturbed.left_out([entry], ["drop"])
    assert line == (
        "sample_choice: none of its fields is known to be the question (riddle, subject, choices, gold)"
    )
    assert perturbed.ask_as([entry], DROP, PERTURBATIONS["drop"], None) == ([], {})


def test_the_draws_are_named_by_seed_perturbation_and_text_not_by_rate_or_place():
    drop, text = PERTURBATIONS["drop"], "ما عاصمة الجزائر وما عملتها؟"
    once = perturbed.written(text, DROP, drop)
    assert once == perturbed.written(text, Condition("drop", 1.0, 17), drop)
    assert once != perturbed.written(text, Condition("drop", 1.0, 18), drop)
    words = zip(
        text.split(),
        *(perturbed.written(text, replace(DROP, rate=r), drop).split() for r in (0.5, 1)),
        strict=True,
    )
    assert {some in (clean, every) for clean, some, every in words} == {True}


def test_a_perturbed_suite_is_judged_as_another(tmp_path):
    chosen, entries, _ = asked("sample", root=tmp_path)
    for clean, entry in zip(chosen, entries, strict=True):
        assert fingerprint(clean.identity()) != fingerprint(entry.identity())


def item(number, right, prompt, answer="أ"):
    return Item(
        "t", f"{number}-{prompt}", "س", "أ", answer, {"acc": right}, prompt_hash=prompt, num_choices=2
    )


def evaluation(items):
    value = sum(i.scores["acc"] for i in items) / len(items)
    return Evaluation({}, {}, [Score("t", "acc", len(items), value, 0.1, 0.5, 0.5, ("t",), "1")], items)


def test_a_drop_is_counted_over_all_items_and_over_those_that_changed():
    clean = evaluation(
        [item(n, 1.0, "same") for n in range(6)] + [item(n, 1.0, "old") for n in range(6, 10)]
    )
    after = evaluation(
        [item(n, 1.0, "same") for n in range(6)]
        + [item(6, 1.0, "new"), *(item(n, 0.0, "new", "ب") for n in range(7, 10))]
    )
    (row,) = robustness.drops(clean, after, DROP, {"t": (40, 60)})
    assert row.drop[0] == pytest.approx(0.3)
    assert row.drop[1] <= 0.3 <= row.drop[2]
    assert (row.num_changed, row.changed_share, row.token_ratio) == (4, 0.4, 1.5)
    assert row.changed_drop == pytest.approx(0.75)
    assert row.changed_low <= 0.75 <= row.changed_high
    assert row.difference.sign_p == pytest.approx(0.25)  # three of three: 2 * 0.5**3
    (before, changed), *_ = pairs = list(robustness.changed_answers(clean, after))
    assert (len(pairs), before.answer, changed.answer) == (3, "أ", "ب")


def test_p_values_know_of_all_rows_and_rows_stand_task_by_task():
    before, after = (
        evaluation([item(n, 1.0, "a") for n in range(8)]),
        evaluation([item(n, 0.0, "b") for n in range(8)]),
    )
    (row,) = robustness.drops(before, after, DROP, {"t": (1, 1)})
    other = replace(row, difference=replace(row.difference, base=replace(row.difference.base, name="u")))
    rows = robustness.gathered([row, other, row])
    assert [r.difference.base.name for r in rows] == ["t", "t", "u"]
    assert {r.difference.holm_p for r in rows} == {3 * row.difference.sign_p}


def test_an_item_that_nothing_changes_has_no_drop_of_its_own():
    clean = evaluation([item(n, float(n % 2), "same") for n in range(4)])
    (row,) = robustness.drops(clean, clean, DROP, {"t": (4, 4)})
    assert (row.drop[0], row.num_changed) == (0.0, 0)
    assert row.changed_drop != row.changed_drop  # nan: no item to speak of
