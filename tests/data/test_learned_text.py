"""The law of what is learned: the supervised text of a row is its answer, or the change is counted."""

import json
import unicodedata
from dataclasses import replace
from random import Random

import pytest
from tokenizers_like import EVERY, codec_of

from arabic_llm.config.data import DataConfig, Overflow
from arabic_llm.data.preparing import sources
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat, chat_template, token_rows

CODE = "def s(xs):\n    t = 0\n    for x in xs:\n        if x % 2 == 0:\n            t += x\n    return t"
# Pieces of answers as they come: code, verse, lists, JSON, sums, marks, thoughts, other scripts.
PIECES = (
    *(CODE, '{\n  "a":   [1,\t2]\n}', "- أ\n   - ب\n", "قفا نبك      بسقط اللوى", "3.50", "C#"),
    *("كِتَابٌ", "م\u0651\u064e", "كت\u0640ا", "583ه\u0640", "\ufefb", "\u202bنص\u202c", "\ufeff"),
    *("<think>\nأربعة\n</think>\n\nاثنا عشر", "  ", "\n", "\r\n", "\t", " ", "\u00a0", "```"),
    *("[INST]", "می\u200cروم", "你好，世界。"),
)

CHANGED = "answer changed by the chat template"


def rows_of(tmp_path, answers, **settings):
    path = tmp_path / "my.jsonl"
    rows = [{"instruction": f"سؤال {n}", "output": answer} for n, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    settings = {"path": str(path), "dev_share": 0, "test_share": 0, "dedup": False} | settings
    return sources.load(DataConfig("local", **settings), tmp_path, seed=17)


def generated(num, seed=17):
    draw = Random(seed)
    made = ("".join(draw.choices(PIECES, k=draw.randint(1, 5))) for _ in range(num))
    return [answer for answer in made if answer.strip(" \n\r\t\u00a0\ufeff\u202b\u202c")]


def learned(codec, encoded):
    """Return what a row teaches; NFC, which some tokenizers apply, does not change what it says."""
    runs = [ids for supervised, ids in chat.spans(encoded) if supervised]
    return [unicodedata.normalize("NFC", codec.tokenizer.decode(run)) for run in runs]


def test_code_is_learned_as_it_stands(tmp_path):
    (row,) = rows_of(tmp_path, [CODE]).train
    assert row.messages[-1].content == CODE
    compile(row.messages[-1].content, "answer", "exec")


@pytest.mark.parametrize("profile", ["decoder", "encoder", "none"])
def test_an_answer_of_a_kept_row_is_what_its_file_says_or_its_change_is_counted(profile, tmp_path):
    answers = generated(300)
    for answer in answers:  # one row at a time: each change is then an example
        found = rows_of(tmp_path, [answer], profile=profile)
        same = found.train[0].messages[-1].content == answer
        assert bool(found.ledger.changed) is not same, (answer, found.ledger.changed)


def test_the_law_is_held_against_every_template_we_ship():
    shipped = {chat_template.template_text(path.stem) for path in chat_template.TEMPLATES.glob("*.jinja")}
    assert {codec_of(name).template for name in EVERY} == shipped


@pytest.mark.parametrize("has_turns", [False, True], ids=["one answer", "several answers"])
@pytest.mark.parametrize("name", EVERY)
def test_what_the_tokens_teach_is_the_answers_of_the_row_or_the_change_is_counted(name, has_turns):
    codec, system = codec_of(name), [Message("system", " كن موجزا\n")] if has_turns else []
    later = generated(200, seed=18) if has_turns else []
    said = {str(n): (answer, *later[n : n + 1]) for n, answer in enumerate(generated(200))}  # of each row
    (simple,) = chat.encode(codec, Row("!", turns("!")), 1000, Overflow.drop)
    before, _, after = learned(codec, simple)[0].partition("!")
    rows = [Row(name, (*system, *turns(*answers))) for name, answers in said.items()]
    found = token_rows.encode(codec, rows, DataConfig("local"), 10_000, None)
    assert 100 < found.ledger.kept == len(found.rows) == len(rows) - found.ledger.dropped.total()
    changed = [
        row
        for row in found.rows
        if learned(codec, row)
        != [f"{before}{unicodedata.normalize('NFC', answer)}{after}" for answer in said[row.id]]
    ]
    assert [row.id for row in changed] == [row.id for row in found.rows if row.was_changed]
    assert found.ledger.changed == ({CHANGED: len(changed)} if changed else {})
    assert bool(changed) is any(word in codec.template for word in ("trim", "strip("))


def turns(*answers):
    return tuple(m for text in answers for m in (Message("user", "سؤال"), Message("assistant", text)))


def test_what_a_template_trims_is_counted():
    codec = codec_of("tiny")
    trimming = replace(codec, template=codec.template.replace("message.content", "message.content | trim"))
    assert trimming.template != codec.template
    row = Row("r", (Message("user", "سؤال"), Message("assistant", "    return x")))
    found = token_rows.encode(trimming, [row], DataConfig("local"), 10_000, None)
    assert found.ledger.where_changed() == ["tokens: 1 answer changed by the chat template, e.g. r"]
    assert not token_rows.encode(codec, [row], DataConfig("local"), 10_000, None).ledger.changed


def test_changes_are_counted_by_step_with_their_places(tmp_path):
    found = rows_of(tmp_path, ["كت\u0640\u0640اب", "القاهرة", "سطر\r\nسطر", "كت\u0640اب\n"])
    assert dict(found.ledger.changed) == {"answer changed by tatweel": 2, "answer changed by whitespace": 2}
    path = f"{tmp_path}/my.jsonl"
    assert found.ledger.where_changed() == [
        f"local: 2 answer changed by tatweel, e.g. {path}:1, {path}:4",
        f"local: 2 answer changed by whitespace, e.g. {path}:3, {path}:4",
    ]


def test_a_change_of_the_question_alone_is_not_one_of_the_answer(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"instruction": "كت\u0640اب؟\\r\\n", "output": "نعم"}\n', encoding="utf-8")
    found = rows_of(tmp_path, [], path=str(path))
    assert found.train[0].messages[0].content == "كتاب؟"
    assert not found.ledger.changed


def test_changes_of_rows_that_are_dropped_are_not_counted(tmp_path):
    found = rows_of(tmp_path, ["نعم\n", "لا"], max_rows=1)
    assert found.ledger.changed == {"answer changed by whitespace": 1}
    assert not rows_of(tmp_path, ["لا", "نعم\n"], max_rows=1).ledger.changed


def test_a_step_that_the_profile_has_not_is_refused_with_those_it_has():
    with pytest.raises(ValueError, match=r"data\.profile=decoder has the steps .*, not 'single_spaces'"):
        DataConfig("local", without_steps=["single_spaces"])
    assert DataConfig("local", without_steps=["whitespace"]).without_steps == ["whitespace"]
