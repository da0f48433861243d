"""Scores of short answers work on Arabic, and fold what is spelling, not meaning."""

import pytest

from arabic_llm.analysis.scorers import SCORERS, exact_match, rouge_l, token_f1


@pytest.mark.parametrize(
    ("said", "wanted"), [("القاهِرَة.", "القاهره"), ("إفريقيا", "افريقيا"), ("٧", "7"), (" Au ", "au")]
)
def test_exact_match_folds_spelling(said, wanted):
    assert exact_match(said, wanted) == 1


def test_exact_match_tells_answers_apart():
    assert exact_match("باريس", "روما") == 0
    assert exact_match("4 + 3", "4 − 3") == 0


def test_token_f1_is_squads():
    assert token_f1("مدينة القاهرة", "القاهرة") == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert token_f1("واحد واحد", "واحد") == pytest.approx(2 / 3)  # a word counts as often as both have it
    assert token_f1("", "القاهرة") == 0


def test_rouge_l_sees_arabic_letters():
    assert rouge_l("ضخ الدم", "ضخ الدم") == 1
    assert rouge_l("الدم ضخ", "ضخ الدم") == pytest.approx(0.5)  # one of two words in order
    assert rouge_l("باريس", "روما") == 0


def test_chinese_answers_share_characters():
    assert token_f1("北京大学", "北京") == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert rouge_l("光合作用在叶绿体", "光合作用在叶绿体中") == pytest.approx(2 * 1 * (8 / 9) / (1 + 8 / 9))
    assert token_f1("巴黎", "罗马") == 0
    assert exact_match("北京。", "北京") == 1


@pytest.mark.parametrize("score", SCORERS.values(), ids=SCORERS)
def test_a_sign_alone_is_right_only_where_it_is_wanted(score):
    assert score("!", "!") == 1
    assert score("?", "!") == 0
    assert score("", "!") == 0
    assert score("القاهرة", "!") == 0
    assert score("!", "القاهرة") == 0


def test_signs_that_mean_something_are_part_of_an_answer():
    assert exact_match("C#", "C") == 0
    assert exact_match("50%", "50") == 0
    assert exact_match("٥٠٪.", "50%") == 1
    assert exact_match("%50", "50%") == 1
