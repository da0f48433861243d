"""Trees, articles and numbered turns become rows; what cannot become one says why, and never raises."""

import random
from pathlib import Path

import pytest
from conftest import DATA, needs_data

from arabic_llm.config.data import ColumnsConfig, Shape
from arabic_llm.data.reading import converters, formats, readers, row_builder
from arabic_llm.data.reading.readers import Broken, Record

# A tree: two ranked replies to the first question; to the better one, two further questions.
#   q ─┬─ bad (rank 1)
#      └─ good (rank 0) ─┬─ thanks (no answer)
#                        └─ more ─── last (the only reply: no rank)
TREE = [
    ("q", None, "prompter", "ما عاصمة مصر؟", None),
    ("bad", "q", "assistant", "دمشق", 1),
    ("good", "q", "assistant", "القاهرة", 0),
    ("thanks", "good", "prompter", "شكرا", None),
    ("more", "good", "prompter", "وعاصمة سوريا؟", None),
    ("last", "more", "assistant", "دمشق", None),
]


def message(name, parent, role, text, rank, **values):
    fixed = {"message_id": name, "parent_id": parent, "role": role, "text": text, "rank": rank}
    return {**fixed, "lang": "ar", "deleted": False, "review_result": True, **values}


def tree(**changes):
    """Return the messages of TREE; changes are by id: values to set, or None to take the message out."""
    found = [message(*row) for row in TREE]
    return [
        {**m, **changes.get(m["message_id"], {})}
        for m in found
        if changes.get(m["message_id"], {}) is not None
    ]


def reshaped(shape, rows, language="ar"):
    found = [Record(f"my.jsonl:{number}", row) for number, row in enumerate(rows, 1)]
    return [*converters.reshape(shape, found, language)]


def conversations(rows, language="ar"):
    found = reshaped(Shape.message_trees, rows, language)
    return [[m["content"] for m in item.values["messages"]] for item in found if isinstance(item, Record)]


def broken(shape, rows):
    return [item for item in reshaped(shape, rows) if isinstance(item, Broken)]


def test_a_tree_becomes_its_best_ranked_conversation():
    (row,) = reshaped(Shape.message_trees, tree())
    assert row.place == "my.jsonl:1"
    assert row.values == {
        "messages": [
            {"role": "user", "content": "ما عاصمة مصر؟"},
            {"role": "assistant", "content": "القاهرة"},
            {"role": "user", "content": "وعاصمة سوريا؟"},
            {"role": "assistant", "content": "دمشق"},
        ]
    }


def test_what_a_shape_yields_is_recognised():
    (row,) = reshaped(Shape.message_trees, tree())
    (pair,) = reshaped(Shape.message_tree_pairs, tree())
    assert str(formats.recognise(Path("my.jsonl"), [row], ColumnsConfig())) == "messages (messages)"
    found = formats.recognise(Path("my.jsonl"), [pair], ColumnsConfig())
    assert str(found) == "preference pairs (messages, chosen, rejected)"
    read = row_builder.as_row(pair, found.columns)
    assert ([m.content for m in read.messages], read.rejected) == (["ما عاصمة مصر؟", "القاهرة"], "دمشق")


def test_the_order_of_the_file_does_not_matter():
    assert conversations(tree()[::-1]) == conversations(tree())


def test_a_deleted_or_rejected_message_takes_its_answers_with_it():
    for values in ({"deleted": True}, {"review_result": False}, {"lang": "en"}):
        assert conversations(tree(good=values)) == [["ما عاصمة مصر؟", "دمشق"]]
        assert conversations(tree(more=values)) == [["ما عاصمة مصر؟", "القاهرة"]]
        assert reshaped(Shape.message_trees, tree(q=values)) == []
        assert reshaped(Shape.message_tree_pairs, tree(good=values)) == []


def test_trees_in_other_languages_are_not_read():
    chinese = [{**m, "lang": "zh", "message_id": f"zh {m['message_id']}"} for m in tree()]
    chinese = [{**m, "parent_id": m["parent_id"] and f"zh {m['parent_id']}"} for m in chinese]
    assert len(conversations(tree() + chinese)) == 1
    assert len(conversations(tree() + chinese, "zh")) == 1
    assert len(conversations(tree() + chinese, None)) == 2


def test_of_replies_with_one_rank_the_first_in_the_file_is_the_best():
    assert conversations(tree(good={"rank": 1}))[0][1] == "دمشق"
    (tie,) = reshaped(Shape.message_tree_pairs, tree(good={"rank": 1}))
    assert tie == Broken("my.jsonl:1", "no better reply: all that are ranked share one rank")


def test_a_reply_without_a_rank_is_never_better_than_one_that_has_it():
    assert conversations(tree(bad={"rank": None}))[0][1] == "القاهرة"
    assert conversations(tree(good={"rank": float("nan")}))[0][1] == "دمشق"
    assert conversations(tree(good={"rank": 0.0}))[0][1] == "القاهرة"
    assert reshaped(Shape.message_tree_pairs, tree(bad={"rank": None})) == []


