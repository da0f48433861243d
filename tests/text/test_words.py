"""Chinese characters are words wherever words are counted or compared; other languages put spaces."""

import pytest

from arabic_llm.text.words import count_words, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("光合作用", ["光", "合", "作", "用"]),
        ("北京 大学", ["北", "京", "大", "学"]),
        ("2008年8月", ["2008", "年", "8", "月"]),
        ("GPT模型，好。", ["gpt", "模", "型", "好"]),
        ("中国の", ["中", "国", "の"]),
        ("\U00020000字", ["\U00020000", "字"]),
        ("القاهِرة الكبرى", ["القاهره", "الكبري"]),
        ("", []),
    ],
)
def test_each_character_of_chinese_is_a_word(text, found):
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "num"),
    [
        ("你好，世界。", 4),
        ("你好, world 3", 4),
        ("وَلَدٌ كبير، جدا", 3),
        ("two words", 2),
        ("كلمة ، أخرى", 3),  # as split has always counted it
        ("", 0),
    ],
)
def test_words_of_running_text_are_counted(text, num):
    assert count_words(text) == num
