"""Instructions that a program can check, counted as Arabic is written; and Arabic IFEval's four scores."""

import json

import published
import pytest

from arabic_llm.config.suite import SuiteConfig, SuiteTask
from arabic_llm.errors import DataError
from arabic_llm.evaluation import instructions, suites

FOLLOWED = [  # instruction, its arguments, an answer that follows it, one that does not
    ("keywords:existence", {"keywords": ["مدرسة"]}, "هذه مَدْرَسَةٌ.", "هذا كتاب."),
    ("keywords:frequency", {"keyword": "كتاب", "frequency": 2}, "كتاب وكتـاب", "كتاب"),
    (
        "keywords:frequency",
        {"keyword": "كتاب", "frequency": 2, "relation": "less than"},
        "كتاب",
        "كتاب وكتاب",
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["بيت"]}, "بيتنا هنا", "هذا بَيت."),
    ("keywords:letter_frequency", {"letter": "ب", "let_frequency": 2}, "بَابٌ", "بيت"),
    (
        "keywords:letter_list_freq",
        {"letters": ["د", "ر"], "frequency": 2, "relation": "at least", "position": "end"},
        "وَلَدٌ ونهر كبير",
        "كتاب وولد",
    ),
    ("keywords:list_existence", {"keywords": ["نعم", "لا"], "mode": "any"}, "نعم.", "ربما."),
    ("language:response_language", {"language": "ar"}, "هذا PDF جديد", "This is كتاب"),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "at least"},
        "أين هو؟ هنا! قال 3.5 كيلو.",
        "أين هو، هنا؛ قال 3.5 كيلو.",
    ),
    ("length_constraints:number_words", {"num_words": 3}, "ذَهَبَ الـولد هنا", "ذهب، الولد."),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "less than"},
        "ا\u0653من\u06d6 \u200fال\u0640ناس\u200f",  # a madda of its own, a sign of the Quran, turned
        "آمن الناس هنا",
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3},
        "أين؟هنا! عند ٣٫٥ كيلو.",
        "أين هو! عند ٣٫٥ كيلو.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "أول\n***\nثان", "أول\n\nثان"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"nth_paragraph": 2, "num_paragraphs": 2, "first_word": "إذا"},
        "أول هنا\n\nاذا جاء",
        "إذا جاء\n\nأول هنا",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[اسم] و[عنوان]", "[اسم]"),
    ("detectable_content:postscript", {"postscript_marker": "ملاحظة:"}, "نص\nملاحظة: آخر", "نص فقط"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "نص\nP. S. آخر", "نص"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* أ\n- ب", "* أ\n"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "هذا *مهم*", "هذا * * مهم"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "القسم", "num_sections": 2},
        "القسم 1\nأ\nالقسم ٢\nب",
        "القسم 1\nأ",
    ),
    ("detectable_format:constrained_response", {}, "إجابتي هي نعم.", "نعم"),
    ("detectable_format:json_format", {}, '```json\n{"أ": 1}\n```', "{أ: 1"),
    ("detectable_format:title", {}, "<<عنوان>>\nنص", "عنوان\nنص"),
    ("detectable_format:tashkeel", {"tashkeel_name": "Shadda", "count": 2}, "علّم مدرّس", "علّم"),
    ("combination:two_responses", {}, "أول\n******\nثان", "أول\n******\nأول"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "اكتب قصة"}, "أكتب قصّة: كان", "كان يا ما كان"),
    ("startend:end_checker", {"end_phrase": "هل من سؤال؟"}, "نص. هل من سؤال؟", "هل من سؤال؟ نص"),
    ("startend:quotation", {}, "«نص»", "«نص"),
    ("punctuation:no_comma", {}, "نص بلا فاصلة", "نص، بفاصلة"),
]


@pytest.mark.parametrize(
    ("name", "given", "good", "bad"), FOLLOWED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_an_instruction_is_followed_or_not(name, given, good, bad):
    assert instructions.follows(good, name, given)
    assert not instructions.follows(bad, name, given)
    assert not instructions.follows(" \n", name, given)


def test_every_instruction_is_tried_both_ways():
    assert {name for name, *_ in FOLLOWED} == set(instructions.CHECKS)


@pytest.fixture
def asked(tmp_path, offline):
    """Return a function: rows -> the entry that asks them."""

    def load(rows):
        published.write(tmp_path, "inceptionai/Arabic_IFEval", rows, split="train")
        (entry,) = suites.load(
            SuiteConfig("one", {"ifeval_ar": SuiteTask(folder="ifeval_ar", metrics=["prompt_strict"])}),
            tmp_path,
        )
        return entry

    return load


def test_loose_forgives_a_first_line_and_asterisks_and_strict_does_not(asked):
    entry = asked(published.IFEVAL)
    (task,), (first, second) = entry.leaves.values(), entry.documents["ifeval_ar"]
    names = ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")
    said = "حسنا، إليك:\nهذه ثلاث كلمات"
    assert [task.process_results(first, [said])[name] for name in names] == [0, 1, 0.5, 1]
    assert task.process_results(second, ["مدرسة"])["prompt_strict"] == 1
    assert task.process_results(second, [""]) == dict.fromkeys(names, 0.0)


WRONG = {
    "unknown instruction 'keywords:rhyme'; known: keywords:existence,": (["keywords:rhyme"], "[{}]"),
    "1 instructions and 2 kwargs": (["punctuation:no_comma"], "[{}, {}]"),
    "kwargs 'no JSON' is no list of arguments": (["punctuation:no_comma"], "no JSON"),
    "instruction length_constraints:number_words with {}: it lacks 'num_words'": (
        ["length_constraints:number_words"],
        json.dumps([{"num_words": None}]),
    ),
    "the relation 'about' is neither 'at least' nor 'less than'": (
        ["length_constraints:number_words"],
        json.dumps([{"num_words": 3, "relation": "about"}]),
    ),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_cannot_be_checked_is_refused_before_a_model_is_asked(asked, said):
    ids, kwargs = WRONG[said]
    row = {"key": 1, "prompt": "اكتب.", "instruction_id_list": ids, "kwargs": kwargs}
    with pytest.raises(DataError) as refused:
        asked([row])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