def test_without_ranks_nothing_says_which_reply_is_best():
    (only,) = reshaped(Shape.message_trees, tree(good={"rank": None}, bad={"rank": None}))
    assert only == Broken("my.jsonl:1", "no best reply to the first question: none has a rank")
    other = message("last2", "more", "assistant", "حلب", None)
    assert conversations([*tree(), other]) == [["ما عاصمة مصر؟", "القاهرة"]]


def test_a_question_that_nobody_answered_is_counted():
    (only,) = reshaped(Shape.message_trees, tree()[:1])
    assert only == Broken("my.jsonl:1", "no best reply to the first question: there is none")


def test_pairs_go_from_the_best_to_the_worst_after_all_that_was_said():
    third = message("third", "more", "assistant", "بيروت", 2)
    second = message("second", "more", "assistant", "حلب", 1)
    first, follow = reshaped(Shape.message_tree_pairs, [*tree(last={"rank": 0}), third, second])
    assert (first.place, first.values["chosen"], first.values["rejected"]) == (
        "my.jsonl:1",
        "القاهرة",
        "دمشق",
    )
    assert (follow.place, follow.values["chosen"], follow.values["rejected"]) == (
        "my.jsonl:5",
        "دمشق",
        "بيروت",
    )
    assert [m["content"] for m in follow.values["messages"]] == [
        "ما عاصمة مصر؟",
        "القاهرة",
        "وعاصمة سوريا؟",
    ]


DAMAGED = {
    "no such parent: 'good' is not in this file": ("thanks", tree(good=None)),
    "a message stands twice: 'bad'": ("good", tree(good={"message_id": "bad"})),
    "turns do not alternate: 'user' answers 'user'": ("good", tree(good={"role": "prompter"})),
    "a tree begins with an answer": ("q", tree(q={"role": "assistant"})),
    "'role' is neither prompter nor assistant: 'system'": ("bad", tree(bad={"role": "system"})),
    "'text' is no text: None": ("bad", tree(bad={"text": None})),
    "'text' is no text:  ": ("bad", tree(bad={"text": " "})),
    "'message_id' is no text: 7": ("bad", tree(bad={"message_id": 7})),
    "'parent_id' is no str: ['q']": ("bad", tree(bad={"parent_id": ["q"]})),
    "'lang' is no text: None": ("bad", tree(bad={"lang": None})),
    "'deleted' is no bool: false": ("bad", tree(bad={"deleted": "false"})),
    "'rank' is no whole number: 0.5": ("bad", tree(bad={"rank": 0.5})),
    "'rank' is no whole number: inf": ("bad", tree(bad={"rank": float("inf")})),
    "'rank' is no whole number: True": ("bad", tree(bad={"rank": True})),
    "'rank' is no whole number: best": ("bad", tree(bad={"rank": "best"})),
}


@pytest.mark.parametrize("reason", DAMAGED)
def test_what_is_damaged_is_named_with_its_line(reason):
    name, rows = DAMAGED[reason]
    place = [row[0] for row in TREE if row[0] in (name, *(m["message_id"] for m in rows))].index(name) + 1
    for shape in (Shape.message_trees, Shape.message_tree_pairs):
        assert Broken(f"my.jsonl:{place}", reason) in broken(shape, rows)


@pytest.mark.parametrize("entered", [False, True])
def test_a_circle_is_named_once(entered):
    circle = [
        message("a", "d", "prompter", "س", None),
        message("b", "a", "assistant", "ج", None),
        message("c", "b", "prompter", "س", None),
        message("d", "c", "assistant", "ج", None),
    ]
    tail = [message("e", "d", "prompter", "س", None), message("f", "e", "assistant", "ج", None)]
    rows = [*tail, *circle] if entered else [*circle, *tail]
    (only,) = reshaped(Shape.message_trees, rows)
    assert only == Broken(
        "my.jsonl:1", "answers in a circle: above this message there is no first question"
    )


def test_a_conversation_of_ten_thousand_turns_is_read():
    rows = [message("0", None, "prompter", "0", None)]
    roles = ("prompter", "assistant")
    rows += [message(str(n), str(n - 1), roles[n % 2], str(n), None) for n in range(1, 10_000)]
    random.Random(17).shuffle(rows)
    assert conversations(rows) == [[str(n) for n in range(10_000)]]


def squad(*contexts):
    asked = [{"id": "1", "question": "س", "answers": [{"text": "ج", "answer_start": 0}]}] * 3
    return {"data": [{"title": "عنوان", "paragraphs": [{"context": c, "qas": asked} for c in contexts]}]}


