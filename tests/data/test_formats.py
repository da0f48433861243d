"""A file's format is recognised from its first records, or the error says what to set; settings win."""

import json
import re
import shlex
from pathlib import Path

import pytest
from conftest import DATA, compose_config, needs_data

from arabic_llm.config.data import BadRow, ColumnsConfig, DataConfig
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading import column_names, formats, row_builder, unclear_formats
from arabic_llm.data.reading.readers import Broken, Record
from arabic_llm.data.rows import Message
from arabic_llm.errors import DataError

Q, A, WORSE = "ما عاصمة مصر؟", "القاهرة", "دمشق"
USER, ASSISTANT = Message("user", Q), Message("assistant", A)


def role(name, content):
    return {"role": name, "content": content}


def said(name, value):
    return {"from": name, "value": value}


def recognised(*rows, **given):
    found = [Record(f"my.jsonl:{number}", row) for number, row in enumerate(rows, 1)]
    return formats.recognise(Path("my.jsonl"), found, ColumnsConfig(**given))


def refusal(*rows, **given):
    with pytest.raises(DataError) as error:
        recognised(*rows, **given)
    assert "\n" not in str(error.value)
    return str(error.value)


def read(row, **given):
    return row_builder.as_row(Record("my.jsonl:1", row), recognised(row, **given).columns)


def load(tmp_path, rows, **settings):
    path = tmp_path / "my.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return sources.load(DataConfig("local", path=str(path), dev_share=0, **settings), tmp_path, seed=17)


def test_alpaca_with_its_context():
    row = {"instruction": Q, "input": "من كتاب", "output": A}
    assert str(recognised(row)) == "Alpaca (instruction, input, output)"
    assert read(row).messages == (Message("user", f"{Q}\n\nمن كتاب"), ASSISTANT)


def test_alpaca_with_system_and_history():
    row = {
        "instruction": Q,
        "input": "",
        "output": A,
        "system": "أجب بإيجاز",
        "history": [["مرحبا", "أهلا"]],
    }
    assert str(recognised(row)) == "Alpaca (system, instruction, input, history, output)"
    assert [m.content for m in read(row).messages] == ["أجب بإيجاز", "مرحبا", "أهلا", Q, A]
    assert [m.role for m in read(row).messages] == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("history", ["مرحبا", [["مرحبا"]], ["مرحبا", "أهلا"]])
def test_a_history_that_is_no_list_of_pairs_is_a_bad_row(history):
    broken = read({"instruction": Q, "output": A, "history": history})
    assert broken == Broken("my.jsonl:1", "'history' is no list of [question, answer]")


def test_alpaca_wins_over_other_names_beside_it():
    row = {"question": "سؤال آخر", "instruction": Q, "output": A, "answer": "جواب آخر", "text": "نص"}
    assert str(recognised(row)) == "Alpaca (instruction, output)"


@pytest.mark.parametrize("user", ["human", "user"])
@pytest.mark.parametrize("assistant", ["gpt", "assistant", "model", "chatgpt"])
def test_sharegpt_by_every_name_of_its_speakers(user, assistant):
    row = {"conversations": [said("system", "أجب"), said(user, Q), said(assistant, A)]}
    assert str(recognised(row)) == "ShareGPT (conversations)"
    assert read(row).messages == (Message("system", "أجب"), USER, ASSISTANT)


@pytest.mark.parametrize("column", ["messages", "conversation", "conversations"])
def test_messages_by_every_name(column):
    row = {column: [role("user", Q), role("assistant", A)]}
    assert str(recognised(row)) == f"messages ({column})"
    assert read(row).messages == (USER, ASSISTANT)


def test_turns_of_parquet_that_have_all_keys_of_the_file():
    turns = [{**role("user", Q), "from": None, "value": None}, {**said("gpt", A), "role": None}]
    assert read({"messages": turns, "text": None}).messages == (USER, ASSISTANT)


def test_a_speaker_nobody_knows_is_named():
    broken = read({"conversations": [said("human", Q), said("tool", A)]})
    assert broken.reason.endswith("user, assistant, user, assistant: user, tool")


@pytest.mark.parametrize("prompt", ["prompt", "question", "query", "instruction", "Prompt"])
@pytest.mark.parametrize("response", ["completion", "response", "answer"])
def test_prompt_and_completion_by_every_name(prompt, response):
    row = {prompt: Q, response: A}
    assert str(recognised(row)) == f"prompt and completion ({prompt}, {response})"
    assert read(row).messages == (USER, ASSISTANT)


def test_prompt_and_completion_as_turns():
    row = {"prompt": [role("user", Q)], "completion": [role("assistant", A)]}
    assert read(row).messages == (USER, ASSISTANT)


