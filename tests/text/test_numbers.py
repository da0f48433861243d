"""Digits change sides, and numbers are said as one counts aloud."""

import pytest

from arabic_llm.text.numbers import in_words, to_arabic_indic, to_european


def test_digits_there_and_back():
    assert to_arabic_indic("عام 2026") == "عام ٢٠٢٦"
    assert to_european("عام ٢٠٢٦ و۱۲") == "عام 2026 و12"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "صفر"),
        (10, "عشرة"),
        (11, "أحد عشر"),
        (12, "اثنا عشر"),
        (13, "ثلاثة عشر"),
        (20, "عشرون"),
        (21, "واحد وعشرون"),
        (99, "تسعة وتسعون"),
        (100, "مئة"),
        (256, "مئتان وستة وخمسون"),
    ],
)
def test_numbers_in_words(number, words):
    assert in_words(number) == words


@pytest.mark.parametrize("number", [-1, 1000])
def test_numbers_out_of_reach_are_refused(number):
    with pytest.raises(ValueError, match="0 to 999"):
        in_words(number)
