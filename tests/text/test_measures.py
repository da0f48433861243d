"""Letters are told apart by script, repetition is counted exactly, and English left in a text is found."""

import random
import unicodedata

import pytest

from arabic_llm.text.measures import Letters, latin_words_in_a_row, letters, repetition

FATHA, SHADDA, TATWEEL, ZWNJ, RLM = "\u064e", "\u0651", "\u0640", "\u200c", "\u200f"
LAM_ALEF_LIGATURE, KEHEH, FARSI_YEH, FULLWIDTH_A = "\ufefb", "\u06a9", "\u06cc", "\uff21"
HAN_BEYOND_U_FFFF = "\U00020000"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Letters(0, 0, 0, 0)),
        ("م", Letters(1, 0, 0, 0)),
        ("مرحبا بالعالم", Letters(12, 0, 0, 0)),
        ("你好，世界。", Letters(0, 4, 0, 0)),
        ("été Straße", Letters(0, 0, 9, 0)),
        ("привет שלום", Letters(0, 0, 0, 10)),
        ("عربي 中文 abc Ω", Letters(4, 2, 3, 1)),
        ("2026 ٢٠٢٦ + = ؟ ، ☺ \U0001f600", Letters(0, 0, 0, 0)),
        (HAN_BEYOND_U_FFFF, Letters(0, 1, 0, 0)),
        (FULLWIDTH_A, Letters(0, 0, 1, 0)),
    ],
)
def test_letters_are_counted_by_script(text, found):
    assert letters(text) == found


def test_diacritics_tatweel_and_invisible_marks_are_no_letters_of_any_script():
    assert letters(f"م{FATHA}{SHADDA}{TATWEEL}{ZWNJ}{RLM}") == Letters(1, 0, 0, 0)


def test_persian_letters_and_presentation_forms_are_arabic():
    assert letters(f"{KEHEH}{FARSI_YEH}{LAM_ALEF_LIGATURE}") == Letters(3, 0, 0, 0)


def test_half_a_character_is_no_letter_and_no_error():
    assert letters("\ud800a") == Letters(0, 0, 1, 0)
    assert repetition("\ud800aaaaa") == pytest.approx(1 - 2 / 3)


def test_letters_of_some_scripts_are_added_up():
    assert letters("عربي 中文 abc").of("arabic", "han") == 6
    assert letters("عربي 中文 abc Ω").total == 10


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("abc", 0.0),
        ("abcd", 0.0),
        ("aaaaa", 0.5),  # aaaa twice: 1 distinct of 2
        ("لالالالا", 1 - 2 / 5),
        ("天地玄黄" * 3, 1 - 4 / 9),
        ("\U0001f600" * 5, 0.5),  # one character each, though UTF-16 takes two units
    ],
)
def test_repetition_is_one_minus_distinct_over_all_4_grams(text, share):
    assert repetition(text) == pytest.approx(share)


def test_measures_agree_with_their_definitions_on_random_text():
    draw = random.Random(17)
    arabic = f"ابتثجحخدذ٣،{FATHA}{TATWEEL}{KEHEH}{LAM_ALEF_LIGATURE}"
    alphabet = f"{arabic}你好世界abcé 0Ωя{HAN_BEYOND_U_FFFF}\U0001f600"
    for _ in range(500):
        some = draw.sample(alphabet, draw.randint(1, len(alphabet)))
        text = "".join(draw.choices(some, k=draw.randint(0, 200)))
        assert repetition(text) == pytest.approx(_repetition_as_defined(text), abs=1e-12)
        assert letters(text) == _letters_as_defined(text)


def _repetition_as_defined(text):
    grams = [text[i : i + 4] for i in range(len(text) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _letters_as_defined(text):
    counts = {"ARABIC": 0, "CJK": 0, "LATIN": 0, "": 0}
    for character in text:
        if unicodedata.category(character).startswith("L") and character != TATWEEL:
            first = unicodedata.name(character).split()[0]
            counts[first if first in counts else ""] += 1
    return Letters(*counts.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("جواب عربي خالص", 0),
        ("قال إن the cat sat on the mat ثم سكت", 6),
        ("درس في Massachusetts Institute of Technology", 1),
        ("رواية The Hitchhiker's Guide to the Galaxy", 2),
        ("it rains, and it pours", 5),
        ("it rains. It pours", 2),  # a stop ends the stretch
        ("这句话是 this was never translated at all 吧", 6),
        ("one\ntwo\nthree", 1),
    ],
)
def test_small_latin_words_in_one_stretch_are_counted(text, words):
    assert latin_words_in_a_row(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "```\nfor every word in the list print the word\n```",
        "``` \nfor every word in the list that never closes",
        "`git commit all that is here now`",
        "https://example.org/all/the/words",
        "$a word or two in maths$",
        r"\(a word or two in maths\) \[and a word or two more\]",
        '"to be or not to be" “that is the question” «ou bien non»',
        "「to be or not to be」《the old man and the sea》",
    ],
)
def test_code_addresses_formulas_and_quotations_are_latin_by_right(text):
    assert latin_words_in_a_row(text) == 0


@pytest.mark.parametrize("sign", ["\\(", "\\[", "«", "“a", '"', "$", "`", "a@", "ab "])
def test_signs_that_never_close_do_not_take_forever(sign):
    latin_words_in_a_row(sign * 2000)
    assert latin_words_in_a_row(f"{sign * 2000}\n{'word ' * 9}") >= 9