def test_a_context_is_never_lost():
    row = {"question": Q, "context": "من كتاب", "answer": A}
    assert str(recognised(row)) == "prompt and completion (question, context, answer)"


@pytest.mark.parametrize("chosen", column_names.ALIASES["chosen"])
@pytest.mark.parametrize("rejected", column_names.ALIASES["rejected"])
def test_preferences_by_every_name(chosen, rejected):
    row = {"question": Q, chosen: A, rejected: WORSE, "system": "أجب"}
    assert str(recognised(row)) == f"preference pairs (system, question, {chosen}, {rejected})"
    assert read(row).messages == (Message("system", "أجب"), USER, ASSISTANT)  # the chosen one is learned
    assert read(row).rejected == WORSE


def test_sharegpt_preferences():
    row = {"conversations": [said("human", Q)], "chosen": said("gpt", A), "rejected": said("gpt", WORSE)}
    assert str(recognised(row)) == "preference pairs (conversations, chosen, rejected)"
    assert (read(row).messages, read(row).rejected) == ((USER, ASSISTANT), WORSE)


def test_preferences_of_openassistant_go_from_the_best_answer_to_the_worst():
    row = {"instruction": Q, "input": "", "output": [A, "الجيزة", WORSE], "history": []}
    assert str(recognised(row)) == "preference pairs (instruction, input, history, output)"
    assert (read(row).messages, read(row).rejected) == ((USER, ASSISTANT), WORSE)


def test_a_list_of_answers_that_are_all_right_is_no_preference():
    assert read({"question": Q, "answer": [A, "مدينة القاهرة"]}).reason == "'answer' is no text (list)"


def test_preferences_that_bring_their_whole_conversation():
    chosen, rejected = [role("user", Q), role("assistant", A)], [role("user", Q), role("assistant", WORSE)]
    row = {"prompt": Q, "chosen": chosen, "rejected": rejected, "messages": chosen}
    assert str(recognised(row)) == "preference pairs (chosen, rejected)"
    assert (read(row).messages, read(row).rejected) == ((USER, ASSISTANT), WORSE)
    other = [role("user", "ما عاصمة سوريا؟"), role("assistant", WORSE)]
    assert "two different conversations" in read({"chosen": chosen, "rejected": other}).reason


@pytest.mark.parametrize("column", ["text", "content"])
def test_raw_text_by_every_name(column):
    row = {column: "نص طويل"}
    assert str(recognised(row)) == f"raw text ({column})"
    assert (read(row).text, read(row).messages) == ("نص طويل", ())


def test_a_labelled_text_is_raw_text_that_keeps_its_label():
    row = {"text": "جميل جدا", "label": 0}
    assert str(recognised(row)) == "labelled text (text, label)"
    assert (read(row).text, read(row).label) == ("جميل جدا", "0")


def test_columns_that_only_some_rows_have_are_read():
    alone = {"instruction": Q, "output": A}
    assert str(recognised(alone, {**alone, "input": "من كتاب"})) == "Alpaca (instruction, input, output)"


AMBIGUOUS = [
    {"messages": [role("user", Q), role("assistant", A)], "prompt": Q, "response": A},
    {"prompt": Q, "answer": A, "chosen": A, "rejected": WORSE},
    {"prompt": Q, "question": Q, "answer": A},
    {"question": Q, "answer": A, "response": A},
    {"text": "نص", "content": "نص"},
]


@pytest.mark.parametrize("row", AMBIGUOUS, ids="+".join)
def test_two_formats_that_fit_are_named_and_each_cure_works(row):
    error = refusal(row)
    assert error.startswith("my.jsonl:1: fits ")
    assert f"there are: {', '.join(row)}." in error
    cures = re.findall(r"data\.columns\.(\w+)=(\w+)", error)
    assert len(cures) == 2
    read_as = {str(recognised(row, **dict([cure]))) for cure in cures}
    assert len(read_as) == 2
    assert all(name in error for name in read_as)


def test_rows_that_disagree_are_named_and_each_cure_works():
    rows = [{"instruction": Q, "output": A}, {"text": "نص"}]
    error = refusal(*rows)
    assert error.startswith(
        "my.jsonl:2: fits raw text (text), but my.jsonl:1 fits Alpaca (instruction, output); there are:"
        " instruction, output, text. Make two files of it, or set data.columns.prompt=instruction or"
        " data.columns.text=text; the first row is {"
    )
    assert str(recognised(*rows, prompt="instruction")) == "Alpaca (instruction, output)"
    assert str(recognised(*rows, text="text")) == "raw text (text)"


