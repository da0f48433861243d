"""Thumbs: an answer that somebody rated up or down, in every spelling, or refused with its place."""

import json

import pytest
from conftest import compose_config
from test_formats import ASSISTANT, USER, A, Q, load, read, recognised, role, said

from arabic_llm.config.data import BadRow, ColumnsConfig
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import row_builder
from arabic_llm.data.reading.readers import Record
from arabic_llm.data.reading.records import Broken
from arabic_llm.data.rows import Row
from arabic_llm.errors import DataError

THUMB_UP, THUMB_DOWN = "\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}"
DARK = "\N{EMOJI MODIFIER FITZPATRICK TYPE-6}"


@pytest.mark.parametrize(
    ("up", "down"),
    [
        *(
            (True, False),
            (1, 0),
            (1.0, 0.0),
            ("1", "0"),
            ("true", "FALSE"),
            ("Yes", "no"),
            (" up ", "Down"),
        ),
        *((THUMB_UP, THUMB_DOWN), (THUMB_UP + DARK, f"{THUMB_DOWN}\ufe0f"), ("thumbs_up", "Thumbs-Down")),
        *(("نعم", "لا"), ("جيّد", "سيّئ"), ("أعجبني", "لم يعجبني"), ("like", "dislike"), ("赞", "踩")),
    ],
)
def test_a_rating_is_up_or_down_however_it_is_said(up, down):
    found = [read({"prompt": Q, "completion": A, "label": value}) for value in (up, down)]
    assert [row.rating for row in found] == ["up", "down"]
    assert found[1].messages == (USER, ASSISTANT)


@pytest.mark.parametrize("name", ["label", "Desirable", "thumbs", "kto_tag", "الإعجاب", "مفيد"])
@pytest.mark.parametrize(
    "row",
    [
        {"prompt": Q, "completion": A},
        {"prompt": [role("user", Q)], "completion": [role("assistant", A)]},
        {"messages": [role("user", Q), role("assistant", A)]},
        {"conversations": [said("human", Q), said("gpt", A)]},
    ],
    ids=["texts", "turns", "messages", "ShareGPT"],
)
def test_a_rating_stands_beside_an_answer_of_every_form(name, row):
    rated = {**row, name: False}
    assert recognised(rated).name == "rated answers"
    assert (read(rated).messages, read(rated).rating) == ((USER, ASSISTANT), "down")


@pytest.mark.parametrize("value", ["maybe", 3, -1, 0.5, "5", "good, but long", [1], "2/5"])
def test_what_is_neither_up_nor_down_is_refused_with_its_place(tmp_path, value):
    rows = [
        {"prompt": f"{Q} {n}", "completion": A, "label": label} for n, label in enumerate((True, value, 0))
    ]
    with pytest.raises(
        DataError, match=r"my\.jsonl:2: 'label' is no rating: .*neither up nor down"
    ) as error:
        load(tmp_path, rows)
    assert "\n" not in str(error.value)
    kept = load(tmp_path, rows, on_bad_row=BadRow.drop)
    assert str(kept.ledger) == "local: 3 rows in, 2 kept, 1 dropped (1 'label' is no rating)"


def test_a_class_is_no_rating():
    row = {"prompt": Q, "completion": A, "label": "geography"}
    assert recognised(row).columns.rating is None
    assert recognised({**row, "label": 1}, label="label").columns.rating is None
    assert recognised({"text": A, "label": 1}).columns.rating is None  # nobody has answered
    assert recognised({"prompt": Q, "label": 1, "chosen": A, "rejected": "لا"}).columns.rating is None


def test_a_column_that_is_named_is_taken_and_another_has_the_better_name():
    row = {"prompt": Q, "completion": A, "verdict": "no", "label": 1, "thumbs": 0}
    assert recognised(row).columns.rating == "thumbs"
    assert read(row, rating="verdict").rating == "down"
    (broken,) = (
        row_builder.as_row(
            Record("my.jsonl:7", {**row, "verdict": "?"}),
            ColumnsConfig(prompt="prompt", response="completion", rating="verdict"),
        ),
    )
    assert isinstance(broken, Broken)
    assert broken.place == "my.jsonl:7"


def test_a_row_that_nobody_rated_has_no_rating_and_two_opinions_are_no_copies(tmp_path):
    rows = [{"prompt": Q, "completion": A, "label": label} for label in (1, 0, None, 1)]
    assert [row.rating for row in load(tmp_path, rows).train] == ["up", "down", ""]


def test_a_rating_is_kept_where_rows_are_written():
    row = Row("r", (USER, ASSISTANT), rating="down")
    assert Row.from_dict(json.loads(json.dumps(row.as_dict()))) == row


def test_a_table_is_read_too(tmp_path):
    (tmp_path / "my.csv").write_text(f"السؤال,الجواب,الحكم\n{Q},{A},نعم\nمن؟,لا أحد,لا\n", encoding="utf-8")
    data = compose_config("data=local", f"data.path={tmp_path / 'my.csv'}", "data.dev_share=0").data
    found = sources.load(data, tmp_path, 1)
    assert {row.rating for row in (*found.train, *found.test)} == {"up", "down"}
