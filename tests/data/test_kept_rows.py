"""Rows of files are read and cleaned once for like runs, and are then the same in every respect."""

import json
import logging
from dataclasses import replace

import pytest

from arabic_llm import files
from arabic_llm.config.data import CleaningConfig, DataConfig
from arabic_llm.data.preparing import kept_rows, sources
from arabic_llm.errors import DataError

TURNS = [{"role": "user", "content": "ما عاصمة مصر؟"}, {"role": "assistant", "content": "القاهرة.\u2028"}]


@pytest.fixture
def data(tmp_path):
    """Return a set of chats, one of them twice, and texts that are too short."""
    rows = [
        {"messages": TURNS},
        {"messages": TURNS},
        *({"messages": [TURNS[0], {"role": "assistant", "content": f"جواب {n}", "weight": n % 2}, *TURNS]}
          for n in range(30)),
        {"messages": [TURNS[0], {"role": "assistant", "content": "."}]},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    cleaning = CleaningConfig(min_chars=16)
    return DataConfig("mine", path=str(path), cleaning=cleaning, dev_share=0.2, test_share=0.2)


def load(data, tmp_path, seed=17, items=()):
    return kept_rows.load(data, tmp_path, seed, items, tmp_path / "cache")


def test_a_second_run_reads_what_the_first_one_wrote_and_it_is_the_same(
    data, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.INFO, "arabic_llm")
    plain = sources.load(data, tmp_path, 17)
    said = [record.getMessage() for record in caplog.records]
    assert any("read as" in line for line in said)
    assert load(data, tmp_path) == plain
    assert plain.ledger.dropped
    monkeypatch.setattr(sources, "load", None)  # who cleans again fails
    caplog.clear()
    again = load(data, tmp_path)
    assert again == plain
    assert [record.getMessage() for record in caplog.records] == said
    assert again.lines() == plain.lines()
    assert [one.as_dict() for one in again.ledgers] == [one.as_dict() for one in plain.ledgers]


@pytest.mark.parametrize("changed", ["file", "setting", "seed", "items"])
def test_what_decides_the_rows_is_never_overlooked(data, tmp_path, changed):
    load(data, tmp_path)
    seed, items = 17, []
    if changed == "file":
        path = tmp_path / "rows.jsonl"
        path.write_text(path.read_text(encoding="utf-8").replace("30", "31") + "\n", encoding="utf-8")
    if changed == "setting":
        data = replace(data, dev_share=0.5)
    if changed == "seed":
        seed = 18
    if changed == "items":
        data = replace(data, cleaning=replace(data.cleaning, drop_test_items=True))
        items = ["ما عاصمة مصر"]
    if changed == "items":
        with pytest.raises(DataError, match="no row is left"):
            load(data, tmp_path, seed, items)
        return
    assert load(data, tmp_path, seed) == sources.load(data, tmp_path, seed)
    assert len(list((tmp_path / "cache" / "rows").glob("*.jsonl"))) == 2


def test_kept_rows_that_are_damaged_are_made_again_and_a_dry_run_keeps_none(data, tmp_path, caplog):
    caplog.set_level(logging.INFO, "arabic_llm")
    plain = load(data, tmp_path)
    (kept,) = (tmp_path / "cache" / "rows").glob("*.jsonl")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-9])
    assert load(data, tmp_path) == plain
    assert "damaged" in caplog.text
    assert kept.read_bytes() == whole
    assert kept_rows.load(data, tmp_path, 17, (), None) == plain
    assert [path.name for path in (tmp_path / "cache" / "rows").glob("*.jsonl")] == [kept.name]
    assert files.read_state(kept.with_suffix(".json"))["splits"].keys() == {"train", "dev", "test"}


def test_generated_rows_are_made_once_too(tmp_path, monkeypatch):
    built_in = DataConfig("sample", builtin=True)
    plain = sources.load(built_in, tmp_path, 17)
    assert load(built_in, tmp_path) == plain
    monkeypatch.setattr(sources, "load", None)  # who makes them again fails
    assert load(built_in, tmp_path) == plain