def test_a_format_that_differs_only_by_its_answers_can_be_chosen_too():
    rows = [{"instruction": Q, "output": A}, {"instruction": Q, "output": [A, WORSE]}]
    assert (
        "set data.columns.prompt=instruction data.columns.response=output or data.columns.rejected=output"
        in (refusal(*rows))
    )
    assert recognised(*rows, prompt="instruction", response="output").name == "Alpaca"
    assert recognised(*rows, rejected="output").name == "preference pairs"


def test_a_format_nobody_knows_shows_the_columns_the_row_and_the_cure():
    error = refusal({"سؤال": Q, "b": "ج" * 500})
    assert error.startswith(f"my.jsonl:1: fits none of {unclear_formats.KINDS}; there are: سؤال, b.")
    assert "Set data.columns.prompt=<column> data.columns.response=<column> (or" in error
    view = error.partition("the row is ")[2]
    assert view.startswith('{"سؤال": "ما عاصمة')
    assert len(view) == 200 + len("...")


@pytest.mark.parametrize(
    ("names", "asked", "answer"),
    [
        (("نص سؤال الطالب", "الجواب النموذجي"), "نص سؤال الطالب", "الجواب النموذجي"),
        (("الجواب النموذجي", "نص سؤال الطالب"), "نص سؤال الطالب", "الجواب النموذجي"),
        (("ask", "reply"), "ask", "reply"),
        (("my_answer", "his"), "his", "my_answer"),
    ],
)
def test_columns_of_other_names_are_proposed_as_they_are_typed(names, asked, answer):
    error = refusal({"رقم": 1, names[0]: Q, names[1]: A})
    typed = shlex.split(error.partition(", perhaps ")[2].partition("; the row is ")[0])
    assert typed == [f"data.columns.prompt={asked}", f"data.columns.response={answer}"]


def test_a_column_that_is_not_there_is_answered_with_the_one_that_is_like_it():
    error = refusal({"السؤال": Q, "الجواب": A}, prompt="سؤال", response="الجواب")
    assert error.endswith("Set data.columns.prompt=السؤال")


def test_a_row_that_fits_nothing_is_a_bad_row_where_others_fit():
    rows = [{"instruction": Q, "output": A}, {"note": "ملاحظة"}]
    assert recognised(*rows).name == "Alpaca"
    broken = row_builder.as_row(Record("my.jsonl:2", rows[1]), recognised(*rows).columns)
    assert broken == Broken("my.jsonl:2", "'instruction' is empty")


def test_one_column_that_is_given_finds_the_others():
    assert str(recognised({"ask": Q, "answer": A}, prompt="ask")) == "prompt and completion (ask, answer)"
    assert str(recognised({"prompt": Q, "reply": A}, response="reply")).endswith("(prompt, reply)")
    assert str(recognised({"tweet": "نص", "label": "1"}, text="tweet")) == "labelled text (tweet, label)"
    assert str(recognised({"text": "نص", "class": "1"}, label="class")) == "labelled text (text, class)"
    pair = {"ask": Q, "chosen": A, "rejected": WORSE}
    assert str(recognised(pair, prompt="ask")) == "preference pairs (ask, chosen, rejected)"
    pair = {"prompt": Q, "response": A, "bad": WORSE}
    assert str(recognised(pair, rejected="bad")) == "preference pairs (prompt, response, bad)"
    talk = {"talk": [said("human", Q)], "chosen": said("gpt", A), "rejected": said("gpt", WORSE)}
    assert str(recognised(talk, messages="talk")) == "preference pairs (talk, chosen, rejected)"


def test_what_cannot_be_found_beside_a_given_column_is_asked_for():
    error = refusal({"ask": Q, "reply": A}, prompt="ask")
    assert "there are: ask, reply. Set data.columns.response=<column>; the row is" in error


def test_prompt_and_response_are_read_as_given_and_nothing_beside_them():
    row = {"question": Q, "input": "حاشية", "chosen": A, "rejected": WORSE}
    found = recognised(row, prompt="question", response="chosen")
    assert str(found) == "prompt and completion (question, chosen)"


def test_a_given_column_that_is_nowhere_is_refused():
    row = {"instruction": Q, "output": A}
    assert "no column 'ask'; there are: instruction, output. Set data.columns.prompt=<column>" in (
        refusal(row, prompt="ask")
    )
    assert "Set data.columns.history=<column>" in refusal(row, history="past")


