"""The three profiles keep what spelling needs and fold what matching needs."""

import unicodedata
from random import Random

import pytest

from arabic_llm.text.normalize import PROFILES, STEPS, changes, normalize, signs

ALEF_HAMZA, TEH_MARBUTA, MAQSURA = "\u0623", "\u0629", "\u0649"
FATHA, SHADDA, TATWEEL, ZWNJ, LRM, RLO, BOM = (
    "\u064e",
    "\u0651",
    "\u0640",
    "\u200c",
    "\u200e",
    "\u202e",
    "\ufeff",
)


def test_decoder_never_folds_letters_or_diacritics():
    word = f"{ALEF_HAMZA}م{FATHA}{SHADDA}ة مستشفى"
    assert ALEF_HAMZA in normalize(word)
    assert TEH_MARBUTA in normalize(word)
    assert MAQSURA in normalize(word)
    assert FATHA in normalize(word)


def test_decoder_puts_marks_in_nfc_order():
    assert normalize(f"م{SHADDA}{FATHA}") == f"م{FATHA}{SHADDA}"


def test_presentation_forms_are_folded_and_nothing_outside_their_blocks():
    assert normalize("\ufefb") == "لا"  # ligature lam-alef
    assert normalize("\ufdf2") == "الله"
    assert normalize("\u00b2 \uff21") == "\u00b2 \uff21"  # superscript two, full-width A


@pytest.mark.parametrize(
    "text",
    [
        f"م{SHADDA}{FATHA} ا{SHADDA}{FATHA}\u0654 ا{SHADDA}\u0655 م{SHADDA}{FATHA}\u064b\u0650 {SHADDA}",
        f"你好，世界。！\uff01\u3099 e\u0301 ！{FATHA} \u2026\u2025",
    ],
)
def test_what_is_mended_part_by_part_is_what_unicode_makes_of_the_whole(text):
    assert STEPS["nfc"](text) == unicodedata.normalize("NFC", text)
    assert STEPS["nfkc"](text) == unicodedata.normalize("NFKC", text) != text


@pytest.mark.parametrize("profile", PROFILES)
def test_ascii_text_is_read_as_by_every_step_in_turn(profile):
    text = expected = "".join(map(chr, range(128))) + " A@b -1,000.5 .5 5. _-5 \r\n \n www.x"
    for step in PROFILES[profile]:
        expected = STEPS[step](expected)
    assert normalize(text, profile) == expected


def test_tatweel_bom_and_bidi_overrides_go():
    assert normalize(f"{BOM}كت{TATWEEL}{TATWEEL}اب {RLO}x") == "كتاب x"


def test_zwnj_u200c_and_lrm_u200e_are_kept_in_running_text():
    assert normalize(f"می{ZWNJ}روم{LRM}") == f"می{ZWNJ}روم{LRM}"


def test_decoder_keeps_space_inside_a_text():
    code = "def s(xs):\n    t = 0\n\tfor x in xs:\n\n\n        t += x\n    return t"
    verse = "قفا نبك من ذكرى حبيب ومنزل      بسقط اللوى بين الدخول فحومل\n\n\u3000أ\u00a0ب"
    listed = '1. أ\n   - ب\n   - ج  \n{\n  "a":   [1,\t2]\n}'
    assert [normalize(text) for text in (code, verse, listed)] == [code, verse, listed]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\r\nb\rc\r\n", "a\nb\nc"),
        ("\n \n a \n\n", "a"),
        (" الدوحة\u00a0", "الدوحة"),
        ("    return x", "    return x"),
        ("\n\n\treturn x\n", "\treturn x"),
        (" \n\t ", ""),
    ],
)
def test_decoder_makes_line_ends_one_kind_and_keeps_nothing_around_a_text_but_indentation(text, kept):
    assert normalize(text) == kept


def test_white_space_is_one_space_where_nothing_is_learned_to_be_written():
    assert normalize("  a \u00a0 b\t\tc\r\n d ", "encoder") == "a b c\n d"
    assert normalize("  a \u00a0 b\t\tc\r\n d ", "matching") == "a b c d"


