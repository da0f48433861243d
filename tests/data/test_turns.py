"""Turns as other tools write them: what is marked is not learned, what nothing reads is refused."""

import json

import pytest
from conftest import compose_config
from tokenizers_like import NAMES, codec_of

from arabic_llm.config.data import BadRow, ColumnsConfig, DataConfig, Overflow
from arabic_llm.data.preparing import sources
from arabic_llm.data.reading.readers import Broken, Record
from arabic_llm.data.reading.row_builder import as_row
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat, token_rows
from arabic_llm.errors import DataError

Q, WRONG, CHECK, RIGHT = "كم خمسة زائد ستة؟", "الناتج أربعة عشر", "راجع حسابك", "الناتج أحد عشر"


def conversation(**marks):
    """Return two questions, the first answered wrong and marked so."""
    roles = ("user", "assistant", "user", "assistant")
    turns = [{"role": r, "content": c} for r, c in zip(roles, (Q, WRONG, CHECK, RIGHT), strict=True)]
    turns[1] |= marks
    return {"messages": turns}


def read(values, **columns):
    return as_row(Record("my.jsonl:7", values), ColumnsConfig(**{"messages": "messages", **columns}))


def load(tmp_path, *rows, **settings):
    path = tmp_path / "my.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    settings = {"path": str(path), "dev_share": 0, "test_share": 0} | settings
    return sources.load(DataConfig("local", **settings), tmp_path, seed=17)


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}, {"weight": 0.0}])
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_marked_is_context_in_every_template(name, mark, tmp_path):
    row = load(tmp_path, conversation(**mark)).train[0]
    (encoded,) = chat.encode(codec_of(name), row, 10_000, Overflow.drop)
    decode = codec_of(name).tokenizer.decode
    learned = [decode(ids) for supervised, ids in chat.spans(encoded) if supervised]
    assert len(learned) == 1
    assert RIGHT in learned[0]
    assert WRONG in decode(encoded.input_ids)
    whole = chat.encode(codec_of(name), load(tmp_path, conversation()).train[0], 10_000, Overflow.drop)
    assert encoded.input_ids == whole[0].input_ids


@pytest.mark.parametrize("mark", [{"weight": 1}, {"train": True}, {"loss": True}, {"weight": None}])
def test_an_answer_that_is_marked_as_learned_is_learned(mark):
    assert read(conversation(**mark)).messages[1] == Message("assistant", WRONG)


def test_the_mark_stays_through_cleaning_and_what_task_prepare_writes(tmp_path):
    (row,) = load(tmp_path, conversation(weight=0)).train
    assert [m.supervised for m in row.messages] == [True, False, True, True]
    assert Row.from_dict(json.loads(json.dumps(row.as_dict()))) == row
    assert [turn["weight"] for turn in row.as_dict()["messages"]] == [0, 0, 0, 1]
    assert read(row.as_dict()).messages == row.messages  # read by name, like any other file


def test_rows_of_task_prepare_without_weights_are_learned_whole():
    turns = [{"role": "user", "content": Q}, {"role": "assistant", "content": RIGHT}]
    row = Row.from_dict({"id": "r", "messages": turns, "text": None})
    assert all(m.supervised for m in row.messages)


def test_rows_that_differ_only_in_what_is_learned_are_no_copies_and_no_cache_takes_them_for_one(tmp_path):
    rows = load(tmp_path, conversation(weight=0), conversation()).train
    assert len(rows) == 2
    assert sources.content_hash(rows[:1]) != sources.content_hash(rows[1:])


def test_task_prepare_counts_as_answers_only_what_is_learned(tmp_path):
    from arabic_llm.data.preparing.shards import count

    def letters(texts):
        return list(map(len, texts))

    (row,) = load(tmp_path, conversation(weight=0)).train
    ((instruction, answer, _),) = count([row], letters).tolist()
    assert (instruction, answer) == (len(Q + WRONG + CHECK), len(RIGHT))


def test_a_conversation_of_which_nothing_is_learned_is_a_bad_row(tmp_path):
    row = {
        "messages": [*conversation()["messages"][:1], {"role": "assistant", "content": RIGHT, "weight": 0}]
    }
    assert read(row) == Broken("my.jsonl:7", "no answer is learned: each is marked so")


def test_what_is_cut_leaves_something_to_learn():
    marked = Message("assistant", WRONG, supervised=False)
    turns = (Message("user", Q), Message("assistant", RIGHT), Message("user", Q * 50), marked)
    long = Row("r", turns)
    said = chat.encode(codec_of(NAMES[0]), long, 120, Overflow.cut)
    assert said == "answer alone fills task.max_length=120"


