"""Rows in = rows kept + rows dropped by reason; the split follows from the seed and the content."""

import json
from pathlib import Path

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm.config.data import DataConfig
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import locate
from arabic_llm.errors import DataError


def local(tmp_path, rows, *overrides, name="my.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    data = compose_config("data=local", f"data.path={path}", *overrides).data
    return sources.load(data, tmp_path, seed=17)


def alpaca(question, answer, context=""):
    return {"instruction": question, "input": context, "output": answer}


def test_alpaca_columns_become_a_conversation(tmp_path):
    rows = local(tmp_path, [alpaca("اشرح", "نعم", "النص")], "data.dev_share=0")
    assert [m.content for m in rows.train[0].messages] == ["اشرح\n\nالنص", "نعم"]
    assert rows.train[0].id == f"{tmp_path}/my.jsonl:1"


def test_copies_are_dropped_and_the_ledger_closes(tmp_path):
    rows = local(tmp_path, [alpaca("س", "ج"), alpaca("س ", "ج"), alpaca("س", "د")], "data.dev_share=0")
    assert str(rows.ledger) == "local: 3 rows in, 2 kept, 1 dropped (1 exact copy)"
    splits = f"train {len(rows.train)}, dev {len(rows.dev)}, test {len(rows.test)}"
    assert rows.lines() == [f"{rows.ledger}: {splits}"]
    assert len(local(tmp_path, [alpaca("س", "ج")] * 3, "data.dedup=false", "data.dev_share=0").train) == 3


def test_a_row_without_an_answer_stops_the_run_at_its_line(tmp_path):
    with pytest.raises(
        DataError, match=r"my\.jsonl:2: 'output' is empty; mend it, or set data\.on_bad_row=drop"
    ):
        local(tmp_path, [alpaca("س", "ج"), alpaca("س", " ")])


def test_a_number_is_an_answer_and_a_list_is_none(tmp_path):
    rows = local(tmp_path, [{"instruction": "كم؟", "output": 7}], "data.dev_share=0")
    assert rows.train[0].messages[1].content == "7"
    with pytest.raises(DataError, match=r"my\.jsonl:1: 'output' is no text \(list\)"):
        local(tmp_path, [{"instruction": "كم؟", "output": [7]}])


@pytest.mark.parametrize("column", ["input", "history", "النظام"])
def test_what_belongs_to_a_prompt_and_first_stands_below_the_head_is_not_lost(tmp_path, column):
    rows = [{"prompt": f"س {n}", "completion": f"ج {n}", "note": ""} for n in range(55)]
    said = [["قبل", "بعد"]] if column == "history" else "قيل قبله"
    rows += [
        {"prompt": "س", "completion": "ج", "note": "x"},
        {"prompt": "س", "completion": "ج", column: said},
    ]
    with pytest.raises(DataError, match=rf"my\.jsonl:57: '{column}' stands in none of the first 50 rows"):
        local(tmp_path, rows)
    rows[0][column] = [] if column == "history" else ""
    read = local(tmp_path, rows, "data.dev_share=0")
    assert "قبل" in "".join(message.content for row in read.train for message in row.messages)


def test_a_context_beside_a_conversation_is_not_dropped(tmp_path):
    turn = [{"role": "user", "content": "لخص النص"}]
    with pytest.raises(DataError, match=r"'input' has no place beside 'prompt', which is a conversation"):
        local(tmp_path, [{"prompt": turn, "input": "السياق", "completion": "خلاصة"}])


def test_a_label_is_one_name_a_row_and_a_number_is_called_the_same_everywhere(tmp_path):
    rows = [{"text": f"نص {n}", "label": (1.0, 1)[n % 2]} for n in range(4)]
    assert {row.label for row in local(tmp_path, rows, "data.dev_share=0").train} == {"1"}
    with pytest.raises(DataError, match=r"my\.jsonl:1: 'label' is no label \(list\): one a row"):
        local(tmp_path, [{"text": "نص", "label": ["أ", "ب"]}])


def test_a_context_that_is_nowhere_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "arabic_llm")
    local(
        tmp_path, [{"instruction": "س", "output": "ج"}], "data.columns.context=inputt", "data.dev_share=0"
    )
    assert "has no column 'inputt' (data.columns.context): prompts stand alone" in caplog.text


def test_a_data_set_that_is_all_dev_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"my\.jsonl: all 1 rows would be dev or test; lower data.dev_share"
    ):
        local(tmp_path, [alpaca("س", "ج")], "data.dev_share=0.9")


def test_bad_rows_are_counted_with_their_places_when_asked(tmp_path):
    rows = local(tmp_path, [alpaca("س", "ج"), alpaca("س", "")], "data.on_bad_row=drop", "data.dev_share=0")
    assert rows.ledger.as_dict()["dropped"] == {"'output' is empty": 1}
    assert rows.ledger.examples == {"'output' is empty": [f"{tmp_path}/my.jsonl:2"]}


def test_a_missing_column_names_those_there_are(tmp_path):
    with pytest.raises(
        DataError, match="no column 'instruction'; there are: q, a. Set data.columns.prompt="
    ):
        local(tmp_path, [{"q": "س", "a": "ج"}], "data.columns.prompt=instruction")
    rows = local(
        tmp_path,
        [{"q": "س", "a": "ج"}],
        *("data.columns.prompt=q", "data.columns.response=a", "data.dev_share=0"),
    )
    assert len(rows.train) == 1


