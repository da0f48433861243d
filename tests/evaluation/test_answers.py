"""Answers are kept by model and request, a batch whole or not at all, and are not asked for again."""

import random
from itertools import product

import pytest
from damages import DAMAGES
from test_harness import judge

from arabic_llm.evaluation.answers import Answers, key_of_generation, key_of_scoring
from arabic_llm.evaluation.prefixes import Request


def test_answers_come_back_to_the_bit(tmp_path):
    kept = Answers(tmp_path / "a.jsonl")
    kept.add({"one": (-1.1000000000000014, True)})
    kept.add({"two": "القاهرة\u2028"})
    kept.flush()
    again = Answers(tmp_path / "a.jsonl")
    assert tuple(again["one"]) == (-1.1000000000000014, True)
    assert again["two"] == "القاهرة\u2028"
    assert "three" not in again


def test_a_batch_cut_anywhere_is_passed_over_and_the_others_stand(tmp_path):
    path = tmp_path / "a.jsonl"
    for name in ("one", "two"):
        kept = Answers(path)
        kept.add({name: "جواب"})
        kept.flush()
    whole = path.read_bytes()
    start = whole.index(b"\n{", 2)
    for end in range(start + 1, len(whole) - 2):
        path.write_bytes(whole[:end])
        kept = Answers(path)
        assert "one" in kept
        assert "two" not in kept
        kept.add({"three": "جواب"})
        kept.flush()
        assert "three" in Answers(path)


def test_a_request_is_known_by_what_is_read_and_what_is_asked():
    keys = {
        key_of_scoring(Request(read, targets))
        for read, targets in (([1, 2], [3]), ([1, 2, 3], []), ([1], [2, 3]), ([1, 2], [4]))
    }
    assert len(keys) == 4
    settings = {"until": ["x"], "max_gen_toks": 4}
    assert key_of_generation("س", settings, 64) != key_of_generation("س", settings | {"until": []}, 64)
    assert key_of_generation("س", settings, 64) != key_of_generation("س", settings, 32)


def test_an_evaluation_asks_nothing_that_was_answered(tiny_codec, tmp_path):
    first, _, _ = judge("sample", tiny_codec, root=tmp_path, limit=4, kept=Answers(tmp_path / "a.jsonl"))
    lines = (tmp_path / "a.jsonl").read_text().count("\n{")
    second, _, _ = judge("sample", tiny_codec, root=tmp_path, limit=4, kept=Answers(tmp_path / "a.jsonl"))
    assert second == first
    assert (tmp_path / "a.jsonl").read_text().count("\n{") == lines


def test_the_file_of_answers_is_the_models_own(program, tmp_path):
    command = ("task=evaluate", "hw=cpu", "suite.limit=2")
    assert program(*command)[0] == 0
    assert program(*command, "hw.precision=bfloat16")[0] == 0
    assert len(list((tmp_path / "outputs" / "cache" / "answers").iterdir())) == 2


def test_any_changed_byte_of_kept_answers_is_noticed_and_they_are_asked_again(tmp_path, caplog):
    caplog.set_level("INFO")
    path, answers = tmp_path / "a.jsonl", {"one": (-1.25, True), "two": (-0.5, False)}
    for key, answer in answers.items():
        kept = Answers(path)
        kept.add({key: answer})
        kept.flush()
    whole = path.read_bytes()
    for at, bit in product(range(len(whole)), range(8)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        kept = Answers(path)
        assert all(key not in kept or tuple(kept[key]) == answer for key, answer in answers.items())
        if whole[at] != ord("\n"):
            assert not all(key in kept for key in answers)
    assert f"{path}: 1 line of answers is cut or damaged; what is missing is asked again" in caplog.messages


@pytest.mark.parametrize("name", sorted(DAMAGES.keys() - {"unreadable"}))
def test_a_file_of_answers_that_is_damaged_is_written_again(tmp_path, name):
    path = tmp_path / "a.jsonl"
    kept = Answers(path)
    kept.add({"one": "جواب"})
    kept.flush()
    DAMAGES[name](random.Random(1), path)
    again = Answers(path)
    again.add({"two": "جواب"})
    again.flush()
    assert Answers(path)["two"] == "جواب"
