"""Made rows are held against their paragraph, their language and themselves; each reason has a case."""

import pytest
from conftest import compose_config

from arabic_llm.synthesis import quality

PARAGRAPH = "تأسست جامعة القاهرة عام ١٩٠٨ في الجيزة، وتضم اليوم عشرين كلية ومكتبة كبيرة فيها مخطوطات نادرة."
GOOD = ("متى تأسست جامعة القاهرة؟", "تأسست جامعة القاهرة عام 1908 في الجيزة.")


@pytest.fixture(scope="module")
def settings():
    return compose_config("task=synthesize").task.quality


def row(*exchanges, **more):
    return {
        **{"id": "r", "exchanges": [list(one) for one in exchanges], "paragraph": PARAGRAPH},
        **{"origin": {"title": "جامعة القاهرة"}, **more},
    }


def test_a_grounded_answer_is_kept_however_it_writes_letters_and_digits(settings):
    assert quality.reason_to_drop(row(GOOD), settings) is None
    spelled = ("متى تأسست جامعة القاهره؟", "تأسّست جامعةُ القاهرة في الجيزه سنة 1908.")
    assert quality.reason_to_drop(row(spelled), settings) is None


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("متى تأسست جامعة القاهرة؟", "", "empty question or answer"),
        ("متى تأسست جامعة القاهرة؟", "عذرا، لا أستطيع الإجابة عن هذا.", "answer refuses"),
        ("متى تأسست جامعة القاهرة؟", "It was founded in 1908 in Giza.", "Arabic letters below 0.7"),
        (
            "متى تأسست جامعة القاهرة؟",
            "دانشگاه قاهره در سال ۱۹۰۸ پایه گذاری شد چنین گفته‌اند",
            "letters of Persian or Urdu",
        ),
        (
            "متى تأسست جامعة القاهرة؟",
            "تأسست جامعة القاهرة عام 1908 في الجيزة، وتضم اليوم عشرين كلية ومكتبة كبيرة فيها مخطوطات نادرة"
            " the old one in giza town جامعة القاهرة تأسست جامعة القاهرة عام 1908 في الجيزة",
            "a stretch left untranslated",
        ),
        ("متى تأسست جامعة القاهرة؟", "في الجيزة في الجيزة " * 12, "4-grams repeated above 0.6"),
        ("تأسست جامعة القاهرة", "تأسست جامعة القاهرة.", "answer only repeats the question"),
        ("متى تأسست الجامعة المذكورة في النص؟", GOOD[1], "question leans on its paragraph"),
        ("حسب الفقرة أعلاه، متى تأسست؟", GOOD[1], "question leans on its paragraph"),
        ("متى تأسست؟", GOOD[1], "question names nobody"),
        (
            "متى تأسست جامعة القاهرة؟",
            "تأسست جامعة القاهرة عام 1909.",
            "number that is not in the paragraph",
        ),
        ("هل تأسست جامعة القاهرة عام 1925؟", "نعم، جامعة القاهرة.", "number that is not in the paragraph"),
        ("من هو رئيس فرنسا؟", "رئيس فرنسا هو رجل سياسي مشهور.", "answer grounded below 0.6"),
    ],
)
def test_each_fault_has_its_reason(settings, question, answer, reason):
    assert quality.reason_to_drop(row((question, answer)), settings) == reason


def test_a_later_turn_may_lean_on_the_first_but_not_on_the_paragraph(settings):
    follow = ("وأين تقع؟", "تقع جامعة القاهرة في الجيزة.")
    assert quality.reason_to_drop(row(GOOD, follow), settings) is None
    assert quality.reason_to_drop(row(GOOD, GOOD), settings) == "asks the same twice"
    text = ("ماذا يقول النص السابق؟", GOOD[1])
    assert quality.reason_to_drop(row(GOOD, text), settings) == "question leans on its paragraph"


def test_words_like_text_in_other_words_do_not_lean_on_a_paragraph(settings):
    fine = ("ما النصوص النادرة في مكتبة جامعة القاهرة؟", "في مكتبة جامعة القاهرة مخطوطات نادرة.")
    assert quality.reason_to_drop(row(fine), settings) is None


def test_a_translation_is_as_long_as_what_it_translates_and_keeps_what_was_protected(settings):
    before = [["When was Cairo University founded, and where, and by whom? " * 8, GOOD[1]]]
    said = quality.reason_to_drop(row(GOOD, translated_from=before), settings)
    assert said == "translation of another length"
    assert quality.reason_to_drop(row(GOOD, lost=True), settings) == "translation lost what was protected"


def test_a_row_without_a_paragraph_is_not_held_against_one(settings):
    assert quality.reason_to_drop(row(GOOD) | {"paragraph": ""}, settings) is None