def test_a_paragraph_is_one_text_however_many_questions_it_has():
    rows = reshaped(Shape.paragraphs, [squad("النيل", "الفرات")], None)
    assert rows == [
        Record("my.jsonl:1 article 1 paragraph 1", {"text": "النيل", "title": "عنوان"}),
        Record("my.jsonl:1 article 1 paragraph 2", {"text": "الفرات", "title": "عنوان"}),
    ]
    assert str(formats.recognise(Path("my.jsonl"), rows, ColumnsConfig())) == "raw text (text)"


@pytest.mark.parametrize(
    ("values", "place", "reason"),
    [
        ({"text": "نص"}, "", "'data' is no list of articles"),
        ({"data": {}}, "", "'data' is no list of articles"),
        ({"data": ["نص"]}, " article 1", "'paragraphs' is no list"),
        ({"data": [{"paragraphs": None}]}, " article 1", "'paragraphs' is no list"),
        ({"data": [{"paragraphs": [7]}]}, " article 1 paragraph 1", "'context' is no text"),
        (squad("النيل", None), " article 1 paragraph 2", "'context' is no text"),
        (squad("\n"), " article 1 paragraph 1", "'context' is no text"),
    ],
)
def test_what_is_no_squad_is_named_with_its_place(values, place, reason):
    assert broken(Shape.paragraphs, [values]) == [
        Broken(f"my.jsonl:1{place}", f"not in SQuAD's layout: {reason}")
    ]


def test_a_question_of_a_paragraph_is_a_row_with_it_and_its_first_answer():
    asked = {"question": "أين؟", "answers": [{"text": "هنا", "answer_start": 0}, {"text": "هناك"}]}
    values = squad("النيل هنا")
    values["data"][0]["paragraphs"][0]["qas"] = [asked, {**asked, "question": "متى؟"}]
    rows = reshaped(Shape.paragraph_questions, [values], None)
    assert [row.place for row in rows] == [
        f"my.jsonl:1 article 1 paragraph 1 question {number}" for number in (1, 2)
    ]
    columns = ColumnsConfig(prompt="question", context="context", response="answer")
    read = row_builder.as_row(rows[0], columns)
    assert [m.content for m in read.messages] == ["أين؟\n\nالنيل هنا", "هنا"]


@pytest.mark.parametrize(
    ("asked", "place", "reason"),
    [
        (None, "", "'qas' is no list"),
        ([7], " question 1", "'question' holds no text"),
        ([{"question": "س", "answers": []}], " question 1", "'answers' holds no text"),
        ([{"question": "س", "answers": {}}], " question 1", "'answers' holds no text"),
        ([{"question": "س", "answers": [7]}], " question 1", "'answers' holds no text"),
        ([{"question": "س", "answers": [{"text": " "}]}], " question 1", "'answers' holds no text"),
    ],
)
def test_what_is_no_question_of_squad_is_named_with_its_place(asked, place, reason):
    values = squad("النيل")
    values["data"][0]["paragraphs"][0]["qas"] = asked
    assert broken(Shape.paragraph_questions, [values]) == [
        Broken(f"my.jsonl:1 article 1 paragraph 1{place}", f"not in SQuAD's layout: {reason}")
    ]


def test_numbered_turns_become_a_conversation():
    row = {
        "passage": "نص",
        "question1": "س",
        "answer1": "ج",
        "question2": "و؟",
        "answer2": "نعم",
        "question3": None,
    }
    (found,) = reshaped(Shape.numbered_turns, [row])
    read = row_builder.as_row(found, ColumnsConfig(messages="messages"))
    assert [m.content for m in read.messages] == ["س", "ج", "و؟", "نعم"]
    assert broken(Shape.numbered_turns, [{"question": "س"}]) == [Broken("my.jsonl:1", "no 'question1'")]
    (half,) = reshaped(Shape.numbered_turns, [{"question1": "س"}])
    assert (
        row_builder.as_row(half, ColumnsConfig(messages="messages")).reason
        == "'messages' holds a turn without role and content"
    )


@pytest.mark.parametrize("shape", Shape)
def test_what_a_reader_found_broken_stays_so(shape):
    before = Broken("my.jsonl:1", "not UTF-8")
    assert [*converters.reshape(shape, [before], "ar")] == [before]


@needs_data
def test_the_paragraphs_of_arcd_are_read_whole():
    found = {
        name: [*converters.paragraphs(readers.read(DATA / "arcd" / f"arcd-{name}.json"))]
        for name in ("train", "test")
    }
    assert {name: len(rows) for name, rows in found.items()} == {"train": 231, "test": 234}
    assert not any(isinstance(row, Broken) for rows in found.values() for row in rows)
    asked = [*converters.paragraph_questions(readers.read(DATA / "arcd" / "arcd-train.json"))]
    assert (len(asked), sum(isinstance(row, Broken) for row in asked)) == (693, 0)
