"""Labelled rows: published splits, every class known, and what cannot be judged is one line."""

import json

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm.data.preparing import labelled
from arabic_llm.data.rows import Row
from arabic_llm.data.tokens import chat
from arabic_llm.errors import DataError


def load(tmp_path, splits, *overrides):
    """Write (text, label) of each split as JSON Lines and read them as data=local."""
    for name, rows in splits.items():
        lines = (json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows)
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    files = ("data.files=[train.jsonl]", "data.test_files=[test.jsonl]", "data.dev_share=0")
    data = compose_config("task=classify", "data=local", f"data.path={tmp_path}", *files, *overrides).data
    return labelled.load(data, tmp_path, seed=17)


TRAIN = [("كتاب", "ب"), ("كلب", "أ"), ("قط", "أ"), ("قلم", "ب")]
TEST = [("كتب", "ب"), ("كلاب", "أ")]


def test_labels_stand_by_name_or_as_they_are_given(tmp_path):
    data = load(tmp_path, {"train": TRAIN, "test": TEST})
    assert data.labels == ("أ", "ب")
    assert data.classes(data.test) == [1, 0]
    assert data.counts() == {"train": {"أ": 2, "ب": 2}, "dev": {"أ": 0, "ب": 0}, "test": {"أ": 1, "ب": 1}}
    given = load(tmp_path, {}, 'data.labels=["ب","أ"]', "data.labels_are_ordered=true")
    assert (given.labels, given.are_ordered) == (("ب", "أ"), True)
    assert next(given.shares()) == "train: 4 rows: ب 50.0%, أ 50.0%"


def test_texts_that_come_twice_are_counted(tmp_path):
    data = load(tmp_path, {"train": TRAIN, "test": [*TEST, ("كتب", "أ"), ("كِتَاب", "أ"), ("قلم", "ب")]})
    assert data.repetitions() == (1, 1)  # a copy, label and all, is no training row any more
    assert [row.text for row in data.train] == ["كتاب", "كلب", "قط"]
    assert list(data.notes())[1] == "test: 1 texts repeat another, 1 stand in train with another label"


@pytest.mark.parametrize(
    ("train", "test", "overrides", "said"),
    [
        (TRAIN, [("كتب", "ج")], (), r"test.jsonl:1: label 'ج'; no training row has it"),
        (TRAIN, TEST, ('data.labels=["أ","ج"]',), r"train.jsonl:1: label 'ب'; data.labels are: أ, ج"),
        (TRAIN, TEST, ('data.labels=["أ","ب","ج"]',), "data.labels: no training row has 'ج'"),
        (TRAIN[1:3], TEST[1:], (), "every row is 'أ': there is nothing to tell apart"),
        (
            [("كتاب", "كَلب"), ("قط", "كلب"), ("قلم", "كلب")],
            [("كتب", "كلب")],
            (),
            r"labels \(كلب, كَلب\) differ in signs alone and are read as one; 'data.labels=\[\"كلب\"",
        ),
        ([(text, None) for text, _ in TRAIN], TEST, (), "its rows have no label; set data.columns.text="),
        (
            [*TRAIN, ("ورق", "")],
            TEST,
            (),
            r"train.jsonl:5: 'label' is empty; mend it, or set data.on_bad_row",
        ),
        ([*TRAIN, (" ", "أ")], TEST, (), r"train.jsonl:5: 'text' is empty; mend it"),
        (TRAIN, TEST, ("data.test_files=[]", "data.test_share=0"), "no test row; raise data.test_share"),
        (TRAIN, TEST, ("data.columns.label=dialect",), "no column 'dialect'; there are: text, label"),
    ],
)
def test_what_cannot_be_learned_or_judged_is_one_line(tmp_path, train, test, overrides, said):
    with pytest.raises(DataError, match=said) as error:
        load(tmp_path, {"train": train, "test": test}, *overrides)
    assert "\n" not in str(error.value)


def test_rows_without_a_label_are_dropped_and_counted_where_that_is_asked(tmp_path):
    data = load(tmp_path, {"train": [*TRAIN, ("ورق", "")], "test": TEST}, "data.on_bad_row=drop")
    (counted,) = data.ledgers
    assert (counted.kept, counted.dropped) == (6, {"no label": 1})
    assert len(data.train) == 4


def test_an_order_needs_its_labels():
    with pytest.raises(Exception, match="data.labels_are_ordered needs data.labels"):
        compose_config("data.labels_are_ordered=true")


def test_the_sample_has_sentences_in_four_varieties():
    data = labelled.load(compose_config("task=classify").data, DATA, seed=17)
    assert data.labels == ("egyptian", "gulf", "levantine", "msa")
    assert min(data.counts()["train"].values()) > 90
    assert not {row.text for row in data.train} & {row.text for row in data.test}


