"""A glance at the disk counts what reading would find, or says what would count it."""

import gzip
import json
from pathlib import Path

import pytest
from conftest import compose_config

from arabic_llm.config.compose import identity
from arabic_llm.data.reading import row_count
from arabic_llm.data.sample import questions
from arabic_llm.errors import DataError

PAIR = {"prompt": "ما عاصمة مصر؟", "response": 'قال "القاهرة"\nثم سكت'}
ALL = ("data.dev_share=0", "data.test_share=0")  # nothing is drawn


def seen(folder, *overrides):
    config = compose_config(f"data_root={folder}", *overrides)
    return row_count.of(config.data, folder, folder / "made", identity(config), config.model.name)


def test_the_sample_is_counted_without_being_written():
    assert questions.num_rows("train") == len(questions.training_rows("train"))
    found = seen(Path(), "data=sample", *ALL)
    assert (found.rows, found.surely, found.are_texts) == (questions.num_rows("train"), "up to ", False)
    assert seen(Path(), "data=sample", "data.max_rows=100").rows == 100


def in_format(folder, kind, rows):
    path = folder / f"rows.{kind}"
    if kind == "csv":
        cells = [[value.replace('"', '""') for value in row.values()] for row in rows]
        path.write_text("prompt,response\n" + "".join('"{}","{}"\n'.format(*row) for row in cells))
    elif kind == "json":
        path.write_text(json.dumps(rows, ensure_ascii=False))
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        text = "\n".join(json.dumps(row) for row in rows)  # without a line break at the end
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json", "parquet", "jsonl.gz"])
def test_each_kind_of_file_is_counted(tmp_path, kind):
    path = in_format(tmp_path, kind, [PAIR] * 37)
    found = seen(tmp_path, "data=local", f"data.path={path.name}", *ALL)
    assert (found.rows, found.surely, found.origin) == (37, "up to ", str(path))


def test_a_large_file_is_counted_in_part(tmp_path, monkeypatch):
    in_format(tmp_path, "jsonl", [PAIR] * 1000)
    monkeypatch.setattr(row_count, "_HEAD_BYTES", 2**12)
    found = seen(tmp_path, "data=local", "data.path=rows.jsonl", *ALL)
    assert found.surely == "about "
    assert found.rows == pytest.approx(1000, rel=0.05)


def test_rows_drawn_for_dev_and_test_are_not_counted_but_those_of_their_own_files_are(tmp_path):
    in_format(tmp_path, "jsonl", [PAIR] * 100)
    local = ("data=local", f"data.path={tmp_path}")
    assert seen(tmp_path, *local).rows == 90
    (tmp_path / "test.jsonl").write_text("{}\n" * 50)
    assert seen(tmp_path, *local, "data.test_files=[test.jsonl]").rows == 95


def test_raw_texts_are_told(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "نص طويل"}\n' * 10)
    assert seen(tmp_path, "data=local", "data.path=rows.jsonl").are_texts


def test_what_a_glance_does_not_count_says_what_does(tmp_path, monkeypatch):
    in_format(tmp_path, "json", [PAIR] * 100)
    monkeypatch.setattr(row_count, "_PARSED_BYTES", 1000)
    with pytest.raises(DataError, match=r"rows.json must be read to count its rows: dry_run=true task=sft"):
        seen(tmp_path, "data=local", "data.path=rows.json")
    with pytest.raises(DataError, match=r"data=cidar: nothing is at .*/cidar; task=download data=cidar br"):
        seen(tmp_path, "data=cidar")
