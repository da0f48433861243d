"""Token rows are encoded once, counted from themselves, and too great a loss stops the run."""

import random
import re
from dataclasses import replace

import pytest
from conftest import compose_config

from arabic_llm.data.rows import Row, question_answer
from arabic_llm.data.tokens import lint, token_rows
from arabic_llm.data.tokens.chat import IGNORED, TokenRow
from arabic_llm.errors import DataError

ROWS = [question_answer(f"f:{i}", f"ما عاصمة الدولة {i}؟", "القاهرة") for i in range(10)]
LONG = [question_answer("f:10", "كلمة " * 200, "نعم")]


def data(*overrides):
    return compose_config("data=sample", *overrides).data


def test_a_second_run_reads_what_the_first_encoded(tiny_codec, tmp_path):
    first = token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path)
    (written,) = (tmp_path / "tokens").glob("*.parquet")
    before = written.stat().st_mtime_ns
    assert token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path) == first
    assert written.stat().st_mtime_ns == before
    assert [type(row) for row in first.rows] == [TokenRow] * 10


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_any_changed_byte_of_kept_tokens_is_noticed_and_they_are_encoded_again(
    tiny_codec, tmp_path, caplog, suffix
):
    caplog.set_level("INFO")
    first = token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path)
    (written,) = (tmp_path / "tokens").glob(f"*{suffix}")
    whole, draw = written.read_bytes(), random.Random(17)
    for at in draw.sample(range(len(whole)), 16):
        written.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :])
        caplog.clear()
        assert token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path) == first
        assert "damaged" in caplog.text or suffix == ".json", "only space between JSON's signs may differ"
    written.unlink()
    assert token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path) == first


@pytest.mark.parametrize("change", ["rows", "length", "overflow"])
def test_other_rows_lengths_or_overflow_are_encoded_anew(tiny_codec, tmp_path, change):
    token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path)
    rows = ROWS[:-1] if change == "rows" else ROWS
    length = 65 if change == "length" else 64
    settings = data("data.overflow=cut") if change == "overflow" else data()
    token_rows.encode(tiny_codec, rows, settings, length, tmp_path)
    assert len(list((tmp_path / "tokens").glob("*.parquet"))) == 2


def test_token_rows_keep_their_source_also_in_the_cache(tiny_codec, tmp_path):
    rows = [replace(ROWS[0], source="cidar"), Row("t", text="كلمة", source="wiki")]
    for _ in range(2):
        encoded = token_rows.encode(tiny_codec, rows, data(), 64, tmp_path).rows
        assert [row.source for row in encoded] == ["cidar", "wiki"]
    renamed = [replace(row, source="local") for row in rows]
    assert token_rows.encode(tiny_codec, renamed, data(), 64, tmp_path).rows[0].source == "local"


def test_a_dry_run_writes_no_tokens(tiny_codec, tmp_path):
    token_rows.encode(tiny_codec, ROWS, data(), 64, None)
    assert not list(tmp_path.iterdir())


def test_too_great_a_loss_stops_the_run_and_says_the_three_cures(tiny_codec, tmp_path):
    encoded = token_rows.encode(tiny_codec, [*ROWS[:1], *LONG * 3], data(), 32, tmp_path)
    with pytest.raises(DataError, match=r"3 of 4 rows would be lost, 3 of them: longer than") as error:
        token_rows.refuse_great_loss([encoded], data(), 32)
    for cure in ("task.max_length", "data.overflow=cut", "data.max_lost_share"):
        assert cure in str(error.value)


def test_the_length_that_holds_the_rows_is_said_from_the_cache_too(tiny_codec, tmp_path):
    rows = [question_answer(f"r:{n}", "س", "كلمة " * n) for n in (1, 20, 40, 90)]
    lengths = [len(row.input_ids) for row in token_rows.encode(tiny_codec, rows, data(), 512, None).rows]
    half = data("data.max_lost_share=0.5")
    for settings, said in (
        (data(), f"(now 32) to {lengths[3]}, which holds all; set data.overflow=cut; or raise"),
        (
            half,
            f"(now 32) to {lengths[1]}, which holds enough of them, or {lengths[3]}, which holds all; set",
        ),
    ):
        for _ in range(2):
            encoded = token_rows.encode(tiny_codec, rows, settings, 32, tmp_path)
            with pytest.raises(DataError, match=re.escape(said)):
                token_rows.refuse_great_loss([encoded], settings, 32)
    enough = token_rows.encode(tiny_codec, rows, half, lengths[1], None)
    token_rows.refuse_great_loss([enough], half, lengths[1])  # as was said
    whole = token_rows.encode(tiny_codec, rows, data(), lengths[3], None)
    assert len(whole.rows) == len(rows)


def test_a_loss_below_the_share_is_counted(tiny_codec, tmp_path):
    encoded = token_rows.encode(tiny_codec, [*ROWS, *LONG], data(), 32, tmp_path)
    assert (
        str(encoded.ledger) == "tokens: 11 rows in, 10 kept, 1 dropped (1 longer than task.max_length=32)"
    )
    token_rows.refuse_great_loss([encoded], data(), 32)


