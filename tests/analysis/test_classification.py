"""Scores of classifiers: exact where hands can count, else sklearn's; noise is called noise."""

import random

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from arabic_llm.analysis import baselines, classification, statistics
from arabic_llm.reports import classification as reports
from arabic_llm.reports.classification import Classified


def drawn(seed: int, share_right: float, num_classes: int = 4, n: int = 300):
    """Return labels, and answers of which such a share is right and the rest is drawn."""
    draw = random.Random(f"labels/{n}")
    labels = [draw.randrange(num_classes) for _ in range(n)]
    guess = random.Random(seed)
    return labels, [y if guess.random() < share_right else guess.randrange(num_classes) for y in labels]


def test_quadratic_kappa_is_what_hands_count():
    # Three grades, six texts. Costs 0 1 4; observed: (0,1) 1 + (2,0) 4 = 5. By chance, labels 2 2 2 and
    # answers 2 3 1: [2 (2*0 + 3*1 + 1*4) + 2 (2*1 + 0 + 1*1) + 2 (2*4 + 3*1 + 0)] / 6 = (14+6+22) / 6 = 7.
    confusion = classification.confusion_matrix([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 0, 2], 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert float(classification.quadratic_kappa(confusion)) == pytest.approx(1 - 5 / 7)
    assert float(classification.accuracy(confusion)) == pytest.approx(4 / 6)
    # F1: 2*1/(2+2), 2*2/(2+3), 2*1/(2+1)
    assert float(classification.macro_f1(confusion)) == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)


def test_a_class_that_is_only_answered_counts_as_in_scikit_learn():
    labels, said = [0, 0, 1, 1], [0, 2, 1, 1]
    f1 = float(classification.macro_f1(classification.confusion_matrix(labels, said, 4)))
    assert f1 == pytest.approx(f1_score(labels, said, average="macro"))
    assert f1 == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_scores_are_those_of_scikit_learn_as_in_our_other_tables():
    labels, said = drawn(1, 0.4)
    confusion = classification.confusion_matrix(labels, said, 4)
    kappa = cohen_kappa_score(labels, said, weights="quadratic")
    assert float(classification.quadratic_kappa(confusion)) == pytest.approx(kappa)
    assert float(classification.macro_f1(confusion)) == pytest.approx(
        f1_score(labels, said, average="macro")
    )


def test_a_constant_answer_agrees_by_chance_alone_and_an_absent_class_does_not_count():
    confusion = classification.confusion_matrix([0, 0, 1], [0, 0, 0], 3)
    assert float(classification.quadratic_kappa(confusion)) == 0
    assert float(classification.macro_f1(confusion)) == pytest.approx((4 / 5 + 0) / 2)
    alone = classification.confusion_matrix([1, 1], [1, 1], 3)
    assert float(classification.quadratic_kappa(alone)) == 0
    precision, recall, _ = classification.class_scores(confusion)
    assert np.isnan(precision[1])  # never answered
    assert np.isnan(recall[2])  # never there


def test_intervals_hold_the_score_and_shrink_with_the_number_of_texts():
    def width(n):
        labels, said = drawn(2, 0.5, n=n)
        (accuracy, *_), _ = classification.measure(labels, {"model": said}, 4, ordered=False, seed=17)
        assert accuracy.low < accuracy.value < accuracy.high
        return accuracy.high - accuracy.low

    labels, said = drawn(2, 0.5, n=1600)
    share = np.mean(np.array(labels) == said)
    assert width(1600) == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 1600), rel=0.05)
    assert width(1600) < 0.6 * width(400)


def test_the_paired_difference_of_accuracies_has_mcnemars_p():
    labels, one = drawn(3, 0.5)
    _, other = drawn(4, 0.4)
    right = [np.array([a == y for a, y in zip(said, labels, strict=True)], float) for said in (one, other)]
    _, gains = classification.measure(labels, {"a": one, "b": other}, 4, ordered=True, seed=17)
    accuracy = gains[0]
    assert accuracy.difference == pytest.approx(right[0].mean() - right[1].mean())
    # Drawn 10,000 times, where McNemar's counts: its own error is below 0.005.
    assert accuracy.p == pytest.approx(statistics.sign_test(right[1], right[0]), abs=0.02)
    assert [g.metric for g in gains] == ["accuracy", "macro F1", "quadratic kappa"]
    assert [g.holm_p for g in gains] == statistics.holm([g.p for g in gains])