@needs_data
@pytest.mark.parametrize(
    ("name", "sizes", "largest"),
    [
        ("arsarcasm_dialect", (11_619, 612, 3000), ("msa", 2323)),
        ("arsarcasm_sentiment", (11_597, 610, 3000), ("NEG", 1677)),
        ("dares", (9703, 1380, 2787), ("G10", 1045)),
    ],
)
def test_published_tests_are_kept_whole(name, sizes, largest):
    data = labelled.load(compose_config(f"data={name}").data, DATA, seed=17)
    assert (len(data.train), len(data.dev), len(data.test)) == sizes
    counts = data.counts()["test"]
    assert max(counts.items(), key=lambda item: item[1]) == largest
    assert data.are_ordered == (name == "dares")


def encoded(tokenizer, text, max_length=128):
    return chat.encode_labelled(tokenizer, Row("1", text=text, label="x", source="s"), 3, max_length)


def test_a_labelled_text_is_the_text_and_its_class_stands_at_the_end(tiny_codec):
    row = encoded(tiny_codec.tokenizer, "ذهب الطالب إلى المدرسة")
    assert tiny_codec.tokenizer.decode(row.input_ids) == "ذهب الطالب إلى المدرسة"
    assert row.labels == [chat.IGNORED] * (len(row.input_ids) - 1) + [3]
    assert (row.kind, row.was_cut, row.source) == ("labelled", False, "s")
    short = encoded(tiny_codec.tokenizer, "ذهب الطالب إلى المدرسة", 3)
    assert (short.input_ids, short.was_cut) == (row.input_ids[:3], True)


def test_padding_in_the_text_is_spelt_out(tiny_codec):
    """The head looks for the last token that is no padding: a tweet must not move it."""
    tokenizer = tiny_codec.tokenizer
    row = encoded(tokenizer, f"سلام {tokenizer.pad_token}")
    assert tokenizer.pad_token_id not in row.input_ids
    assert tokenizer.decode(row.input_ids) == f"سلام {tokenizer.pad_token}"


def test_an_encoder_keeps_its_first_and_last_token_when_a_text_is_cut():
    import tiny_bert

    tokenizer = tiny_bert.tokenizer()
    row = encoded(tokenizer, "ذهب الطالب إلى المدرسة في الصباح", 6)
    assert row.was_cut
    assert len(row.input_ids) == 6
    assert (row.input_ids[0], row.input_ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)


def drawn(tmp_path, rows, *overrides):
    lines = (json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows)
    (tmp_path / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    path = f"data.path={tmp_path}/rows.jsonl"
    return labelled.load(compose_config("task=classify", "data=local", path, *overrides).data, tmp_path, 17)


MANY = [(f"نص رقم {n} عن شيء", "نادر" if n < 4 else "أ" if n % 4 else "ب") for n in range(80)]


def test_drawn_splits_have_their_share_of_every_class(tmp_path):
    counts = drawn(tmp_path, MANY, "data.dev_share=0.1", "data.test_share=0.1").counts()
    assert counts["test"] == {"أ": 5, "ب": 2, "نادر": 1}
    assert counts["dev"] == {"أ": 5, "ب": 2, "نادر": 1}


def test_a_class_of_two_rows_is_learned_and_not_judged(tmp_path):
    counts = drawn(tmp_path, [*MANY, ("وحيد أول", "قليل"), ("وحيد ثان", "قليل")]).counts()
    assert {split: of["قليل"] for split, of in counts.items()} == {"train": 2, "dev": 0, "test": 0}


def test_of_very_many_classes_a_split_holds_no_more_than_twice_its_share(tmp_path):
    rows = [(f"نص رقم {n} عن شيء", f"صنف {n // 4}") for n in range(400)]
    found = drawn(tmp_path, rows, "data.dev_share=0.05", "data.test_share=0.05")
    assert (len(found.test), len(found.dev)) == (40, 40)


def test_the_order_of_the_rows_moves_none_to_another_split(tmp_path):
    first, second = (drawn(tmp_path, rows) for rows in (MANY, MANY[::-1]))
    assert {row.text for row in first.test} == {row.text for row in second.test}
    assert {row.text for row in first.dev} == {row.text for row in second.dev}


def test_labels_that_differ_in_a_space_or_a_diacritic_are_one_class(tmp_path):
    rows = [(f"نص رقم {n} عن شيء", "إيجابي" if n % 2 else "سلبي") for n in range(60)]
    rows[0], rows[1] = (rows[0][0], "سَلبي"), (rows[1][0], " إيجابي ")
    found = drawn(tmp_path, rows)
    assert found.labels == ("إيجابي", "سلبي")
    assert found.ledgers[0].changed == {"label spelled 'سلبي'": 1}
    assert found.ledgers[0].examples["label spelled 'سلبي'"] == [f"{tmp_path}/rows.jsonl:1"]
    given = drawn(tmp_path, rows, 'data.labels=["سَلبي","إيجابي"]')
    assert given.counts()["train"].keys() == {"سَلبي", "إيجابي"}


def test_labels_that_are_given_apart_stay_apart(tmp_path):
    rows = [(f"نص رقم {n} عن شيء", "A" if n % 2 else "a") for n in range(60)]
    assert drawn(tmp_path, rows, "data.labels=[a,A]").labels == ("a", "A")
    signs = [(f"نص رقم {n} عن شيء", "+" if n % 2 else "-") for n in range(60)]
    assert drawn(tmp_path, signs).labels == ("+", "-")