def test_train_and_dev_are_judged_together(tiny_codec):
    train = token_rows.encode(tiny_codec, ROWS * 2, data(), 32, None)
    dev = token_rows.encode(tiny_codec, [*ROWS[:1], *LONG], data(), 32, None)
    token_rows.refuse_great_loss([train, dev], data(), 32)  # 1 of 22, though half of dev
    with pytest.raises(DataError, match="1 of 2 rows would be lost"):
        token_rows.refuse_great_loss([dev], data(), 32)


def test_cut_rows_are_counted(tiny_codec, tmp_path):
    rows = [*ROWS, *LONG]
    encoded = token_rows.encode(tiny_codec, rows, data("data.overflow=cut"), 32, tmp_path)
    assert lint.lint(tiny_codec, rows, encoded, set()).cut == 1


def test_lint_counts_what_is_there(tiny_codec, tmp_path):
    rows = [*ROWS, question_answer("copy", ROWS[0].messages[0].content, "القاهرة")]
    encoded = token_rows.encode(tiny_codec, rows, data(), 64, tmp_path)
    seen = lint.lint(tiny_codec, rows, encoded, {lint.question_key("ما عاصمة الدولة 3")})
    ids = [i for row in encoded.rows for i in row.input_ids]
    learned = [i for row in encoded.rows for i in row.labels if i != IGNORED]
    assert (seen.rows, seen.tokens) == (11, len(ids))
    assert seen.supervised_share == len(learned) / len(ids)
    assert (seen.duplicates, seen.without_stop, seen.in_suite) == (1, 0, 1)
    asked = next(row.id for row in ROWS if row.messages[0].content.startswith("ما عاصمة الدولة 3"))
    said = (
        f"found in the suite 1 ({asked}), which are trained on; data.cleaning.drop_test_items=true leaves"
    )
    assert said in seen.lines()[1]
    answer = tiny_codec.tokenizer("القاهرة", add_special_tokens=False)["input_ids"]
    assert seen.tokens_a_word == len(answer)
    assert seen.hash == token_rows.data_hash(encoded.rows)


def test_lint_says_why_the_suite_was_not_looked_at(tiny_codec, tmp_path):
    encoded = token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path)
    assert (
        "found in the suite unknown (no files)"
        in lint.lint(tiny_codec, ROWS, encoded, "no files").lines()[1]
    )


def test_a_row_that_never_stops_is_refused(tiny_codec, tmp_path):
    encoded = token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path)
    torn = TokenRow("f:99", [5, 6], [IGNORED, 6], "chat")
    broken = token_rows.TokenRows([*encoded.rows, torn], encoded.ledger)
    with pytest.raises(DataError, match="f:99: no supervised stop token"):
        lint.lint(tiny_codec, ROWS, broken, set())


def test_a_row_that_teaches_nothing_is_refused(tiny_codec, tmp_path):
    encoded = token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path)
    mute = TokenRow("f:98", [5, 6], [IGNORED, IGNORED], "chat")
    with pytest.raises(DataError, match="f:98: no supervised stop token"):
        lint.lint(tiny_codec, ROWS, token_rows.TokenRows([*encoded.rows, mute], encoded.ledger), set())


def test_what_was_dropped_is_not_counted(tiny_codec, tmp_path):
    rows = [*ROWS, *LONG]
    question = {lint.question_key(LONG[0].messages[0].content)}
    kept = lint.lint(tiny_codec, rows, token_rows.encode(tiny_codec, rows, data(), 32, tmp_path), question)
    assert kept.in_suite == 0
    only = lint.lint(tiny_codec, ROWS, token_rows.encode(tiny_codec, ROWS, data(), 32, tmp_path), question)
    assert kept.tokens_a_word == only.tokens_a_word


def test_no_question_to_compare_is_said_and_is_no_zero(tiny_codec, tmp_path):
    encoded = token_rows.encode(tiny_codec, ROWS, data(), 64, tmp_path)
    assert lint.lint(tiny_codec, ROWS, encoded, set()).in_suite is None
    texts = [Row("d", text="كلمة " * 100)]
    packed = token_rows.encode(tiny_codec, texts, data(), 16, tmp_path)
    seen = lint.lint(tiny_codec, texts, packed, {"سؤال"})
    assert (seen.in_suite, seen.suite_note) == (None, "raw text is not searched for questions")
    words = tiny_codec.tokenizer(texts[0].text, add_special_tokens=False)["input_ids"]
    assert seen.tokens_a_word == pytest.approx(len(words) / 100)


def test_any_label_changes_the_hash(tiny_codec):
    rows = [TokenRow("a", [1, 2], [IGNORED, 2], "chat")]
    other = [TokenRow("a", [1, 2], [1, 2], "chat")]
    assert token_rows.data_hash(rows) != token_rows.data_hash(other)


def test_raw_texts_are_whole_documents(tiny_codec, tmp_path):
    encoded = token_rows.encode(tiny_codec, [Row("d", text="كلمة " * 100)], data(), 16, tmp_path)
    assert len(encoded.rows) > 5
    assert encoded.ledger.kept == 1
