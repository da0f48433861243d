"""Held-out texts are ours or the user's, the same for every model, and never what is trained on."""

import json

import pytest
from conftest import compose_config

from arabic_llm.data.preparing import held_out
from arabic_llm.data.preparing.held_out import _OURS
from arabic_llm.data.rows import Row
from arabic_llm.errors import DataError

ENGLISH, CHINESE = (
    (_OURS / f"{name}.txt").read_text(encoding="utf-8").splitlines() for name in ("en", "zh")
)


def load(folder, *overrides, rows=()):
    return held_out.load(compose_config(*overrides).task.held_out, folder, rows)


def lines(path, texts):
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def test_our_texts_say_the_same_in_each_language():
    for file in _OURS.glob("*.txt"):
        assert len(file.read_text(encoding="utf-8").splitlines()) == 12
    found = load(None, "task.held_out.num_bytes=8192")
    assert list(found) == ["ar", "arz", "en", "zh"]
    assert all(len(pieces) >= 20 for pieces in found.values())  # an interval over few shows nothing


def test_pieces_are_of_one_length_in_every_script_and_lose_no_word():
    found = load(None, "task.held_out.num_bytes=8192")
    for language, pieces in found.items():
        sizes = [len(piece.encode()) for piece in pieces]
        assert 100 < min(sizes) <= max(sizes) < 250
        words = (_OURS / f"{language}.txt").read_text(encoding="utf-8").split()
        said = " ".join(pieces).split() if language != "zh" else "".join(pieces)
        assert sorted(said) == sorted(words if language != "zh" else "".join(words))


def test_a_file_takes_the_place_of_ours_and_of_it_so_many_bytes(tmp_path):
    lines(tmp_path / "en.txt", ENGLISH)
    found = load(tmp_path, "task.held_out.texts.en=en.txt", "task.held_out.num_bytes=1000")
    assert 600 < sum(len(piece.encode()) for piece in found["en"]) <= 1000
    assert all(any(piece in text for text in ENGLISH) for piece in found["en"])
    lines(tmp_path / "en.txt", ENGLISH[::-1])
    assert load(tmp_path, "task.held_out.texts.en=en.txt", "task.held_out.num_bytes=1000") == found


def test_rows_of_any_format_are_texts_and_long_ones_are_cut(tmp_path):
    record = {"instruction": "Tell a story.", "output": " ".join(ENGLISH)}
    (tmp_path / "en.jsonl").write_text(json.dumps(record) + "\n")
    pieces = load(tmp_path, "task.held_out.texts.en=en.jsonl")["en"]
    assert len(pieces) > 8
    assert max(map(len, pieces)) <= 400
    assert sum(map(len, pieces)) == pytest.approx(len(" ".join(ENGLISH)), abs=60)


@pytest.mark.parametrize(("language", "texts"), [("en", ENGLISH), ("zh", CHINESE)])
def test_what_stands_in_a_training_row_is_left_out_and_said(tmp_path, caplog, language, texts):
    lines(tmp_path / "file.txt", texts)
    rows = [Row("a:1", text=f"Before it. {texts[1]} And after."), Row("a:2", text=texts[2][:11])]
    with caplog.at_level("INFO"):
        found = load(tmp_path, f"task.held_out.texts.{language}=file.txt", rows=rows)
    gone = [text for text in texts if not any(piece in text for piece in found[language])]
    assert gone == [texts[1]]
    assert f"held-out {language}: 2 of 24 pieces of" in caplog.text


def test_a_file_that_is_all_trained_on_is_refused(tmp_path):
    lines(tmp_path / "en.txt", ENGLISH)
    rows = [Row(str(number), text=text) for number, text in enumerate(ENGLISH)]
    with pytest.raises(DataError, match=r"en.txt has 0 pieces of text outside the training rows"):
        load(tmp_path, "task.held_out.texts.en=en.txt", rows=rows)


def test_a_file_that_is_missing_is_refused_and_a_language_without_one_is_said(tmp_path, caplog):
    with pytest.raises(DataError, match=r"task.held_out.texts.en=no.txt: no file no.txt nor .*/no.txt"):
        load(tmp_path, "task.held_out.texts.en=no.txt")
    with pytest.raises(DataError, match=r"task.held_out.texts.fr=builtin: no file .*/fr.txt"):
        load(tmp_path, "+task.held_out.texts.fr=builtin")
    with caplog.at_level("INFO"):
        assert "zh" not in load(tmp_path, "task.held_out.texts.zh=null")
    assert "no held-out text in zh: its loss is not followed" in caplog.text


def test_a_file_whose_columns_say_nothing_is_refused_with_what_can_be_read(tmp_path):
    (tmp_path / "en.csv").write_text("Prompt,Story\nonce,upon a time\n")
    with pytest.raises(DataError, match=r"en.csv is not recognised; give a .txt of one text a line"):
        load(tmp_path, "task.held_out.texts.en=en.csv")


def test_nothing_is_read_where_nothing_is_followed():
    assert load(None, "task.held_out.num_bytes=0") == {}
    assert list(load(None, "~task.held_out.texts.zh")) == ["ar", "arz", "en"]