def test_paragraphs_stay_in_single_spaces():
    assert STEPS["single_spaces"]("  a \u00a0 b\t\tc \r\n\n\n d ") == "a b c\n\nd"
    assert STEPS["single_spaces"]("a\nb") == "a\nb"
    assert STEPS["single_spaces"]("a \u2028\n\tb") == "a \n b"
    assert STEPS["single_spaces"]("a \n \u3000\x1c \r \n b\x85\n\nc") == "a\n\nb\n\nc"


def test_whatever_python_calls_a_space_is_one():
    spaces = [c for c in map(chr, range(0x110000)) if c.isspace() and c not in "\n\r"]
    assert len(spaces) > 20
    assert {STEPS["single_spaces"](f"a{space}b") for space in spaces} == {"a b"}


def test_encoder_strips_diacritics_and_names_contacts():
    text = f"م{FATHA}رحبا @ahmad اكتب إلى a.b@c.org أو https://x.org/y"
    assert normalize(text, "encoder") == "مرحبا [مستخدم] اكتب إلى [بريد] أو [رابط]"


def test_encoder_strips_hamza_marks_that_stand_alone_but_not_letters():
    assert normalize("ا\u0655", "encoder") == "\u0625"  # NFC made one letter of them
    assert normalize("ب\u0654", "encoder") == "ب"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("إسلام أباد", "اسلام اباد"),
        ("القاهِرة", "القاهره"),
        ("١٢٣", "123"),
        ("على، مهل!", "علي مهل"),
        (f"كت{TATWEEL}اب", "كتاب"),
        ("ＡＢＣ", "abc"),
    ],
)
def test_matching_makes_one_of_what_means_one(one, other):
    assert normalize(one, "matching") == normalize(other, "matching")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("کتاب علی", "كتاب علي"),  # keheh and Farsi yeh, as phones and Persian keyboards type them
        ("مدرسۃ", "مدرسة"),
        ("قاهـ\u06c1رە", "قاههره"),
        ("كت\u00adاب", "كتاب"),  # soft hyphen
        ("كت\u200bا\u200dب\u2060", "كتاب"),  # zero width space, joiner, word joiner
        ("نعم\ufe0f", "نعم"),
        ("ن\u034fعم\U000e0101", "نعم"),  # a joiner of graphemes, another kind of selector
        ("\u0672حمد \u0673لى را\u0674", "أحمد إلى را"),  # wavy hamzas, a high one
        ("شۓ", "شئ"),
    ],
)
def test_matching_reads_other_keyboards_and_invisible_characters_as_what_they_look_like(one, other):
    assert normalize(one, "matching") == normalize(other, "matching")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("بِسۡمِ", "بسم"),  # the sukun of printed Qurans
        ("أُو۟لَـٰٓئِكَ", "أولئك"),
        ("هُوَۚ مِنۢ بَعۡدِ ۖ لَهُۥ", "هو من بعد له"),
        ("محمد\u0610 قال", "محمد قال"),
        ("كِتَٰبٞ", "كتب"),
        ("عَلَى\u08f0", "على"),
    ],
)
def test_matching_reads_the_qurans_spelling_without_its_signs(one, other):
    assert normalize(one, "matching") == normalize(other, "matching")


def test_signs_that_are_seen_still_part_words():
    assert normalize("الرحيم\u06dd1", "matching") == "الرحيم 1"


