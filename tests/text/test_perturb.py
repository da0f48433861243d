"""Texts as people type them: what is changed, how much of it, and what is never touched."""

import re
import unicodedata
from dataclasses import replace
from functools import cache
from itertools import chain
from random import Random

import pytest
from conftest import DATA, needs_data

from arabic_llm.data.reading import lexicons
from arabic_llm.data.sample import corpus, questions
from arabic_llm.text import perturb
from arabic_llm.text.normalize import DIACRITICS, TATWEEL, normalize

MARKED = "قَرَأَ الطَّالِبُ كِتَابًا عَنْ مَدِينَةِ القَاهِرَةِ، وَكَتَبَ مَدِينَةٌ فِي الدَّفْتَرِ."
FORMS = perturb.common_forms([MARKED])
ALL = {
    **perturb.PERTURBATIONS,
    "diacritics_added": perturb.words(FORMS),
    **{f"dialect_{v}": perturb.phrases(lexicons.dialect_words(v)) for v in perturb.VARIETIES},
}
each = pytest.mark.parametrize("name", perturb.NAMES)


@cache
def texts():
    """Return real text of every kind that the sample has, and what it lacks: marks, formulas, choices."""
    asked = [item["question"] for item in chain(questions.choice_items(), questions.dialect_items())]
    read = [row.text for row in corpus.documents(150, seed=1) if row.text]
    return [*asked, *read, MARKED, "قال 17: لا بد من H2O و ما زال، يا رب! أ) ب) س + ص = 5 كـتـاب", ""]


def written(name, text, rate, seed=3):
    return ALL[name](text, Random(seed), rate)


def changes(name, text, rate):
    """Return where a text is changed -> what is written there."""
    original = ALL[name]
    noted = {}

    def note(site):
        # As many options as before, so that the same one is drawn.
        return [(site.start(), option) for option in original.options(site)]

    class Noting(str):
        __slots__ = ()

    def options(site):
        return [Noting(f"\0{start}\1{option}\0") for start, option in note(site)]

    marked = replace(original, options=options)(text, Random(3), rate)
    for start, option in re.findall("\0(\\d+)\1(.*?)\0", marked, re.DOTALL):
        noted[int(start)] = option
    return noted


@each
def test_at_rate_0_nothing_changes_and_at_1_all_that_can(name):
    perturbation, num_sites = ALL[name], 0
    for text in texts():
        assert written(name, text, 0) == text
        can = {site.start() for site in perturbation.sites.finditer(text) if perturbation.options(site)}
        assert changes(name, text, 1).keys() == can
        assert (written(name, text, 1) != text) == bool(can)
        num_sites += len(can)
    assert num_sites > (2 if "diacritics" in name else 30)


@each
def test_what_changes_at_a_low_rate_changes_in_the_same_way_at_a_higher_one(name):
    for text in texts():
        few, some, all_of_them = (changes(name, text, rate) for rate in (0.1, 0.3, 1))
        assert few.items() <= some.items() <= all_of_them.items()


@pytest.mark.parametrize("name", ["keyboard", "tatweel", "presentation_forms"])
def test_the_rate_is_the_share_of_what_can_be_changed(name):
    text = " ".join(texts())
    can = len(changes(name, text, 1))
    for rate in (0.1, 0.3, 0.7):
        deviation = (rate * (1 - rate) / can) ** 0.5
        assert len(changes(name, text, rate)) / can == pytest.approx(rate, abs=4 * deviation)


@each
def test_an_option_is_always_another_way_to_write_it(name):
    for text in texts():
        for site in ALL[name].sites.finditer(text):
            assert site.group() not in ALL[name].options(site)


@each
@pytest.mark.parametrize(
    "text",
    [
        "The answer is A) 12 km, B) 3.5 kg; E = mc^2 and https://example.org/1990 中文",
        "أ) ب) ج) د) هـ. س + ص = 5 A. B. C. D.",
        "عند س = ٤ و ص = 3",
        "x1 كتاب2 iOSتطبيق",
        "\\frac{1990}{3} $x_1 + 5$",
        "",
    ],
)
def test_formulas_choices_and_other_scripts_are_left_alone(name, text):
    for rate in (0.3, 1):
        changed = written(name, text, rate)
        if text.startswith("عند"):  # its one word may change, its formula not
            assert changed.endswith(" س = ٤ و ص = 3")
        else:
            assert changed == text


