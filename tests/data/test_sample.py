"""The embedded data is what it says: facts split once, stated in pretraining, asked only where allowed."""

import re
from collections import Counter

import pytest

from arabic_llm.data.sample import corpus, questions
from arabic_llm.data.sample.facts import SPLITS, all_facts, split_of, table


def test_facts_have_one_answer_and_one_split():
    facts = all_facts()
    asked = Counter((f.relation, f.x) for f in facts)
    assert max(asked.values()) == 1
    assert {f.split for f in facts} == set(SPLITS)
    splits = {}
    for fact in facts:
        assert splits.setdefault(fact.key, fact.split) == fact.split


def test_the_split_never_changes():
    capitals = [split_of(f"capital/{x}") for x in ("مصر", "فرنسا", "اليابان", "كرواتيا")]
    assert capitals == ["train", "train", "dev", "test"]  # the built-in model and its suite stand on these


def test_no_test_fact_is_asked_in_training():
    asked = {row.id.split("/")[1] + "/" + row.id.split("/")[2] for row in questions.training_rows("train")}
    test = {f"{f.relation}/{f.x}" for f in all_facts() if f.split == "test"}
    assert not asked & test


def test_a_sum_and_its_turned_form_are_one_fact():
    splits = {f.x: f.split for f in all_facts() if f.relation == "sum"}
    turned = [
        (x, " ".join(reversed(x.split())))
        for x in splits
        if x.count(" ") == 2 and not {"−", "ناقص"} & set(x.split())
    ]
    assert len(turned) > 300
    assert all(splits[x] == splits[other] for x, other in turned)


def test_no_training_question_stands_in_the_suite():
    train = {row.messages[0].content for row in questions.training_rows("train")}
    for items in (questions.choice_items(), questions.short_items(), questions.dialect_items()):
        assert not train & {item["question"] for item in items}


def test_every_fact_is_stated_in_the_pretraining_text_and_never_asked():
    text = "\n".join(row.words() for row in corpus.documents(12_000, 17))
    phrases = questions.phrases()
    for fact in all_facts():
        assert any(s.format(x=fact.x, y=fact.y) in text for s in phrases[fact.relation]["statements"]), fact
    asked = [row.messages[0].content for split in SPLITS for row in questions.training_rows(split)]
    assert not [q for q in asked if q in text]


def test_choices_are_four_and_the_answer_is_among_them_once():
    for items in (questions.choice_items(), questions.dialect_items(), questions.known_items()):
        for item in items:
            assert len(item["choices"]) == len(set(item["choices"])) == 4
            assert 0 <= item["gold"] < 4


def test_positions_of_the_answer_are_even():
    for items in (questions.choice_items(), questions.known_items()):
        counts = Counter(item["gold"] for item in items).values()
        assert max(counts) - min(counts) <= 1


def test_every_phrase_names_its_slots_and_every_subject():
    for relation, phrase in questions.phrases().items():
        assert {"subject", "opening", "statements", "questions"} == set(phrase), relation
        assert all("{x}" in s and "{y}" in s for s in phrase["statements"])
        assert set(phrase["questions"]) == set(questions.VARIETIES)
        assert all("{x}" in q and "{y}" not in q for qs in phrase["questions"].values() for q in qs)
    assert {fact.relation for fact in all_facts()} == set(questions.phrases())


def test_the_four_varieties_of_a_frame_differ():
    for frame in table("dialects"):
        assert len(set(frame.values())) == 4, frame
        slots = [set(re.findall(r"{\w+}", text)) for text in frame.values()]
        assert all(s == slots[0] for s in slots), frame


def test_generation_is_deterministic():
    assert list(corpus.documents(50, 3)) == list(corpus.documents(50, 3))
    assert list(corpus.documents(50, 3)) != list(corpus.documents(50, 4))
    assert questions.training_rows("train") == questions.training_rows("train")


@pytest.mark.parametrize("script", ["٣ + ٤", "3 + 4", "ثلاثة زائد أربعة"])
def test_a_sum_is_said_in_three_ways_of_one_split(script):
    (fact,) = [f for f in all_facts() if f.x == script]
    assert fact.key == "sum/3+4"