def test_matching_keeps_sums_apart():
    assert len({normalize(text, "matching") for text in ("4 + 3", "4 − 3", "4 × 3", "4 ÷ 3")}) == 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("-5", "5", False),
        ("-5", "\u22125", True),
        ("3.5", "35", False),
        ("3\u066b5", "3.5", True),
        ("1,000", "1000", True),
        ("12-5", "12 5", True),
        ("نعم.", "نعم", True),
        ("5.", "5", True),
        ("3.\u0665", "3.5", True),
        ("1\u066c000", "1000", True),
        ("3\u066c5", "3 5", True),
        ("1,000,0000", "1000 0000", True),
        ("a_-5", "a 5", True),
        ("a -5", "a 5", False),
        ("50%", "50", False),
        ("50 %", "50%", True),
        ("%50", "50%", True),
        ("\u0665\u0660\u066a", "50%", True),
        ("12.5%", "125%", False),
        ("نسبة %", "نسبة", True),
        ("C#", "C", False),
        (".5", "5", False),
        (".5", "0.5", True),
        ("-.5", "-0.5", True),
        ("\u066b\u0665", "0.5", True),
        ("v.5", "v 5", True),
        ("A-", "A", False),
        ("AB\u2212", "AB-", True),
        ("A- Paris", "A Paris", True),  # the letter of an option
        ("#مصر", "مصر", True),
        ("5\u00b2", "52", False),
        ("5\u00b2", "5^2", True),
        ("10\u207b\u00b3", "10^-3", True),
        ("10\u207b\u00b3", "103", False),
        ("م\u00b2", "م2", True),  # as a square metre is typed
        ("\u20135", "5", False),  # an en dash, which text programs put for a hyphen
        ("\u20135", "-5", True),
        ("\u20105", "-5", True),
        ("A\u2013", "A", False),
        ("1990\u20131995", "1990-1995", True),
        ("50\u2030", "50", False),
        ("_#مصر", "مصر", True),
    ],
)
def test_matching_reads_numbers_as_numbers(one, other, same):
    assert (normalize(one, "matching") == normalize(other, "matching")) is same


def test_the_steps_that_change_a_text_are_named():
    assert changes(f"كت{TATWEEL}اب\r\nم{SHADDA}{FATHA}") == ["tatweel", "nfc", "whitespace"]
    assert changes(f"كت{TATWEEL}اب\r\n", without=["tatweel"]) == ["whitespace"]
    assert changes("كتاب") == []


@pytest.mark.parametrize(
    "text",
    [
        f"سنة 583ه{TATWEEL}",
        f"أ ب ج د ه{TATWEEL}",
        f"ل{TATWEEL} 5 ({TATWEEL}ون)",
        f"ال{TATWEEL}PDF",
        f"( {TATWEEL}{FATHA} )",
    ],
)
def test_tatweel_that_shows_a_letters_shape_is_kept_as_evaluation_keeps_it(text):
    assert normalize(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("كت\ufe76ب", f"كت{FATHA}ب"),  # an isolated fatha: a space and the mark, says NFKC
        ("كت\ufe77ب", f"كت{FATHA}ب"),  # a medial one: a tatweel and the mark
        ("كت\ufc60ب", f"كت{FATHA}{SHADDA}ب"),
        ("محمد\ufdfaقال", "محمد صلى الله عليه وسلم قال"),
        ("\ufe70", "\u064b"),
    ],
)
def test_a_mark_in_a_presentation_form_does_not_tear_its_word(text, kept):
    assert normalize(text) == kept
    assert normalize(text, "matching") == normalize(kept, "matching")


@pytest.mark.parametrize(
    ("one", "other"), [("كَتَبَ", "كُتِبَ"), ("a[0]", "a(0)"), ("-5", "5"), ("x*y", "x y"), ("😀", "😢")]
)
def test_signs_tell_apart_what_means_another_thing(one, other):
    assert signs(one) != signs(other)


@pytest.mark.parametrize(
    "text", ["القاهرة.", "«القاهرة»", "نعم، بالتأكيد!", "是的。", "Cairo", f"ل{LRM}ا{ZWNJ}"]
)
def test_what_ends_parts_or_quotes_words_is_no_sign_of_meaning(text):
    assert signs(text) == ""


def test_each_step_can_be_left_out():
    assert normalize(f"كت{TATWEEL}اب", "decoder", without=["tatweel"]) == f"كت{TATWEEL}اب"


@pytest.mark.parametrize("profile", ["decoder", "encoder"])
def test_a_second_pass_changes_nothing(profile):
    marks = f"{FATHA}{SHADDA}\u0653\u0654\u0670\u0301\ufe76\ufe77"
    hard = f"ابه{TATWEEL}{BOM}{RLO}{marks}\ufdfa\ufef7éa \u00a0\n\r\t中"
    draw = Random(17)
    for _ in range(5000):
        text = "".join(draw.choices(hard, k=draw.randint(1, 9)))
        once = normalize(text, profile)
        assert normalize(once, profile) == once, ascii(text)


def test_chinese_is_left_as_it_is():
    assert normalize("你好，世界。") == "你好，世界。"
