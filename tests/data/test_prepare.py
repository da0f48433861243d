"""Rows prepared on the disk are those that training reads, in any number of processes, killed or not."""

import pytest
from conftest import compose_config

from arabic_llm import files
from arabic_llm.data.preparing import sources, staging
from arabic_llm.data.rows import Row
from arabic_llm.errors import DataError

WORDS = "في مدينة بعيدة عاش تاجر له ثلاثة أولاد يحبون السفر والبحر".split()  # noqa: SIM905
STANDARD = "+data/base@data.cleaning=cleaning"


def story(number):
    return " ".join(WORDS[(number * step) % len(WORDS)] for step in range(3, 30)) + f" {number}"


@pytest.fixture
def raw(tmp_path):
    """Return a folder with conversations, copies, near copies, broken rows and preferences in two files."""
    rows = [{"instruction": f"اكتب قصة رقم {n}", "output": story(n)} for n in range(60)]
    rows += [rows[3], {"instruction": "اكتب قصة", "output": ""}, {"instruction": "قصة", "output": "قصة"}]
    rows += [
        {"instruction": "اكتب قصة رقم 5", "output": f"{story(5)} ثم"},
        {"instruction": "اكتب قصة", "output": "اكتب قصة"},
    ]
    pairs = [{"prompt": f"قصة عن {w}", "chosen": story(n), "rejected": "لا"} for n, w in enumerate(WORDS)]
    for name, content in (("a.jsonl", rows), ("b.jsonl", pairs)):
        files.write_json_lines(tmp_path / "raw" / name, content)
    return tmp_path / "raw"


def overrides(raw):
    return [
        "data=local",
        f"data.path={raw}",
        "data.on_bad_row=drop",
        STANDARD,
        "data.cleaning.max_repetition=null",
    ]


def written(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}


def rows_of(*paths):
    return [Row.from_dict(row) for path in paths for row in files.read_json_lines(path)]


def test_prepared_rows_are_those_that_training_reads(program, tmp_path, raw, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_ROWS", 10)  # several chunks, so that two processes share them
    code, said = program("task=prepare", *overrides(raw), "hw.num_processes=2")
    assert code == 0, said
    folder = tmp_path / "data_proc" / "raw"
    read = sources.load(compose_config(*overrides(raw)).data, tmp_path, seed=17)
    assert rows_of(folder / "train.jsonl", folder / "pref_train.jsonl") == read.train
    assert rows_of(folder / "dev.jsonl", *folder.glob("pref_dev.jsonl")) == read.dev
    assert [read.ledgers[0].as_dict()] == files.read_json(folder / "ledger.json")
    assert str(read.ledger) in said
    one = tmp_path / "one"
    assert program("task=prepare", *overrides(raw), "hw.num_processes=1", f"hydra.run.dir={one}")[0] == 0
    assert written(one) == written(folder)


def test_a_prepared_folder_is_read_back_as_it_was_split(program, tmp_path, raw):
    assert program("task=prepare", *overrides(raw))[0] == 0
    folder = tmp_path / "data_proc" / "raw"
    read = sources.load(compose_config("data=local", f"data.path={folder}").data, tmp_path, seed=99)
    again = rows_of(folder / "train.jsonl", folder / "pref_train.jsonl")
    assert read.train == again
    assert {row.id for row in read.dev} == {row.id for row in rows_of(*folder.glob("*dev.jsonl"))}
    (folder / "dev.jsonl").write_text("{}\n", encoding="utf-8")
    code, said = program("data=local", f"data.path={folder}", "dry_run=true")
    assert code == 2
    assert "dev.jsonl is not what task=prepare wrote; prepare it again" in said


def test_the_folder_of_a_run_that_left_no_rows_is_no_data(program, tmp_path):
    short = tmp_path / "short.jsonl"
    files.write_json_lines(short, [{"instruction": "قصة", "output": "قصة"}])
    assert program("task=prepare", "data=local", f"data.path={short}", STANDARD)[0] == 2
    folder = tmp_path / "data_proc" / "short"
    code, said = program("data=local", f"data.path={folder}", "dry_run=true")
    assert code == 2
    assert f"{folder}: is the folder of a run that has left no rows here" in said


def test_a_dry_run_says_the_plan_and_writes_nothing(program, tmp_path, raw):
    code, said = program("task=prepare", *overrides(raw), "dry_run=true")
    assert code == 0
    assert said.splitlines()[3] == (
        "local: 76 rows in, 71 kept, 5 dropped (1 'output' is empty, 1 answer only repeats the question,"
        " 1 exact copy, 1 near copy, 1 shorter than 8 characters)"
    )
    assert "instruction tokens" in said
    assert "steps of 16 sequences for 2 epochs" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_the_same_command_is_done_and_another_configuration_is_refused(program, tmp_path, raw):
    assert program("task=prepare", *overrides(raw))[0] == 0
    before = written(tmp_path / "data_proc" / "raw")
    code, said = program("task=prepare", *overrides(raw))
    assert code == 0
    assert "done before, not run again: " in said
    code, said = program("task=prepare", *overrides(raw), "data.cleaning.min_chars=20")
    assert code == 2
    assert "data.cleaning.min_chars was 8, is 20" in said
    assert written(tmp_path / "data_proc" / "raw") == before


def test_a_bad_row_stops_it_at_its_line_also_in_another_process(program, raw, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_ROWS", 10)
    code, said = program(
        *("task=prepare", "data=local", f"data.path={raw}", "hw.num_processes=2"),
    )
    assert code == 2
    assert f"error: {raw}/a.jsonl:62: 'output' is empty; mend it, or set data.on_bad_row=drop" in said


def test_an_input_that_was_finished_is_not_read_again(tmp_path, raw, monkeypatch):
    from arabic_llm.data.cleaning import contamination
    from arabic_llm.data.cleaning.rules import Rules
    from arabic_llm.data.preparing.shards import Work
    from arabic_llm.models import tokenization

    config = compose_config(*overrides(raw))
    rules = [Rules(config.data, contamination.index(()), 17, are_signed=True)]
    work = Work(rules, tokenization.rules(config.model))
    inputs = [sources.inputs_of(config.data, tmp_path)]
    first = staging.stage(work, inputs, tmp_path / "work", 1)
    (raw / "a.jsonl").unlink()
    (tmp_path / "work" / "000-00001.json").unlink()  # killed before the second input was finished
    assert staging.stage(work, inputs, tmp_path / "work", 1) == first
    (raw / "b.jsonl").unlink()
    assert staging.stage(work, inputs, tmp_path / "work", 1) == first
    for name in ("000-00001-00000.json", "000-00001.json"):
        (tmp_path / "work" / name).unlink()
    with pytest.raises(DataError, match=r"b\.jsonl: no such file"):
        staging.stage(work, inputs, tmp_path / "work", 1)
