"""A document of each benchmark is read into one Question, whatever its columns are called."""

import pytest

from arabic_llm.evaluation.question import Question

DOCUMENTS = {
    "arabicmmlu": (
        {
            "Question": "س",
            "Context": "ن",
            "Subject": "Biology",
            "Level": "High",
            "Option 1": "أ",
            "Option 2": 2,
        },
        Question("س", "ن", "Biology", "High School", ("أ", "2")),
    ),
    "exams": (
        {"question": "س", "subject": "Physics", "A": "1", "B": "2", "C": "3", "D": "4"},
        Question("س", subject="Physics", options=("1", "2", "3", "4")),
    ),
    "belebele": (
        {"flores_passage": "ن", "question": "س", "mc_answer1": "أ", "mc_answer2": "ب"},
        Question("س", "ن", options=("أ", "ب")),
    ),
    "dares": ({"text": "ن", "grade": 3, "subject": "f"}, Question("ن", subject="f", level="Grade 03")),
    "hellaswag": ({"ctx": "a man", "choices": ["x", "y"]}, Question("a man", options=("x", "y"))),
    "arcd": ({"question": "س", "context": None}, Question("س")),
    "unknown": ({"sentence": "س"}, Question("")),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_the_same_question_in_any_columns(name):
    document, question = DOCUMENTS[name]
    assert Question.of(document) == question