def test_messages_and_system_columns(tmp_path):
    turns = [{"role": "user", "content": "س"}, {"role": "assistant", "content": "ج"}]
    rows = local(tmp_path, [{"m": turns}], "data.columns.messages=m", "data.dev_share=0")
    assert [m.role for m in rows.train[0].messages] == ["user", "assistant"]
    with pytest.raises(DataError, match=r"turns of 'm' do not go .*: user, user"):
        local(tmp_path, [{"m": [turns[0], turns[0]]}], "data.columns.messages=m")
    with pytest.raises(DataError, match="'m' is no list of turns"):
        local(tmp_path, [{"m": "x"}], "data.columns.messages=m")


def test_raw_text(tmp_path):
    rows = local(tmp_path, [{"t": "نص طويل"}], "data.columns.text=t", "data.dev_share=0")
    assert rows.train[0].text == "نص طويل"
    assert rows.train[0].messages == ()


def test_max_rows_is_counted_too(tmp_path):
    rows = local(tmp_path, [alpaca("س", str(i)) for i in range(5)], "data.max_rows=2", "data.dev_share=0")
    assert str(rows.ledger) == "local: 5 rows in, 2 kept, 3 dropped (3 beyond data.max_rows)"


def test_an_empty_data_set_says_what_became_of_its_rows(tmp_path):
    with pytest.raises(
        DataError, match=r"no row is left: local: 1 rows in, 0 kept, 1 dropped \(1 'output' is empty\)"
    ):
        local(tmp_path, [alpaca("س", "")], "data.on_bad_row=drop")


def test_the_split_is_seeded_and_does_not_depend_on_the_order(tmp_path):
    rows = [alpaca("س", str(i)) for i in range(100)]

    def dev(rows):
        return {r.messages[1].content for r in local(tmp_path, rows, "data.dev_share=0.2").dev}

    assert dev(rows) == dev(rows[::-1])
    assert len(dev(rows)) == 20


def test_a_file_is_found_as_typed_or_under_the_root_and_both_are_named(tmp_path):
    data = compose_config("data=arastories").data
    with pytest.raises(
        DataError, match=r"no file arastories/MSA\.csv nor .*arastories/MSA\.csv; .*ARABIC_LLM_DATA"
    ):
        locate.locate(data, tmp_path)


def test_the_sample_keeps_facts_of_the_test_out_of_training():
    data = compose_config("data=sample").data
    rows = sources.load(data, Path(), seed=1)
    assert len(rows.train) > 4000
    assert len(rows.dev) > 300
    assert all(row.subject for row in rows.train)
    assert not rows.ledger.dropped


@needs_data
def test_the_real_stories_are_all_read():
    rows = sources.load(compose_config("data=arastories").data, DATA, seed=17)
    assert rows.ledger.rows_in == rows.ledger.kept == 996
    assert (len(rows.train), len(rows.dev)) == (896, 50)  # and 50 are for the test


def test_what_may_be_rows_in_a_folder_and_is_not_read_is_said_with_its_cure(tmp_path, caplog):
    place = tmp_path / "mine"
    (place / "deep").mkdir(parents=True)
    (place / "my.jsonl").write_text(json.dumps(alpaca("س", "ج")) + "\n")
    for name in ("a.xls", "b.XLS", "deep/c.docx", "notes.txt", "README.txt", "LICENSE", ".hidden.xls"):
        (place / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (place / "linked").symlink_to(tmp_path / "elsewhere")
    with caplog.at_level("WARNING"):
        rows = sources.load(DataConfig("mine", path=str(place), dev_share=0, test_share=0), tmp_path, 1)
    assert len(rows.train) == 1
    assert [record.getMessage().removeprefix(f"{place}: not read: ") for record in caplog.records] == [
        ".docx files: 1 (save its table as .xlsx, its text as .txt)",
        ".txt files: 1 (data.files=['**/*.txt'] reads them)",
        ".xls files: 2 (of Excel before 2007: save it as .xlsx)",
        f"linked folders: 1 (data.path={place}/linked reads what is in it)",
    ]
    (place / "my.jsonl").unlink()
    with pytest.raises(DataError, match=r"holds no data file .*not read: .xls files: 2"):
        locate.locate(DataConfig("mine", path=str(place)), tmp_path)


def test_texts_of_a_folder_are_read_where_they_are_named(tmp_path):
    for name in ("a.txt", "deep/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    named = DataConfig("mine", path=str(tmp_path), files=["**/*.txt"], dev_share=0, test_share=0)
    assert sorted(row.text for row in sources.load(named, tmp_path, 1).train) == ["a.txt", "deep/b.txt"]


@pytest.mark.parametrize("key", ["files", "dev_files", "test_files"])
def test_patterns_of_a_folder_beside_a_file_are_refused(program, tmp_path, key):
    (tmp_path / "my.jsonl").write_text(json.dumps(alpaca("س", "ج")) + "\n")
    status, said = program("data.path=my.jsonl", f"data.{key}=[dev.jsonl]", "dry_run=true")
    assert status == 2
    assert f"data.{key}=[dev.jsonl] has no meaning beside data.path=my.jsonl, which is one file" in said
    assert "is one file" not in program("data.path=.", f"data.{key}=[dev.jsonl]", "dry_run=true")[1]