def test_the_log_says_what_is_read_and_what_is_not(tmp_path, caplog):
    caplog.set_level("INFO", "arabic_llm")
    load(tmp_path, [{"instruction": Q, "input": "", "output": A}])
    load(tmp_path, [{"question": Q, "answer": A, "choices": "أ ب"}])
    assert "my.jsonl: read as Alpaca (instruction, input, output)" in caplog.messages[0]
    assert caplog.messages[0].endswith("output)")
    assert caplog.messages[1].endswith("prompt and completion (question, answer); not read: choices")


def test_a_chosen_answer_that_equals_the_rejected_one_is_dropped_with_its_reason(tmp_path):
    rows = load(tmp_path, [{"prompt": Q, "chosen": A, "rejected": r} for r in (WORSE, f"{A} ")])
    assert str(rows.ledger) == "local: 2 rows in, 1 kept, 1 dropped (1 chosen equals rejected)"


def test_rows_with_another_rejected_answer_or_label_are_no_copies(tmp_path):
    pairs = [{"prompt": Q, "chosen": A, "rejected": r} for r in (WORSE, "الجيزة", WORSE)]
    assert [row.rejected for row in load(tmp_path, pairs).train] == [WORSE, "الجيزة"]
    texts = [{"text": "نص", "label": label} for label in "aba"]
    assert [row.label for row in load(tmp_path, texts).train] == ["a", "b"]


def test_a_rejected_answer_is_normalised_and_must_not_be_empty(tmp_path):
    row = {"prompt": Q, "chosen": A, "rejected": f" \ufeff{WORSE} "}  # U+FEFF byte order mark
    assert load(tmp_path, [row]).train[0].rejected == WORSE
    with pytest.raises(DataError, match=r"my\.jsonl:1: 'rejected' is empty"):
        load(tmp_path, [{**row, "rejected": ""}])


def test_a_format_is_recognised_behind_broken_records(tmp_path):
    (tmp_path / "my.jsonl").write_text(
        "[1]\n" * 60 + json.dumps({"prompt": Q, "answer": A}), encoding="utf-8"
    )
    data = DataConfig(
        "local", path=str(tmp_path / "my.jsonl"), dev_share=0, on_bad_row=BadRow.drop, dedup=False
    )
    assert sources.load(data, tmp_path, seed=17).ledger.kept == 1


REAL = {  # rows in, kept, with a rejected answer
    "alpaca_en_demo": (999, 985, 0),
    "alpaca_zh_demo": (1000, 992, 0),
    "arcd": (231, 231, 0),
    "arastories": (996, 996, 0),
    "arastories_egyptian": (1000, 1000, 0),
    "arastories_moroccan": (1000, 1000, 0),
    "belle": (1000, 1000, 0),
    "gsm8k": (7473, 7473, 0),
    "llamafactory_dpo_en": (300, 295, 295),
    "llamafactory_dpo_zh": (300, 289, 289),
    "openassistant_zh": (689, 682, 0),
    "openassistant_zh_pairs": (775, 771, 771),
}


AS_PUBLISHED = ("data.test_share=0", "data.dev_files=[]", "data.test_files=[]")
NO_FILTER = (
    "data/base@data.cleaning=none",
    "data.cleaning.max_chars=null",
    "data.cleaning.max_repetition=null",
    "data.cleaning.min_answer_distance=null",
)


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_real_sets_are_read_whole(name):
    whole = AS_PUBLISHED if name == "arcd" else (*AS_PUBLISHED, *NO_FILTER)
    rows = sources.load(compose_config(f"data={name}", *whole).data, DATA, seed=17)
    kept = rows.train + rows.dev
    ledger = rows.ledger
    assert (ledger.rows_in, ledger.kept, sum(bool(row.rejected) for row in kept)) == REAL[name]
    assert ledger.rows_in == len(kept) + ledger.dropped.total()
    assert set(ledger.dropped) <= {"exact copy", "chosen equals rejected"}


def test_rows_that_the_arabic_page_shows_are_read():
    page = (Path(__file__).parents[2] / "docs" / "ar" / "data_formats.md").read_text(encoding="utf-8")
    rows = [
        json.loads(row)
        for block in re.findall(r"```json\n(.*?)```", page, re.S)
        for row in block.splitlines()
    ]
    assert len(rows) == 8
    for row in rows:
        assert not isinstance(read(row), Broken), row


def test_a_table_without_names_of_columns_says_what_to_write_above_it(tmp_path):
    (tmp_path / "a.csv").write_text("ما عاصمة مصر؟,القاهرة\nكم؟,خمسة\n", encoding="utf-8")
    data = compose_config("data=local", f"data.path={tmp_path / 'a.csv'}").data
    with pytest.raises(DataError, match=r"if these are a row and no names, write a line of names above it"):
        sources.load(data, tmp_path, seed=17)