@each
def test_what_is_not_arabic_survives_in_running_text(name):
    text = "كتب أحمد إلى المدرسة الكبيرة رسالة عن H2O و DNA في [site.org] ثم عاد: لماذا ذهب؟"
    foreign = re.findall("[A-Za-z0-9.\\[\\]:؟]+", text)
    assert re.findall("[A-Za-z0-9.\\[\\]:؟]+", written(name, text, 1)) == foreign


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("diacritics_added", "زار مدينة القاهرة", {"زار مَدِينَة القَاهِرَة"}),
        ("diacritics_stripped", "كِتَابٌ جَدِيدٌ", {"كتاب جديد"}),
        ("hamza_dropped", "أحمد مؤمن ببئر", {"احمد مومن ببير"}),
        ("alef_wrong", "أحمد إلى الآن", {"إحمد ألى الآن"}),
        ("alef_wrong", "اسم", {"أسم", "إسم"}),
        ("yeh", "في بيت على", {"فى بيت علي"}),
        ("teh_marbuta", "مدرسة كبيرةٌ وتهم", {"مدرسه كبيرهٌ وتهم"}),
        (
            "tatweel",
            "دار بيت",
            {f"دار {a}" for n in (1, 2, 3) for a in (f"ب{n * TATWEEL}يت", f"بي{n * TATWEEL}ت")},
        ),
        ("swap", "من", {"نم"}),
        ("drop", "بيت في", {"يت في", "بت في", "بي في"}),
        ("digits", "عام 1990 أو ١٤١٠ (17)", {"عام ١٩٩٠ أو 1410 (١٧)"}),
        ("presentation_forms", "بيت", {"\ufe91\ufef4\ufe96"}),
        ("presentation_forms", "سلام", {"\ufeb3\ufefc\ufee1"}),  # lam and alef are one glyph
        ("clitics_detached", "الكتاب وقت بالغة الله", {"ال كتاب وقت بالغة الله"}),
        ("clitics_detached", "للطالب", {"لل طالب"}),
        ("clitics_detached", "والكتاب", {"و الكتاب"}),
        ("clitics_attached", "ما زال و لا بد", {"مازال ولابد"}),
        ("dialect_egyptian", "لماذا كتب؟ وكيف؟", {"ليه كتب؟ وإزاي؟"}),
        ("dialect_levantine", "ما هو الكتاب الذي", {"شو هو الكتاب اللي"}),
        ("dialect_gulf", "الآن", {"الحين"}),
        ("dialect_maghrebi", "كيف لا يوجد", {"كيفاش ما كاين"}),
    ],
)
def test_each_writes_what_it_says(name, text, changed):
    assert {written(name, text, 1, seed) for seed in range(60)} == changed


def test_the_keys_beside_a_letter_are_those_of_the_arabic_101_keyboard():
    (kaf,) = re.finditer("كك", "كك")
    first_letters = {option[0] for option in perturb.PERTURBATIONS["keyboard"].options(kaf)} - {"ك"}
    assert first_letters == set("مطحجزظ")
    (alef,) = re.finditer("أب", "أب")
    near_alef = {
        option[0] for option in perturb.PERTURBATIONS["keyboard"].options(alef) if option[1] == "ب"
    }
    assert near_alef == set("لتعغى")


@pytest.mark.parametrize("text", [MARKED, "زار مدينة القاهرة في عام 1990", "لَا بُدَّ"])
def test_stripping_undoes_adding(text):
    added = written("diacritics_added", text, 1)
    assert written("diacritics_stripped", added, 1) == written("diacritics_stripped", text, 1)
    assert not set(written("diacritics_stripped", text, 1)) & set(DIACRITICS)


@pytest.mark.parametrize(
    ("name", "undo"),
    [
        ("presentation_forms", lambda text: unicodedata.normalize("NFKC", text)),
        ("presentation_forms", normalize),
        ("tatweel", lambda text: text.replace(TATWEEL, "")),
        ("tatweel", normalize),
        ("clitics_detached", lambda text: text.replace(" ", "")),
        ("clitics_attached", lambda text: text.replace(" ", "")),
        *(
            (name, lambda text: normalize(text, "matching"))
            for name in ("diacritics_added", "diacritics_stripped", "hamza_dropped", "alef_wrong", "yeh")
        ),
        *((name, lambda text: normalize(text, "matching")) for name in ("teh_marbuta", "digits")),
    ],
)
def test_what_a_normalisation_folds_is_undone_by_it(name, undo):
    for text in texts():
        assert undo(written(name, text, 1)) == undo(text)


@pytest.mark.parametrize("name", ["yeh", "digits"])
def test_twice_is_once_there_and_back(name):
    for text in texts():
        assert written(name, written(name, text, 1), 1) == text


def test_presentation_forms_are_glyphs_of_their_block_and_nothing_else_changes():
    text = "اللغة العربيّة لا تُهمَل"
    glyphs = written("presentation_forms", text, 1)
    assert not re.search("[\u0621-\u064a]", glyphs)
    assert re.fullmatch("[\ufe70-\ufeff\u064b-\u0652 ]+", glyphs)


def test_a_drop_loses_one_letter_and_a_swap_none():
    for text in texts():
        assert sorted(written("swap", text, 1)) == sorted(text)
        lost = len(text) - len(written("drop", text, 1).replace(TATWEEL, ""))
        assert lost >= len(changes("drop", text, 1))


def test_only_words_that_are_read_in_one_way_are_diacritised_and_their_last_vowel_is_left_off():
    assert FORMS["مدينة"] == "مَدِينَة"  # read with two endings
    assert FORMS["الطالب"] == "الطَّالِب"
    assert FORMS["كتابا"] == "كِتَابًا"  # the alef shows the ending
    forms = perturb.common_forms(["كَتَبَ كُتُبٌ كُتِبَ أَنَّ أَنَّ"])
    assert forms == {"أن": "أَنّ"}  # the shadda is of the word, not of the sentence


@pytest.mark.parametrize("variety", perturb.VARIETIES)
def test_a_dialect_has_some_words_of_its_own_and_none_said_as_in_the_standard_language(variety):
    words = lexicons.dialect_words(variety)
    assert len(words) > 60
    assert all(said and said != word and said == said.strip() for word, said in words.items())


@needs_data
def test_learned_diacritics_are_mostly_right_on_text_that_was_not_learned_from():
    forms = lexicons.diacritised_words(DATA / "tashkeela" / "val.txt")
    held_out = (DATA / "tashkeela" / "test.txt").read_text(encoding="utf-8").splitlines()[:300]
    truth = perturb.common_forms(held_out)
    both = forms.keys() & truth.keys()
    assert len(both) > 1000
    assert sum(forms[word] == truth[word] for word in both) / len(both) > 0.95