def test_a_mark_that_is_neither_0_nor_1_is_refused():
    assert (
        read(conversation(weight=0.5)).reason == "'messages' holds a turn with weight=0.5: neither 0 nor 1"
    )
    assert (
        read(conversation(train="no")).reason == "'messages' holds a turn with train='no': neither 0 nor 1"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tool_calls", [{"function": {"name": "f", "arguments": "{}"}}]),
        ("reasoning_content", "أربعة ثلاث مرات"),
        ("images", ["a.jpg"]),
        ("name", "سعيد"),
        ("function_call", {"name": "f"}),
    ],
)
def test_what_nothing_reads_in_a_turn_is_refused_by_name_and_dropped_when_asked(key, value, tmp_path):
    row = conversation(**{key: value})
    with pytest.raises(DataError) as error:
        load(tmp_path, row)
    assert str(error.value) == (
        f"{tmp_path}/my.jsonl:1: 'messages' holds a turn with keys that nothing reads: {key};"
        " take them out, or name them in data.columns.unread_keys; mend it, or set data.on_bad_row=drop"
    )
    kept = load(tmp_path, row, conversation(), on_bad_row=BadRow.drop)
    assert (len(kept.train), kept.ledger.dropped.total()) == (1, 1)
    assert read(row, unread_keys=[key]) == read(conversation())


def test_keys_of_a_turn_without_a_value_are_none():
    marks = {"tool_calls": None, "images": [], "name": "", "reasoning_content": None}
    assert read(conversation(**marks)) == read(conversation())


@pytest.mark.parametrize("column", ["images", "tools", "functions", "image", "documents"])
def test_pictures_and_tools_beside_the_turns_are_refused(column):
    found = read({**conversation(), column: ["a.jpg"]})
    assert found.reason.startswith(f"nothing reads what stands beside its turns: {column}; take them out")
    assert read({**conversation(), column: ["a.jpg"]}, unread_keys=[column]) == read(conversation())
    for nothing in (None, [], "[]"):
        assert read({**conversation(), column: nothing}) == read(conversation())


def test_unread_keys_are_set_on_the_command_line():
    config = compose_config("data=local", "data.path=x.jsonl", "data.columns.unread_keys=[name]")
    assert config.data.columns.unread_keys == ["name"]


@pytest.mark.parametrize(
    ("written", "role"),
    [
        ("User", "user"),
        ("HUMAN", "user"),
        (" user ", "user"),
        ("prompter", "user"),
        ("Assistant", "assistant"),
        ("bot", "assistant"),
        ("gpt", "assistant"),
        ("AI", "assistant"),
        ("developer", "system"),
        ("System", "system"),
    ],
)
def test_roles_are_read_under_all_their_names(written, role):
    turns = [{"role": "system", "content": "أجب بإيجاز"}, *conversation()["messages"]]
    place = {"system": 0, "user": 1, "assistant": 2}[role]
    assert read({"messages": turns}) == read(
        {"messages": [*turns[:place], {**turns[place], "role": written}, *turns[place + 1 :]]}
    )


def test_a_turn_without_a_role_or_of_a_tool_is_refused():
    none = [{"content": Q}, {"content": RIGHT}]
    assert read({"messages": none}).reason == "'messages' holds a turn without a role"
    tool = [*conversation()["messages"], {"role": "tool", "content": "3"}]
    assert "tool" in read({"messages": tool}).reason


def test_an_empty_system_turn_is_none_and_an_empty_answer_is_refused():
    turns = conversation()["messages"]
    assert read({"messages": [{"role": "system", "content": " "}, *turns]}) == read({"messages": turns})
    empty = [*turns[:3], {"role": "assistant", "content": ""}]
    assert read({"messages": empty}).reason == "'messages' holds an empty turn"


@pytest.mark.parametrize(
    ("extra", "keys"), [({"from": "human"}, "role and from"), ({"value": "قول آخر"}, "content and value")]
)
def test_a_turn_that_says_two_things_is_refused(extra, keys):
    values = conversation()
    values["messages"][1] |= extra
    said = f"'messages' holds a turn whose {keys} differ; take one out"
    assert read(values) == Broken("my.jsonl:7", said)


def test_a_turn_that_says_one_thing_twice_is_read():
    values = conversation()
    values["messages"][1] |= {"from": "gpt", "value": WRONG}
    assert [m.content for m in read(values).messages] == [Q, WRONG, CHECK, RIGHT]


