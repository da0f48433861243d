"""A row that holds the test is named as such; everyday words that the test also uses are not."""

import csv
import json

import pytest
from conftest import DATA, needs_data

from arabic_llm.data.cleaning import near_copies
from arabic_llm.data.cleaning.contamination import contaminated, index, reasons_to_drop
from arabic_llm.data.rows import Message, Row, question_answer
from arabic_llm.text.normalize import normalize

WORDS = [f"كلمة{letter}" for letter in "ابتثجحخدذرزسشصضطظعغف"]  # 20 different words
HOLDS = "holds an item of the suite"
SHARES = "shares 13 words with an item of the suite"
SHARES_CHARACTERS = "shares 20 characters with an item of the suite"
ASKS = "its question is an item of the suite"


def text(*words):
    return Row("my.jsonl:1", text=" ".join(words))


@pytest.mark.parametrize("start", [0, 3, 7])
def test_a_long_item_is_found_by_13_words_in_a_row_and_not_by_12(start):
    items = index([" ".join(WORDS)])
    assert contaminated(text("قال", *WORDS[start : start + 13], "ثم"), items) == SHARES
    assert contaminated(text("قال", *WORDS[start : start + 12], "ثم"), items) is None


@pytest.mark.parametrize("length", [5, 8, 12])
def test_a_shorter_item_is_found_whole_and_in_order_only(length):
    items = index([" ".join(WORDS[:length])])
    assert contaminated(text("قال", *WORDS[:length], "ثم"), items) == HOLDS
    assert contaminated(text(*WORDS[1:length], "ثم"), items) is None
    assert contaminated(text(*WORDS[:2], "ثم", *WORDS[2:length]), items) is None
    assert contaminated(text(*reversed(WORDS[:length])), items) is None


def test_an_item_of_two_to_four_words_is_found_as_a_whole_question_only():
    items = index(["ما عاصمة فرنسا؟"])
    assert contaminated(question_answer("r", "ما عاصمة فرنسا", "باريس"), items) == ASKS
    assert contaminated(text("ما", "عاصمة", "فرنسا"), items) == ASKS
    assert contaminated(question_answer("r", "قل لي ما عاصمة فرنسا", "باريس"), items) is None
    assert contaminated(question_answer("r", "اكتب سؤالا", "ما عاصمة فرنسا؟"), items) is None


def test_an_item_of_one_word_condemns_no_row():
    items = index(["نعم", "", "؟"])
    assert contaminated(question_answer("r", "نعم", "نعم"), items) is None
    assert items.num_unsearchable == 3


def test_spelling_variants_are_the_same_item():
    items = index(["أَيُّ المُدُنِ التَّالِيَةِ هي عاصمةُ الأردن؟"])
    assert contaminated(question_answer("r", "اي المدن التاليه هى عاصمه الاردن", "عمان"), items) == HOLDS


def test_words_are_followed_from_turn_to_turn():
    items = index([" ".join(WORDS[:10])])
    system = Message("system", " ".join(WORDS[:4]))
    row = Row("r", (system, Message("user", " ".join(WORDS[4:10])), Message("assistant", "نعم")))
    assert contaminated(row, items) == HOLDS


def test_a_row_of_nothing_and_a_suite_of_nothing_match_nothing():
    assert contaminated(text("!"), index([" ".join(WORDS)])) is None
    assert contaminated(text(*WORDS), index([])) is None


def test_many_rows_together_are_judged_as_each_alone(monkeypatch):
    monkeypatch.setattr(near_copies, "_BLOCK_CHARACTERS", 100)  # a row or two
    items = index([" ".join(WORDS), " ".join(WORDS[3:10]), "ما عاصمة فرنسا"])
    rows = [text(*WORDS[start : start + length]) for start in range(8) for length in (0, 4, 7, 12, 13, 20)]
    rows += [question_answer("r", "ما عاصمة فرنسا", "باريس"), question_answer("r", "قل", "ما عاصمة فرنسا")]
    alone = [contaminated(row, items) for row in rows]
    assert set(alone) == {None, HOLDS, SHARES, ASKS}
    matched = [[normalize(turn, "matching") for turn in row.turns()] for row in rows]
    assert reasons_to_drop(rows, matched, items) == alone


@needs_data
def test_real_exam_questions_are_found_in_a_row_and_not_in_real_stories():
    lines = (DATA / "exams_ar" / "exam_test.jsonl").read_text(encoding="utf-8").splitlines()
    exams = [json.loads(line) for line in lines]
    asked = [" ".join(str(exam[key]) for key in ("question", "A", "B", "C", "D")) for exam in exams]
    items = index(asked)
    assert all(contaminated(question_answer("r", f"أجب: {item}", "أ"), items) for item in asked)
    with (DATA / "arastories" / "MSA.csv").open(encoding="utf-8") as file:
        stories = [row["Story"] for row, _ in zip(csv.DictReader(file), range(40), strict=False)]
    assert [contaminated(Row("r", text=story), items) for story in stories] == [None] * 40


def test_chinese_items_are_found_in_running_text():
    question = "下列关于植物光合作用的说法正确的是哪一项"
    items = index([f"{question} A 释放氧气 B 吸收氧气", "中国的首都是哪里", "中国的首都"])
    assert contaminated(text(f"老师问：{question}？"), items) == SHARES_CHARACTERS
    assert contaminated(text("请问，中国的首都是哪里？"), items) == HOLDS
    assert contaminated(text("植物光合作用释放氧气"), items) is None
    assert contaminated(text("北京是中国的首都，也是"), items) is None  # five characters are three words
    assert contaminated(text("中国的首都"), items) == ASKS


def test_the_stem_of_a_chinese_exam_or_a_slogan_is_no_copy_of_an_item():
    stem = "依次填入画横线部分最恰当的一项是"  # 16 characters: so begin many items of C-Eval
    slogan = "我们要全面建设社会主义现代化国家吗 A 是 B 否"
    items = index([f"她的话很___。{stem} A 朴实 B 朴素 C 浅显 D 简单", slogan])
    assert contaminated(text(f"他___来了。{stem} A 终于 B 忽然"), items) is None
    assert contaminated(text("为全面建设社会主义现代化国家而奋斗"), items) is None
    assert contaminated(text(f"问：她的话很。{stem}，朴实"), items) is not None


@needs_data
def test_real_chinese_rows_are_no_copies_of_real_exams():
    asked = []
    for path in sorted((DATA / "ceval").glob("*/*.csv")):
        with path.open(encoding="utf-8-sig") as file:
            asked += [" ".join(row[key] for key in ("question", *"ABCD")) for row in csv.DictReader(file)]
    items = index(asked)
    written = (DATA / "openassistant_zh" / "oaast_sft_zh.json").read_text(encoding="utf-8")
    rows = [question_answer("r", row["instruction"], row["output"]) for row in json.loads(written)]
    matched = [[normalize(turn, "matching") for turn in row.turns()] for row in rows]
    assert set(reasons_to_drop(rows, matched, items)) == {None}
    assert all(contaminated(text(f"请回答：{item}"), items) for item in asked[::20])


def test_items_typed_on_a_persian_keyboard_are_found():
    items = index(["ما الكتاب الذي يقرؤه علي في المدرسة"])
    typed = "ما الکتاب الذی یقرؤه علی فی المدرسة"
    assert contaminated(question_answer("r", typed, "كتاب"), items) == HOLDS