def test_what_chance_explains_is_within_noise_and_what_it_does_not_is_said():
    labels, good = drawn(5, 0.8)
    _, alike = drawn(6, 0.8)
    _, bad = drawn(7, 0.3)
    _, gains = classification.measure(
        labels, {"model": good, "alike": alike, "bad": bad}, 4, ordered=False, seed=17
    )
    verdicts = {(g.against, g.metric): g.verdict for g in gains}
    assert verdicts["alike", "accuracy"] == verdicts["alike", "macro F1"] == "within noise"
    assert verdicts["bad", "accuracy"] == verdicts["bad", "macro F1"] == "better"
    _, gains = classification.measure(labels, {"model": bad, "good": good}, 4, ordered=False, seed=17)
    assert {g.verdict for g in gains} == {"worse"}


def test_three_texts_prove_nothing():
    labels = [0, 1, 1]
    _, gains = classification.measure(
        labels, {"a": labels, "b": [1, 0, 0]}, 2, ordered=False, seed=17
    )  # all three better
    assert gains[0].difference == 1
    assert {g.verdict for g in gains} == {"within noise"}


def test_what_no_resample_varies_is_not_certain():
    """All right: Wilson's interval of the accuracy; of F1 the bootstrap cannot tell, and the p decides."""
    labels = [0, 1] * 10
    wrong = [1 - label for label in labels]
    measures, gains = classification.measure(
        labels, {"a": labels, "same": labels, "wrong": wrong}, 2, ordered=False, seed=17
    )
    accuracy, f1, *_ = measures
    assert (accuracy.low, accuracy.high) == pytest.approx((0.839, 1.0), abs=1e-3)
    assert (f1.value, np.isnan(f1.low)) == (1.0, True)
    same, same_f1, _, wrong_f1 = gains
    assert (same.low, same.high) == pytest.approx((-0.161, 0.161), abs=1e-3)
    assert (same_f1.difference, np.isnan(same_f1.low), same_f1.verdict) == (0.0, True, "within noise")
    assert (wrong_f1.difference, wrong_f1.verdict) == (1.0, "better")
    cell = "100.0 (no resample varies: the bootstrap cannot tell)"
    counts = {split: {"x": 10, "y": 10} for split in ("train", "test")}
    confusion = classification.confusion_matrix(labels, labels, 2)
    report = Classified("t", ["x", "y"], counts, measures, gains, confusion, [])
    assert next(report.rows())[2] == cell
    assert list(report.gain_rows())[1][2] == f"+0.0 {cell.partition(' ')[2]}"


@pytest.mark.parametrize(
    ("in_test", "said"),
    [
        ({"x": 20, "y": 10}, []),
        ({"x": 20, "y": 9}, ["only 29 test texts: of fewer than 30 nothing can be concluded"]),
        ({"x": 40, "y": 0}, ["every test text is x: how classes are told apart is not tested"]),
    ],
)
def test_a_test_that_can_say_nothing_is_told_so(in_test, said):
    items = [{"label": label} for label, number in in_test.items() for _ in range(number)]
    measures, gains = classification.measure([0, 1], {"a": [0, 1], "b": [1, 0]}, 2, ordered=False, seed=1)
    counts, confusion = {"train": in_test, "test": in_test}, np.eye(2)
    report = Classified("t", ["x", "y"], counts, measures, gains, confusion, items)
    assert list(report.cautions()) == said
    for whole in (reports.terminal(report), reports.markdown(report)):
        assert all(line in whole for line in said)
        assert ("nothing can be concluded" in whole) is (len(items) < 30)


def test_the_same_seed_gives_the_same_intervals():
    labels, said = drawn(8, 0.5)
    found = [classification.measure(labels, {"m": said}, 4, ordered=False, seed=s) for s in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_the_baselines_answer_the_majority_and_what_letters_tell():
    assert baselines.majority([2, 0, 2, 1], 3) == [2, 2, 2]
    train = [f"هذا كتاب رقم {i}" for i in range(6)] + [f"الكلب ينبح {i}" for i in range(6)]
    said = baselines.tfidf(train, [0] * 6 + [1] * 6, ["كتاب جديد", "الكلب الكبير", "كتابنا"])
    assert said == [0, 1, 0]