@pytest.mark.parametrize("nothing", [" \u200f", "\u200b\u200d\ufeff", "\u2060\xad"])
def test_a_turn_of_which_nothing_is_seen_is_empty(nothing):
    values = conversation()
    values["messages"][3]["content"] = nothing
    assert read(values) == Broken("my.jsonl:7", "'messages' holds an empty turn")


def test_openai_content_parts_are_read_one_after_the_other():
    turns = conversation()["messages"]
    parts = [{"type": "text", "text": Q[:5]}, {"type": "text", "text": Q[5:], "image_url": None}]
    assert read({"messages": [{"role": "user", "content": parts}, *turns[1:]]}) == read({"messages": turns})


def test_a_part_that_is_no_text_is_refused():
    part = {"type": "image_url", "image_url": {"url": "a.jpg"}}
    turns = [{"role": "user", "content": [part]}, *conversation()["messages"][1:]]
    assert read({"messages": turns}).reason == "'messages' holds a part that is no text: image_url"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image"},  # the picture stands in a column of its own
        {"type": "image", "text": None},  # as Parquet has it
        {"type": "input_audio", "input_audio": {}},
        {"type": "video", "text": "seen"},
        {"text": "of no type"},
    ],
)
def test_a_part_that_holds_its_type_alone_is_not_dropped_in_silence(part):
    said = [part, {"type": "text", "text": Q}]
    turns = [{"role": "user", "content": said}, *conversation()["messages"][1:]]
    assert read({"messages": turns}).reason.startswith("'messages' holds a part that is no text")


def test_messages_written_as_json_are_read(tmp_path):
    row = conversation(weight=0)
    written = {"messages": json.dumps(row["messages"], ensure_ascii=False)}
    assert read(written) == read(row)
    assert load(tmp_path, written).train[0].messages == read(row).messages
    table = tmp_path / "my.csv"
    cell = written["messages"].replace('"', '""')
    table.write_text(f'id,conversations\n1,"{cell}"\n', encoding="utf-8")
    assert load(tmp_path, path=str(table)).train[0].messages == read(row).messages


def test_messages_written_as_broken_json_are_a_bad_row_with_its_place(tmp_path):
    with pytest.raises(DataError, match=r"my.jsonl:2: broken JSON: .* at character \d+; mend it, or set"):
        load(tmp_path, conversation(), {"messages": "[{'role': 'user'}]"})


def test_inspection_reads_marked_rows_from_the_cache_as_it_wrote_them(tmp_path):
    rows = load(tmp_path, conversation(weight=0)).train
    first, second = (
        token_rows.encode(codec_of(NAMES[0]), rows, DataConfig("local"), 1000, tmp_path) for _ in range(2)
    )
    assert first == second
    learned = [ids for supervised, ids in chat.spans(second.rows[0]) if supervised]
    assert len(learned) == 1


def test_a_call_of_a_tool_without_content_is_named():
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    row = read({"messages": [{"role": "user", "content": Q}, called]})
    assert "a turn with keys that nothing reads: tool_calls; take them out" in row.reason


ANSWERED = [{"role": "user", "content": CHECK}, {"role": "assistant", "content": RIGHT}]
ASKED_FIRST = [{"role": "user", "content": Q}, {"role": "assistant", "content": WRONG}, *ANSWERED]


def completed(completion, **beside):
    columns = {"messages": None, "response": "completion", **{key: key for key in beside}}
    return read({"completion": completion, **beside}, **columns)


@pytest.mark.parametrize(
    "beside",
    [
        {"prompt": Q},
        {"prompt": ASKED_FIRST[:1]},
        {"prompt": CHECK, "context": "درس الجمع"},
        {"prompt": CHECK, "history": [[Q, WRONG]]},
        {"messages": ASKED_FIRST[:3]},
    ],
)
def test_what_stands_beside_a_whole_conversation_and_not_in_it_is_not_lost_unsaid(beside):
    row = completed(ANSWERED, **beside)
    assert isinstance(row, Broken)
    assert "would be lost: 'completion' is a conversation of its own" in row.reason


@pytest.mark.parametrize(
    "beside", [{"prompt": f" {Q}"}, {"prompt": ASKED_FIRST[:1]}, {"prompt": CHECK, "history": [[Q, WRONG]]}]
)
def test_what_stands_in_the_whole_conversation_too_is_read_once(beside):
    row = completed(ASKED_FIRST, **beside)
    assert [m.content for m in row.messages] == [Q, WRONG, CHECK, RIGHT]


def test_an_answer_of_several_turns_follows_its_prompt():
    row = completed(ASKED_FIRST[1:], prompt=Q)
    assert [m.content for m in row.messages] == [Q, WRONG, CHECK, RIGHT]
