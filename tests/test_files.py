"""Large files are hashed once, and again when they have changed."""

import hashlib
import os
import random

import pytest
from damages import DAMAGES

from arabic_llm import files

SIZE = 2**26


def test_a_large_file_is_read_again_only_when_its_size_or_date_has_changed(tmp_path):
    large = tmp_path / "large.jsonl"
    large.write_bytes(bytes(SIZE))
    first = files.known_sha256(large, tmp_path / "cache")
    assert first == hashlib.sha256(bytes(SIZE)).hexdigest()
    date = large.stat().st_mtime_ns
    large.write_bytes(b"1" + bytes(SIZE - 1))
    os.utime(large, ns=(date, date))
    assert files.known_sha256(large, tmp_path / "cache") == first  # so it was not read
    os.utime(large, ns=(date + 1, date + 1))
    assert files.known_sha256(large, tmp_path / "cache") == files.sha256(large) != first


def test_a_small_file_is_always_read_and_the_hubs_cache_never(tmp_path):
    small, cached = tmp_path / "small.jsonl", tmp_path / ("ab" * 32)
    small.write_text("a", encoding="utf-8")
    cached.write_text("b", encoding="utf-8")
    assert files.known_sha256(small, tmp_path / "cache") == hashlib.sha256(b"a").hexdigest()
    assert files.known_sha256(cached, tmp_path / "cache") == "ab" * 32
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("error", [OSError, ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_what_is_half_written_goes_whatever_ends_it(tmp_path, error):
    files.write_text(tmp_path / "result", "whole")
    with pytest.raises(error), files.writing(tmp_path / "result") as file:
        file.write(b"half")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    assert (tmp_path / "result").read_text() == "whole"


def test_what_cannot_be_written_as_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        files.write_json(tmp_path / "result", {"value": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(DAMAGES.keys() - {"unreadable"}))
def test_what_is_kept_is_what_was_written_or_is_made_again_after_one_line(tmp_path, caplog, name):
    caplog.set_level("INFO")
    path = tmp_path / "kept.json"
    files.write_state(path, {"numbers": [0.1, 2], "text": "نص"})
    assert files.kept(path, files.read_state) == {"numbers": [0.1, 2], "text": "نص"}
    DAMAGES[name](random.Random(name), path)
    assert files.kept(path, files.read_state) is None
    assert not path.exists()
    assert name == "gone" or [line.split(":")[0] for line in caplog.messages] == [
        f"{path} is damaged",
        f"{path} was set aside as kept.json.damaged-1",
    ]


def test_a_folder_in_the_place_of_a_file_is_set_aside_not_written_into(tmp_path):
    (tmp_path / "scores.md" / "mine").mkdir(parents=True)
    files.write_text(tmp_path / "scores.md", "scores")
    assert (tmp_path / "scores.md").read_text() == "scores"
    assert (tmp_path / "scores.md.damaged-1" / "mine").is_dir()


@pytest.mark.parametrize("name", sorted(DAMAGES.keys() - {"gone", "unreadable"}))
def test_the_hashes_of_large_files_are_made_again_where_they_are_damaged(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "_LARGE_BYTES", 1)
    (tmp_path / "data").write_text("rows")
    cache = tmp_path / "cache"
    right = files.known_sha256(tmp_path / "data", cache)
    DAMAGES[name](random.Random(name), cache / "file_hashes.json")
    assert files.known_sha256(tmp_path / "data", cache) == right == hashlib.sha256(b"rows").hexdigest()
